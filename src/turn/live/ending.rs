//! How a turn over a live process ends: the process goes on, or it is gone.

use super::attempt::{LiveAttempt, Stopping, hear};
use crate::agent::Evidence;
use crate::agent::live::Phase;
use crate::event::ErrorClass;
use crate::sandbox::Ending;
use crate::turn::attempt::AttemptEnd;
use crate::turn::attempt::ending::{Fate, checked, last_output, last_stderr, taken_up};
use crate::turn::context::TurnFault;
use crate::turn::outcome::{Process, Stop};
use crate::turn::shown::Shown;

impl LiveAttempt {
    /// The turn is over, and its process goes on without it.
    pub(super) async fn over(mut self, shown: &Shown) -> Result<AttemptEnd, TurnFault> {
        shown.nothing();
        if self.cause.is_some()
            && let (Some(control), Some(since)) = (&self.process.control, self.course.since())
        {
            // What the turn has started and its interrupt has left.
            control.sweep(since).await.ok();
        }
        crash_point!("live.turn_over");
        let mut evidence = self.course.evidence().unwrap_or(Evidence::None);
        let session = self.process.agent_session().map(str::to_owned);
        if is_to_check(&evidence) {
            let (run, session) = (self.process.run, session.as_deref());
            let (checked, notice) = checked(&self.context, run, session, evidence).await;
            evidence = checked;
            if let Some(notice) = notice {
                self.account.add(notice);
            }
        }
        let is_of_use = self.process.dialog().phase() != Phase::Refused;
        let closing = self.account.close(self.process.ordinal, session)?;
        let mut process = self.process;
        if !is_of_use {
            process.end().await?;
        }
        Ok(AttemptEnd {
            closing,
            evidence,
            process: Process::GoesOn,
            cause: self.cause,
            left_behind: false,
            told_to_end: false,
            output: String::new(),
            hang: None,
            kept: is_of_use.then_some(process),
        })
    }

    /// The process is gone, and the turn with it, or before it.
    pub(super) async fn died(
        mut self,
        ending: &Ending,
        shown: &Shown,
    ) -> Result<AttemptEnd, TurnFault> {
        shown.nothing();
        let was_destroyed = self.stopping == Stopping::Destroyed && self.process.handle.is_none();
        let fate = Fate::of(ending, was_destroyed);
        if fate.timed_out && self.cause.is_none() {
            self.cause = Some(Stop::Timeout);
        }
        let stderr = last_stderr(&self.context, &self.process.dir);
        let output = last_output(&self.context, &self.process.dir);
        let (run, ordinal) = (self.process.run, self.process.ordinal);
        let mut session = self.process.agent_session().map(str::to_owned);
        let (mut told, now) = (Vec::new(), self.now());
        let last = self.process.finish(fate.exit(), &stderr, &mut told);
        hear(
            &mut self.course,
            &mut self.account,
            told,
            Phase::Resting,
            now,
        );
        let mut evidence = last.or(self.course.evidence()).unwrap_or(Evidence::None);
        if is_to_check(&evidence) {
            let (checked, notice) = checked(&self.context, run, session.as_deref(), evidence).await;
            evidence = checked;
            if let Some(notice) = notice {
                self.account.add(notice);
            }
        }
        let so_far = (&self.account.seen, &evidence);
        let began = self.course.began();
        let taken_up = taken_up(&self.context, run, session.as_deref(), so_far, began).await;
        for event in taken_up.into_iter().chain(fate.warnings()) {
            self.account.add(event);
        }
        // The daemon before may have had to go while the shim still waited for room.
        let told_before = self.taken_over && fate.told_to_end && self.cause.is_none();
        Ok(AttemptEnd {
            closing: self.account.close(ordinal, session.take())?,
            evidence,
            process: match fate.process {
                Process::Ended(exit) => Process::Left(exit),
                process => process,
            },
            cause: self.cause,
            left_behind: self.left_behind || told_before,
            told_to_end: fate.told_to_end,
            output,
            hang: self.hang,
            kept: None,
        })
    }
}

/// Whether the CLI's own record of the conversation may say more: it takes a success back, and
/// knows what a failure is classed by that the protocol told in words only.
fn is_to_check(evidence: &Evidence) -> bool {
    match evidence {
        Evidence::Completed => true,
        Evidence::Failed(error) => error.class == ErrorClass::Unknown,
        _ => false,
    }
}
