//! A turn over a live process is watched: what its agent is doing, whether it hangs, whether a stop
//! comes to its end.

use std::time::Duration;

use tokio::time::Instant;

use super::attempt::{LiveAttempt, Stopping};
use crate::agent::live::Phase;
use crate::process::{clock_ticks, tree_usage};
use crate::sandbox::{Ending, RunHandle};
use crate::spool::control::Stop as Ladder;
use crate::turn::activity::Doing;
use crate::turn::attempt::vigil::LEAVE;
use crate::turn::attempt::warning;
use crate::turn::context::TurnFault;
use crate::turn::outcome::Stop;
use crate::turn::shown::Shown;
use crate::turn::silence::Look;

impl LiveAttempt {
    /// Asks the CLI to end its turn; signals do it where it does not.
    pub(super) fn stop(&mut self, cause: Stop, patience: Duration) {
        crash_point!("live.before_stop");
        self.cause = Some(cause);
        let bound = Instant::now() + patience;
        self.bound = Some(self.bound.map_or(bound, |earlier| earlier.min(bound)));
        self.stopping = self.stopping.max(Stopping::Asked);
    }

    /// Has the process ended.
    pub(super) async fn signal(&mut self, how: Ladder) {
        self.stopping = self.stopping.max(Stopping::Signalled);
        let graces = how.interrupt_grace_ms + how.term_grace_ms;
        let limit = Duration::from_millis(graces) + self.context.patience.stopping;
        self.bound = Some(Instant::now() + limit);
        if let Some(control) = &self.process.control
            && let Err(error) = control.stop(how).await
        {
            tracing::warn!(%error, "the run cannot be told to stop; waiting for it to end");
        }
    }

    /// What the agent is doing.
    pub(super) fn doing(&self) -> Doing {
        let phase = self.process.dialog().phase();
        if phase == Phase::Resting && self.course.in_background() {
            return Doing::Background;
        }
        match self.account.seen.activity().doing() {
            // A process that is there already waits for the model at once.
            Doing::Starting if phase == Phase::Working => Doing::Model,
            doing => doing,
        }
    }

    /// Whether the agent does something else now.
    pub(super) fn heard(&mut self, grew: bool) -> bool {
        let doing = self.doing();
        if !grew && doing == *self.silence.doing() {
            return false;
        }
        let clock = self.context.clock;
        let (now, wall) = (clock.now(), clock.wall().millis());
        self.silence.heard(doing, now, clock_ticks(), wall)
    }

    pub(super) fn show(&self, shown: &Shown) {
        shown.doing(self.silence.doing().clone(), self.context.clock.wall());
    }

    pub(super) fn due(&self) -> Option<Instant> {
        let limits = self.waiting.iter().filter_map(|(_, until)| *until);
        let silence = match self.stopping {
            Stopping::Not if !self.storing.is_settled() => None,
            Stopping::Not => self.silence.deadline().map(Instant::from_std),
            _ => self.bound,
        };
        limits.chain(silence).chain(self.process.change_due()).min()
    }

    /// A moment has come at which something is due although nothing happens.
    pub(super) async fn look(&mut self, shown: &Shown) -> Result<(), TurnFault> {
        self.deny_what_is_late(shown).await?;
        self.process.drop_late_change();
        if self.stopping != Stopping::Not {
            if self.bound.is_some_and(|bound| Instant::now() >= bound) {
                self.stop_is_overdue().await;
            }
            return Ok(());
        }
        if self
            .silence
            .deadline()
            .is_none_or(|at| Instant::now() < Instant::from_std(at))
        {
            return Ok(());
        }
        let identities = self.process.handle.as_ref().and_then(RunHandle::identities);
        let usage = || identities.and_then(|(shim, agent)| tree_usage(shim, agent).ok());
        match self.silence.look(self.context.clock.now(), usage) {
            Look::Wait => {}
            Look::Linger => {
                self.cause = Some(Stop::Linger);
                self.signal(LEAVE).await;
            }
            Look::Stopped => {
                let text = "the agent's process is stopped (SIGSTOP); SIGCONT lets it go on";
                self.account.add(warning("agent_stopped", text.to_owned()));
            }
            Look::Hung(how) => {
                tracing::warn!(run = %self.process.run, "the agent {how}");
                self.hang = Some(how);
                self.cause = Some(Stop::Hang);
                self.signal(Ladder::ORDERLY).await;
            }
        }
        Ok(())
    }

    /// A stop has not come to its next step in time.
    pub(super) async fn stop_is_overdue(&mut self) {
        let is_full = self.context.journal.room().borrow().is_full();
        match self.stopping {
            Stopping::Not => {}
            Stopping::Asked => {
                tracing::warn!(run = %self.process.run, "the agent does not end its turn");
                self.signal(LEAVE).await;
            }
            _ if self.process.ending.is_some() || self.process.room.is_held() || is_full => {
                self.bound = Some(Instant::now() + self.context.patience.stopping);
            }
            Stopping::Signalled => {
                self.stopping = Stopping::Destroyed;
                self.bound = Some(Instant::now() + self.context.patience.stopping);
                if let Some(control) = &self.process.control {
                    tracing::warn!(run = %self.process.run, "the shim does not end; killing it");
                    control.destroy().await;
                }
            }
            Stopping::Destroyed => {
                self.process.handle = None;
                self.process.ending = Some(Ending::vanished());
            }
        }
    }
}
