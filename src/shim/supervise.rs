//! The shim's loop: one `poll` over everything, and what follows from each event.
//!
//! ```text
//! Running ──CLI reaped──► Draining ──all read──► Sweeping ──tree empty──► recorded, gone
//! ```

mod ending;
mod requests;

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal as Watched;
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};

use self::ending::{QUIET, SWEEP_LIMIT};
use super::control::{Control, Growth, Slot};
use super::ladder::{Due, Ladder};
use super::launch::Launched;
use super::output::{Output, drain};
use super::stdin::StdinPipe;
use super::{ShimError, Step as _};
use crate::clock::Clock;
use crate::process::{self, Identity, OomWatch, PidFd, RunGroup};
use crate::spool::control::Stop;
use crate::spool::{Appender, Claim, InputLog, Plan, RotatingLog, RunDir, Stopped};

/// Stderr keeps this much twice.
const STDERR_SEGMENT: u64 = 1024 * 1024;
/// A running CLI under supervision.
#[derive(Debug)]
pub(super) struct Shim {
    dir: RunDir,
    own: Pid,
    identity: Identity,
    agent: Identity,
    pid: Pid,
    pidfd: PidFd,
    output: Output,
    stderr: Option<OwnedFd>,
    stderr_log: RotatingLog,
    stdin: Option<StdinPipe>,
    control: Control,
    signals: SignalFd,
    ladder: Ladder,
    timeout: Option<Instant>,
    /// The process that it is run for, while that one lives.
    lead: Option<PidFd>,
    stage: Stage,
    oom: Option<OomWatch>,
    group: Option<RunGroup>,
    record: Stopped,
}

/// How far the run is.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// The CLI lives.
    Running,
    /// SIGKILL was sent; a CLI that is still there by then is unkillable.
    Killing { until: Instant },
    /// The CLI is dead, and others may still write.
    Draining { quiet: Instant, until: Instant },
    /// What is left of the tree is being killed.
    Sweeping { next: Instant, until: Instant },
    /// There is nothing left to do but to say so.
    Over,
}

/// What a descriptor in the poll set is.
#[derive(Debug, Clone, Copy)]
enum Source {
    Output,
    Stderr,
    Stdin,
    Signals,
    Listener,
    Lead,
    Connection(Slot),
}

impl Shim {
    pub(super) fn new(
        dir: &RunDir,
        claim: &Claim,
        plan: &Plan,
        spool: Appender,
        launched: Launched,
    ) -> Result<Self, ShimError> {
        let stdin = match launched.stdin {
            Some(pipe) => {
                let log = InputLog::open(&dir.input()).step("open the record of the input")?;
                Some(StdinPipe::new(pipe, log))
            }
            None => None,
        };
        let watched = [
            Watched::SIGCHLD,
            Watched::SIGTERM,
            Watched::SIGINT,
            Watched::SIGHUP,
            Watched::SIGQUIT,
        ];
        let timeout = plan.timeout_ms.map(Duration::from_millis);
        let lead = plan.ends_with.map(PidFd::open).transpose();
        let lead = lead.step("watch the process that it runs for")?;
        let is_alone = matches!(lead, Some(None));
        let mut shim = Self {
            own: rustix::process::getpid(),
            identity: launched.shim,
            agent: launched.agent,
            pid: launched.pid,
            pidfd: launched.pidfd,
            output: Output::new(launched.stdout, spool, plan.spool_quota),
            stderr: Some(launched.stderr),
            stderr_log: RotatingLog::new(dir.stderr(), STDERR_SEGMENT),
            stdin,
            control: Control::bind(dir, claim.folder()).step("open the control socket")?,
            signals: process::block_and_watch(&watched).step("watch signals")?,
            ladder: Ladder::Resting,
            timeout: timeout.map(|timeout| Clock.now() + timeout),
            stage: Stage::Running,
            oom: launched.oom,
            group: launched.group,
            record: Stopped::default(),
            dir: dir.clone(),
            lead: lead.flatten(),
        };
        if is_alone {
            shim.stop(Stop::ORDERLY);
        }
        Ok(shim)
    }

    /// Supervises until the run is over and recorded.
    pub(super) fn run(&mut self) -> Result<(), ShimError> {
        // The CLI may be dead already, from before its SIGCHLD was watched for.
        self.reap();
        loop {
            self.advance();
            if matches!(self.stage, Stage::Over) {
                return self.finish();
            }
            for (source, flags) in self.wait()? {
                self.handle(source, flags);
            }
            self.control.announce(self.growth(), Clock.now());
        }
    }

    fn wait(&self) -> Result<Vec<(Source, PollFlags)>, ShimError> {
        let sources = self.sources();
        let mut fds: Vec<PollFd<'_>> = sources
            .iter()
            .map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
            .collect();
        let patience = self
            .deadline()
            .map(|at| at.saturating_duration_since(Clock.now()))
            .map(|left| Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            });
        match poll(&mut fds, patience.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).step("wait for events"),
        }
        let ready = fds.iter().zip(&sources);
        Ok(ready
            .filter(|(fd, _)| !fd.revents().is_empty())
            .map(|(fd, (source, ..))| (*source, fd.revents()))
            .collect())
    }

    fn sources(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let stdin = self.stdin.as_ref().and_then(StdinPipe::waiting);
        let fixed = [
            (Source::Signals, Some(self.signals.as_fd()), PollFlags::IN),
            (Source::Output, self.output.wanted(), PollFlags::IN),
            (
                Source::Stderr,
                self.stderr.as_ref().map(OwnedFd::as_fd),
                PollFlags::IN,
            ),
            (Source::Stdin, stdin, PollFlags::OUT),
            (
                Source::Lead,
                self.lead.as_ref().map(PidFd::as_fd),
                PollFlags::IN,
            ),
            (Source::Listener, self.control.listener(), PollFlags::IN),
        ];
        let mut sources: Vec<_> = fixed
            .into_iter()
            .filter_map(|(source, fd, flags)| Some((source, fd?, flags)))
            .collect();
        sources.extend(
            self.control
                .connections()
                .map(|(slot, fd, flags)| (Source::Connection(slot), fd, flags)),
        );
        sources
    }

    fn deadline(&self) -> Option<Instant> {
        let stage = match self.stage {
            Stage::Running | Stage::Over => None,
            Stage::Killing { until } => Some(until),
            // With a full disk the next try is what there is to wait for.
            Stage::Draining { .. } if self.output.deadline().is_some() => None,
            Stage::Draining { quiet, until } => Some(quiet.min(until)),
            Stage::Sweeping { next, .. } => Some(next),
        };
        [
            stage,
            self.ladder.deadline(),
            self.output.deadline(),
            self.control.deadline(),
            self.timeout,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn handle(&mut self, source: Source, flags: PollFlags) {
        match source {
            Source::Output => self.pump(),
            Source::Stderr => self.pump_stderr(),
            Source::Stdin => {
                if let Some(stdin) = &mut self.stdin {
                    stdin.flush();
                }
            }
            Source::Signals => self.take_signals(),
            Source::Listener => self.control.accept(Clock.now()),
            Source::Lead => {
                self.lead = None;
                self.stop(Stop::ORDERLY);
            }
            Source::Connection(slot) if flags.contains(PollFlags::OUT) => self.control.write(slot),
            Source::Connection(slot) => {
                for request in self.control.read(slot) {
                    self.obey(slot, request);
                }
            }
        }
    }

    fn pump(&mut self) {
        let before = self.output.bytes();
        self.output.pump(Clock.now());
        if let Stage::Draining { quiet, .. } = &mut self.stage
            && self.output.bytes() > before
        {
            *quiet = Clock.now() + QUIET;
        }
    }

    fn pump_stderr(&mut self) {
        if let Some(stderr) = &self.stderr
            && !drain(stderr, |bytes| self.stderr_log.append(bytes))
        {
            self.stderr = None;
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            // Only SIGTERM asks for something; the rest may come from a terminal that is none of
            // the shim's business.
            if signal.ssi_signo == Watched::SIGTERM as u32 {
                self.stop(Stop::ORDERLY);
            }
        }
        // Several deaths may have come as one SIGCHLD.
        self.reap();
    }

    fn reap(&mut self) {
        while let Some((pid, status)) = process::reap() {
            if pid == self.pid {
                self.agent_died(status);
            }
        }
    }

    /// What follows from the time.
    fn advance(&mut self) {
        let now = Clock.now();
        if self.timeout.is_some_and(|at| now >= at) {
            self.timeout = None;
            self.record.timed_out = true;
            self.stop(Stop::ORDERLY);
        }
        if let Some(due) = self.ladder.tick(now) {
            self.climb(due);
        }
        if self.output.deadline().is_some_and(|at| now >= at) {
            self.pump();
        }
        self.control.tick(now);
        match self.stage {
            Stage::Killing { until } if now >= until => self.give_up(),
            Stage::Running | Stage::Over | Stage::Killing { .. } => {}
            Stage::Draining { quiet, until } => self.drain_on(now, quiet.min(until)),
            Stage::Sweeping { .. } => self.sweep(now),
        }
    }

    fn stop(&mut self, how: Stop) {
        // On a dead CLI it means: do not wait for those that outlived it.
        if let Some(due) = self.ladder.stop(how, Clock.now()) {
            self.climb(due);
        }
    }

    fn climb(&mut self, due: Due) {
        if !matches!(self.stage, Stage::Running) {
            return;
        }
        match due {
            Due::Interrupt => self.send(Signal::INT, false),
            Due::Terminate => self.send(Signal::TERM, true),
            Due::Kill => {
                self.send(Signal::KILL, true);
                // Its children would only bring it to life again in their own way.
                self.kill_descendants();
                self.stage = Stage::Killing {
                    until: Clock.now() + SWEEP_LIMIT,
                };
            }
        }
    }

    /// Signals the CLI, and its process group if so wished.
    fn send(&mut self, signal: Signal, group: bool) {
        self.record.sent.push(signal.as_raw());
        // Gone meanwhile: SIGCHLD is on its way.
        let _outcome = self.pidfd.signal(signal);
        if group {
            let _outcome = process::signal_group(self.pid, signal);
        }
        // A stopped process would take it only when it goes on.
        if signal == Signal::INT || signal == Signal::TERM {
            let _outcome = self.pidfd.signal(Signal::CONT);
        }
    }

    fn growth(&self) -> Growth {
        Growth {
            bytes: self.output.bytes(),
            held: self.output.held(),
        }
    }
}
