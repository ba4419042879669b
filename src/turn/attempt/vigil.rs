//! An attempt is watched: what its agent is doing, whether it hangs, whether a stop comes to its
//! end. One moment at a time is due; none while nothing can follow from it.

use std::time::Duration;

use tokio::time::Instant;

use super::super::context::{TurnContext, TurnFault};
use super::super::outcome::Stop;
use super::super::pump::Pump;
use super::{Attempt, Shown, warning};
use crate::process::{clock_ticks, tree_usage};
use crate::sandbox::{Ending, RunHandle};
use crate::spool::control::Stop as Ladder;
use crate::turn::silence::{Look, Silence};

/// A CLI that has said that it is done gets no interrupt: it would be taken for the turn's.
pub(in crate::turn) const LEAVE: Ladder = Ladder {
    interrupt_grace_ms: 0,
    term_grace_ms: 5_000,
};

/// Of an attempt that begins now, or that was taken over.
pub(super) fn begin(context: &TurnContext, pump: &Pump) -> Silence {
    Silence::new(context.patience, pump.doing(), context.clock.now())
}

impl Attempt {
    /// There was output; whether the agent does something else since.
    pub(super) fn heard(&mut self) -> bool {
        let clock = self.context.clock;
        let (now, wall) = (clock.now(), clock.wall().millis());
        let doing = self.pump.doing();
        self.silence.heard(doing, now, clock_ticks(), wall)
    }

    pub(super) fn show(&self, shown: &Shown) {
        shown.doing(self.silence.doing().clone(), self.context.clock.wall());
    }

    /// The one moment at which something is due although nothing happens.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.cause {
            // What waits to be stored is not the agent's silence, and its end is news.
            None if !self.storing.is_settled() => None,
            None => self.silence.deadline().map(Instant::from_std),
            Some(_) => self.bound,
        }
    }

    /// That moment has come.
    pub(super) async fn look(&mut self) -> Result<(), TurnFault> {
        if self.cause.is_some() {
            self.stop_is_overdue().await;
            return Ok(());
        }
        // What is there and was not read yet is not the agent's silence.
        if self.read_chunk()? || !self.storing.is_settled() {
            self.heard();
            return Ok(());
        }
        let identities = self.run.as_ref().and_then(RunHandle::identities);
        let usage = || identities.and_then(|(shim, agent)| tree_usage(shim, agent).ok());
        match self.silence.look(self.context.clock.now(), usage) {
            Look::Wait => {}
            Look::Linger => self.stop(Stop::Linger, LEAVE).await,
            Look::Stopped => {
                let text = "the agent's process is stopped (SIGSTOP); SIGCONT lets it go on";
                let notice = warning("agent_stopped", text.to_owned());
                self.context.journal.commit(self.pump.own(notice)?).await?;
            }
            Look::Hung(how) => {
                tracing::warn!(run = %self.dir.path().display(), "the agent {how}");
                self.hang = Some(how);
                self.stop(Stop::Hang, Ladder::ORDERLY).await;
            }
        }
        Ok(())
    }

    /// A stop has not come to its end in time: first its shim has to go, then it is given up.
    async fn stop_is_overdue(&mut self) {
        self.bound = Some(Instant::now() + self.context.patience.stopping);
        // The CLI may be gone long since: its shim waits for room to say so, or we do.
        let is_full = self.context.journal.room().borrow().is_full();
        if self.ending.is_some() || self.room.is_held() || is_full {
            return;
        }
        if self.destroyed {
            self.run = None;
            self.ending = Some(Ending::vanished());
        } else if let Some(control) = &self.control {
            tracing::warn!(run = %self.dir.path().display(), "the shim does not end; killing it");
            self.destroyed = true;
            control.destroy().await;
        }
    }

    /// Cancels what an earlier daemon was told to cancel.
    pub(in crate::turn) async fn cancel(&mut self) {
        self.stop(Stop::Cancel, Ladder::ORDERLY).await;
    }

    /// Tells the run to end, for that reason.
    pub(super) async fn stop(&mut self, cause: Stop, how: Ladder) {
        crash_point!("attempt.before_stop");
        self.cause = Some(cause);
        let graces = how.interrupt_grace_ms + how.term_grace_ms;
        let limit = Duration::from_millis(graces) + self.context.patience.stopping;
        let bound = Instant::now() + limit;
        self.bound = Some(self.bound.map_or(bound, |earlier| earlier.min(bound)));
        if let Some(control) = &self.control
            && let Err(error) = control.stop(how).await
        {
            tracing::warn!(%error, "the run cannot be told to stop; waiting for it to end");
        }
    }
}
