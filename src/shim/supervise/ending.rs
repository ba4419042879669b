//! From the CLI's death to the durable record: drain, sweep, say so.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::{Signal, WaitStatus};

use super::{Shim, Stage};
use crate::clock::Clock;
use crate::exit::Exit;
use crate::process::{self, Identity, Member, OomWatch, PidFd, State};
use crate::shim::output::Left;
use crate::shim::{ShimError, Step as _};
use crate::spool::{CONTRACT, Phase, RunDir, Status};

/// How long a process that outlived the CLI may be silent before its output is over.
pub(super) const QUIET: Duration = Duration::from_secs(2);
/// How long such processes may go on writing.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// The same for a CLI that died: its end is to be known within a second, and what outlived it has
/// nobody left to write for.
const CRASH_QUIET: Duration = Duration::from_millis(200);
const CRASH_DRAIN_LIMIT: Duration = Duration::from_millis(600);
/// How long killed processes may take to vanish before they are reported as leaked.
pub(super) const SWEEP_LIMIT: Duration = Duration::from_secs(5);
/// Between two rounds of a sweep.
const SWEEP_PAUSE: Duration = Duration::from_millis(5);
/// How long what a turn has left may take to vanish once it was killed: the shim hears nothing
/// meanwhile.
const KILLED_LIMIT: Duration = Duration::from_millis(500);
/// Rounds without a pause: faster than most trees can fork.
const SWEEP_BURST: usize = 8;
/// How often the last record is tried on a full disk, a second apart.
const RECORD_TRIES: u32 = 600;

impl Shim {
    pub(super) fn agent_died(&mut self, status: WaitStatus) {
        crash_point!("shim.agent_died");
        self.record.oom_kills = self.oom.as_ref().map_or(0, OomWatch::kills);
        self.record.exit = self.exit(status);
        let now = Clock.now();
        self.timeout = None;
        self.output.take_last_words();
        let (quiet, limit) = if self.record.exit.code == Some(0) {
            (QUIET, DRAIN_LIMIT)
        } else {
            (CRASH_QUIET, CRASH_DRAIN_LIMIT)
        };
        self.stage = Stage::Draining {
            quiet: now + quiet,
            until: now + limit,
        };
    }

    /// How the CLI ended, and whether the kernel did it for want of memory: someone of its group
    /// was killed for that, it died as such a victim dies, and it was not our SIGKILL. A wrapper in
    /// a shell's words tells of a dead CLI by 128 and the signal.
    fn exit(&self, status: WaitStatus) -> Exit {
        let (code, signal) = (status.exit_status(), status.terminating_signal());
        let kill = Signal::KILL.as_raw();
        let is_victim = signal == Some(kill) || code == Some(128 + kill);
        let killed_by_us = self.record.sent.contains(&kill);
        Exit {
            code,
            signal,
            oom: self.record.oom_kills > 0 && is_victim && !killed_by_us,
        }
    }

    pub(super) fn drain_on(&mut self, now: Instant, until: Instant) {
        let mut left = self.output.pump(now);
        // Bounded: who outlived the CLI may write faster than this reads.
        while left == Left::Something && !self.output.held() && Clock.now() < until {
            left = self.output.pump(now);
        }
        let now = Clock.now();
        // The dead CLI's own output is complete here. Whoever holds the other end now outlived it:
        // worth waiting for, but not after a stop.
        let hurried = self.ladder.is_climbing() && left == Left::Nothing;
        // A full disk is waited for: the rest of the output is still in the kernel.
        let patient = self.output.deadline().is_some();
        if self.output.at_end() || hurried || (now >= until && !patient) {
            self.sweep_from(now);
            self.sweep(now);
        }
    }

    pub(super) fn sweep_from(&mut self, now: Instant) {
        self.stage = Stage::Sweeping {
            next: now,
            until: now + SWEEP_LIMIT,
        };
    }

    /// The CLI was killed long ago and is still there: no sweep will help.
    pub(super) fn give_up(&mut self) {
        self.record.leaked = self.kill_descendants();
        self.stage = Stage::Over;
    }

    /// Kills what is left of the tree; over when nothing is, or the time is up.
    pub(super) fn sweep(&mut self, now: Instant) {
        let Stage::Sweeping { next, until } = self.stage else {
            return;
        };
        if now < next {
            return;
        }
        let mut living = Vec::new();
        for _ in 0..SWEEP_BURST {
            living = self.kill_descendants();
            self.reap_rest();
            if living.is_empty() {
                break;
            }
        }
        if living.is_empty() || now >= until {
            self.record.leaked = living;
            self.stage = Stage::Over;
        } else {
            self.stage = Stage::Sweeping {
                next: now + SWEEP_PAUSE,
                until,
            };
        }
    }

    /// Kills all descendants, and all that is in the CLI's control group; those that lived.
    pub(super) fn kill_descendants(&self) -> Vec<Identity> {
        let mut members = process::descendants(self.own).unwrap_or_default();
        if let Some(group) = &self.group {
            members.extend(group.members());
            // What it misses is killed below, one by one.
            let _outcome = group.kill();
        }
        let is_living = |member: &Member| member.state != State::Dead;
        let living = members.into_iter().filter(is_living);
        let living: BTreeSet<Identity> = living.map(|member| member.identity).collect();
        for member in &living {
            // Gone meanwhile, or another user's: the next round sees which.
            if let Ok(Some(pidfd)) = PidFd::open(*member) {
                let _outcome = pidfd.signal(Signal::KILL);
            }
        }
        living.into_iter().collect()
    }

    /// Kills what the CLI has started since that tick, and not the CLI itself: what was there
    /// before serves other turns, too. It is gone when this returns: whoever is told of the turn's
    /// end may be at the same files at once.
    pub(super) fn kill_since(&self, since: u64) {
        let until = Clock.now() + KILLED_LIMIT;
        for _ in 0..SWEEP_BURST {
            let mut members = process::descendants(self.own).unwrap_or_default();
            if let Some(group) = &self.group {
                members.extend(group.members());
            }
            members.retain(|member| {
                let identity = member.identity;
                member.state != State::Dead && identity != self.agent && identity.start >= since
            });
            if members.is_empty() {
                return;
            }
            // Gone meanwhile, or another user's.
            let opened = |member: &Member| PidFd::open(member.identity).ok().flatten();
            let killed: Vec<PidFd> = members.iter().filter_map(opened).collect();
            for one in &killed {
                let _outcome = one.signal(Signal::KILL);
            }
            for one in &killed {
                let left = until.saturating_duration_since(Clock.now());
                let _ended = one.ends_within(left);
            }
        }
    }

    fn reap_rest(&mut self) {
        while let Some((pid, status)) = process::reap() {
            // An unkillable CLI that died after all.
            if pid == self.pid {
                let stage = self.stage;
                self.agent_died(status);
                self.stage = stage;
            }
        }
    }

    /// Takes the last bytes, makes all durable, says that it is over.
    pub(super) fn finish(&mut self) -> Result<(), ShimError> {
        crash_point!("shim.swept");
        let left = self.output.pump(Clock.now());
        self.output.close(left);
        self.output.sync();
        crash_point!("shim.output_synced");
        self.pump_stderr();
        self.record.spool_bytes = self.output.bytes();
        self.record.spool_truncated = self.output.lost();
        self.record.stderr_bytes = self.stderr_log.total();
        self.record.stderr_truncated = self.stderr_log.truncated();
        if let Some(group) = &self.group {
            group.remove();
        }
        self.write_record()?;
        crash_point!("shim.end_stored");
        self.control.announce(self.growth(), Clock.now());
        // Who comes later finds no socket and reads the record. Before the farewell: nobody looks
        // at the folder of a run after that.
        let socket = self.dir.path().join(RunDir::CONTROL);
        let removed = std::fs::remove_file(socket).step("remove the control socket");
        self.control.say_goodbye();
        crash_point!("shim.said_goodbye");
        removed
    }

    fn write_record(&self) -> Result<(), ShimError> {
        let status = Status {
            contract: CONTRACT,
            phase: Phase::Exited(self.record.clone()),
            shim: Some(self.identity),
            agent: Some(self.agent),
            group: self.group.as_ref().map(|group| group.path().to_owned()),
            world: process::pid_world(),
        };
        let mut result = status.write(&self.dir);
        for _ in 0..RECORD_TRIES {
            // In a folder that was deleted nobody looks for a record.
            if result.is_ok() || !self.dir.path().exists() {
                break;
            }
            // Without the record the run would count as vanished: wait for room on the disk.
            std::thread::sleep(Duration::from_secs(1));
            result = status.write(&self.dir);
        }
        Ok(result?)
    }
}
