//! From the CLI's death to the durable record: drain, sweep, say so.

use std::time::{Duration, Instant};

use rustix::process::{Signal, WaitStatus};

use super::{Shim, Stage};
use crate::clock::Clock;
use crate::exit::Exit;
use crate::process::{self, Identity, OomCounter, PidFd, State};
use crate::shim::output::Left;
use crate::shim::{ShimError, Step as _};
use crate::spool::{CONTRACT, Phase, RunDir, Status};

/// How long a process that outlived the CLI may be silent before its output is over.
pub(super) const QUIET: Duration = Duration::from_secs(2);
/// How long such processes may go on writing.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// How long killed processes may take to vanish before they are reported as leaked.
pub(super) const SWEEP_LIMIT: Duration = Duration::from_secs(5);
/// Between two rounds of a sweep.
const SWEEP_PAUSE: Duration = Duration::from_millis(5);
/// Rounds without a pause: faster than most trees can fork.
const SWEEP_BURST: usize = 8;
/// How often the last record is tried on a full disk, a second apart.
const RECORD_TRIES: u32 = 600;

impl Shim {
    pub(super) fn agent_died(&mut self, status: WaitStatus) {
        crash_point!("shim.agent_died");
        let killed_by_us = self.record.sent.contains(&Signal::KILL.as_raw());
        let oom = match (self.oom_before, OomCounter::read()) {
            (Some(before), Some(now)) => now.rose_since(before),
            _ => false,
        };
        self.record.exit = Exit {
            code: status.exit_status(),
            signal: status.terminating_signal(),
            oom: oom && !killed_by_us && status.exit_status() != Some(0),
        };
        let now = Clock.now();
        self.timeout = None;
        self.output.take_last_words();
        self.stage = Stage::Draining {
            quiet: now + QUIET,
            until: now + DRAIN_LIMIT,
        };
    }

    pub(super) fn drain_on(&mut self, now: Instant, until: Instant) {
        let mut left = self.output.pump(now);
        while left == Left::Something && !self.output.held() {
            left = self.output.pump(now);
        }
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

    /// Kills all descendants; those that lived.
    pub(super) fn kill_descendants(&self) -> Vec<Identity> {
        let members = process::descendants(self.own).unwrap_or_default();
        let living: Vec<Identity> = members
            .into_iter()
            .filter(|member| member.state != State::Dead)
            .map(|member| member.identity)
            .collect();
        for member in &living {
            // Gone meanwhile, or another user's: the next round sees which.
            if let Ok(Some(pidfd)) = PidFd::open(*member) {
                let _outcome = pidfd.signal(Signal::KILL);
            }
        }
        living
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
        self.write_record()?;
        crash_point!("shim.end_stored");
        self.control.announce(self.growth());
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
        };
        let mut result = status.write(&self.dir);
        for _ in 0..RECORD_TRIES {
            if result.is_ok() {
                break;
            }
            // Without the record the run would count as vanished: wait for room on the disk.
            std::thread::sleep(Duration::from_secs(1));
            result = status.write(&self.dir);
        }
        Ok(result?)
    }
}
