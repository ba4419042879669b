//! How a turn is left: closed with one `end`, its last event, stored together with the turn's state;
//! or left open for the next daemon.

use super::{Failed, Turn};
use crate::event::{Event, Outcome};
use crate::ids::RunId;
use crate::journal::Change;
use crate::turn::attempt::AttemptEnd;
use crate::turn::context::{TurnEnd, TurnFault};
use crate::turn::live::{Course, LiveProcess};
use crate::turn::outcome::Verdict;
use crate::turn::pump::Closing;
use crate::turn::{checkpoint, publish, report};

impl Turn {
    /// Leaves the turn open for the next daemon, which starts its next attempt.
    pub(super) async fn pause(&mut self, mut closing: Closing) -> Result<TurnEnd, TurnFault> {
        let over = Change::EndAttempt { turn: self.row.id };
        crash_point!("turn.before_pause");
        let batch = closing.take().with(over);
        Ok(TurnEnd {
            outcome: None,
            agent_session: self.conversation.id().map(str::to_owned),
            last_seq: self.context.journal.commit(batch).await?,
            process: None,
        })
    }

    /// Ends the turn with its last attempt: judged, checked, kept, pushed.
    pub(super) async fn close(mut self, mut end: AttemptEnd) -> Result<TurnEnd, TurnFault> {
        let verdict =
            Verdict::new(end.evidence, end.process, end.cause).explained(end.hang.as_deref());
        let mut outcome = match &verdict {
            Verdict::Ended { outcome, .. } => *outcome,
            Verdict::Crashed { .. } => Outcome::Crashed,
            Verdict::Paused => Outcome::Unknown,
        };
        let mut events = verdict.into_events(&end.output, false, Some(self.duration_ms()));
        let reports = report::of_turn(&self.context, self.row.id).await;
        report::judge(&reports, &mut outcome, &mut events);
        let kept = checkpoint::of_turn(&self.context, &self.row).await;
        let ends = |event: &Event| matches!(event, Event::End { .. });
        let pushed = publish::of_turn(&self.context, self.row.id).await;
        let (before, last): (Vec<_>, Vec<_>) = events.into_iter().partition(|event| !ends(event));
        let after = reports.iter().chain(&pushed).chain(&kept);
        for event in before.iter().chain(after).chain(&last) {
            end.closing.add(event)?;
        }
        let ended = self.store_end(end.closing, outcome, end.kept).await?;
        publish::settled(&self.context);
        Ok(ended)
    }

    /// An earlier daemon was told to cancel the turn, and then died between two attempts.
    pub(super) async fn close_between(&mut self) -> Result<TurnEnd, TurnFault> {
        // Events of the runner's own, under the ids of a run that never was.
        let run = RunId::from_uuid(self.context.clock.new_uuid());
        let seen = std::mem::take(&mut self.seen);
        let closing = Closing::new(self.origin(run), self.context.clock, 0, seen);
        self.stop(closing, Outcome::Cancelled).await
    }

    /// Ends the turn whose attempt could not even start.
    pub(super) async fn close_unstarted(&mut self, failed: Failed) -> Result<TurnEnd, TurnFault> {
        let mut closing = failed.closing;
        let outcome = Outcome::Failed;
        closing.add(&Event::End {
            outcome,
            error: Some(failed.error),
            duration_ms: Some(self.duration_ms()),
        })?;
        self.store_end(closing, outcome, None).await
    }

    /// Ends the turn between two attempts.
    pub(super) async fn stop(
        &mut self,
        mut closing: Closing,
        outcome: Outcome,
    ) -> Result<TurnEnd, TurnFault> {
        for kept in checkpoint::of_turn(&self.context, &self.row).await {
            closing.add(&kept)?;
        }
        closing.add(&Event::End {
            outcome,
            error: None,
            duration_ms: Some(self.duration_ms()),
        })?;
        self.store_end(closing, outcome, None).await
    }

    async fn store_end(
        &mut self,
        mut closing: Closing,
        outcome: Outcome,
        mut kept: Option<Box<LiveProcess>>,
    ) -> Result<TurnEnd, TurnFault> {
        let at = self.context.clock.wall();
        let end = Change::EndTurn {
            turn: self.row.id,
            outcome,
            at,
        };
        crash_point!("turn.before_end");
        let mut batch = closing.take().with(end);
        if let Some(process) = &mut kept {
            // The next turn goes on from here, and so does who finds the process at rest.
            process.ordinal = closing.ordinal();
            let rest = Course::default();
            batch.changes.push(process.progress(self.row.id, &rest));
        }
        let last_seq = self.context.journal.commit(batch).await?;
        crash_point!("turn.ended");
        Ok(TurnEnd {
            outcome: Some(outcome),
            agent_session: self.conversation.id().map(str::to_owned),
            last_seq,
            process: kept,
        })
    }

    fn duration_ms(&self) -> u64 {
        let elapsed = self.context.clock.now().duration_since(self.began);
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }
}
