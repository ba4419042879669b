//! A turn over a live process: the one that waits for it, or a new one.

use std::sync::Arc;

use super::{Failed, Going, Turn, blocked, launch_failure};
use crate::agent::live::{LiveKind, LivePlan};
use crate::event::TurnError;
use crate::ids::{EventId, RunId};
use crate::journal::Change;
use crate::turn::context::{Start, TurnFault};
use crate::turn::live::{Account, Course, LiveAttempt, LiveProcess, Place, Saved};
use crate::turn::pump::Closing;

impl Turn {
    /// The process that waits for the turn, if it can be used.
    async fn wake(&mut self) -> Result<Option<Box<LiveProcess>>, TurnFault> {
        let Some(rest) = self.rest.take() else {
            return Ok(None);
        };
        let Some(mut process) = rest.wake().await? else {
            return Ok(None);
        };
        if process.is_alive() && !self.conversation.is_lost() && process.adapt().await? {
            return Ok(Some(process));
        }
        process.end().await?;
        Ok(None)
    }

    /// Begins the next attempt over a live process.
    pub(super) async fn launch_live(
        &mut self,
        kind: &'static LiveKind,
    ) -> Result<Result<Going, Failed>, TurnFault> {
        let (context, clock) = (Arc::clone(&self.context), self.context.clock);
        let woken = self.wake().await?;
        let run = match &woken {
            Some(process) => process.run,
            None => RunId::from_uuid(clock.new_uuid()),
        };
        let seen = std::mem::take(&mut self.seen);
        let mut account = Account::new(self.origin(run), clock, seen);
        if self.row.attempt == 1 {
            account.add(self.row.prompt_event());
        }
        account.seen.begin_attempt();
        let prompt;
        let (mut process, plan) = if let Some(process) = woken {
            let (row, seen) = (&self.row, &account.seen);
            let said = self.conversation.go_on(&context, row, seen, run).await?;
            prompt = (said.prompt, said.images);
            said.notice
                .into_iter()
                .for_each(|notice| account.add(notice));
            (process, None)
        } else {
            let (row, seen) = (&self.row, &account.seen);
            let opening = self.conversation.open(&context, row, seen, run).await?;
            prompt = (opening.prompt, opening.images);
            opening
                .notice
                .into_iter()
                .for_each(|notice| account.add(notice));
            let plan = match opening.plan.map(Start::into_live) {
                Ok(plan) => plan.ok_or_else(no_live_plan)?,
                Err(error) => {
                    let error = launch_failure(&error);
                    return self.unstarted(account, error).await.map(Err);
                }
            };
            let process = LiveProcess::new(Arc::clone(&context), kind, run, &plan.spec);
            (Box::new(process), Some(plan))
        };
        process.last_turn = Some((self.row.id, self.row.attempt));
        let course = Course::begin(clock.new_uuid().to_string(), prompt, clock.wall());
        let mut attempt = LiveAttempt::begin(process, course, account);
        let announced = self.begin_live(&mut attempt, run).await?;
        let Some(prompt) = announced.filter(|_| self.row.attempt == 1) else {
            return self.start_live(attempt, plan).await;
        };
        if let Err(why) = context.briefings.begin(prompt).await {
            let closing = attempt.part().await?;
            let error = blocked(&why);
            return Ok(Err(Failed { closing, error }));
        }
        if attempt.is_as_wanted() {
            return self.start_live(attempt, plan).await;
        }
        Box::pin(self.begin_otherwise(kind, attempt)).await
    }

    /// The Hub has said what a process that is there does not know: another one is begun with.
    async fn begin_otherwise(
        &mut self,
        kind: &'static LiveKind,
        attempt: LiveAttempt,
    ) -> Result<Result<Going, Failed>, TurnFault> {
        let (context, clock) = (Arc::clone(&self.context), self.context.clock);
        let closing = attempt.part().await?;
        let run = RunId::from_uuid(clock.new_uuid());
        let mut account = Account::new(self.origin(run), clock, closing.seen);
        let (row, seen) = (&self.row, &account.seen);
        let opening = self.conversation.open(&context, row, seen, run).await?;
        if let Some(notice) = opening.notice {
            account.add(notice);
        }
        let plan = match opening.plan.map(Start::into_live) {
            Ok(plan) => plan.ok_or_else(no_live_plan)?,
            Err(error) => {
                let error = launch_failure(&error);
                return self.unstarted(account, error).await.map(Err);
            }
        };
        let mut process = LiveProcess::new(context, kind, run, &plan.spec);
        process.last_turn = Some((self.row.id, self.row.attempt));
        let said = (opening.prompt, opening.images);
        let course = Course::begin(clock.new_uuid().to_string(), said, clock.wall());
        let mut attempt = LiveAttempt::begin(Box::new(process), course, account);
        self.begin_live(&mut attempt, run).await?;
        self.start_live(attempt, Some(plan)).await
    }

    /// Stores that the attempt begins, with all that its process has told so far. The first of
    /// these events.
    async fn begin_live(
        &self,
        attempt: &mut LiveAttempt,
        run: RunId,
    ) -> Result<Option<EventId>, TurnFault> {
        let mut begin = attempt.opening()?;
        let changes = [
            Change::BeginAttempt {
                turn: self.row.id,
                attempt: self.row.attempt,
                run,
                ordinal_next: 0,
            },
            Change::LiveRun { run: Some(run) },
        ];
        // First: the progress of the batch is the attempt's.
        begin.changes.splice(0..0, changes);
        let first = begin.events.first().map(|event| event.event_id);
        crash_point!("live.before_begin");
        self.context.journal.commit(begin).await?;
        crash_point!("live.begun");
        Ok(first)
    }

    async fn start_live(
        &self,
        mut attempt: LiveAttempt,
        plan: Option<LivePlan>,
    ) -> Result<Result<Going, Failed>, TurnFault> {
        if let Some(plan) = plan
            && let Err(error) = attempt.start(&plan).await
        {
            let closing = attempt.unstarted()?;
            return Ok(Err(Failed { closing, error }));
        }
        Ok(Ok(Going::Live(Box::new(attempt))))
    }

    /// An attempt that is over before it has a process.
    async fn unstarted(&self, mut account: Account, error: TurnError) -> Result<Failed, TurnFault> {
        let origin = account.origin().clone();
        let begin = account.unstarted(Change::BeginAttempt {
            turn: self.row.id,
            attempt: self.row.attempt,
            run: origin.run,
            ordinal_next: 0,
        })?;
        let ordinal = begin.events.len() as u64;
        self.context.journal.commit(begin).await?;
        let closing = Closing::new(origin, self.context.clock, ordinal, account.seen);
        Ok(Failed { closing, error })
    }

    /// Goes on with a process that an earlier daemon left in the middle of the turn.
    pub(super) async fn take_over_live(
        &mut self,
        kind: &'static LiveKind,
        run: RunId,
        saved: Saved,
    ) -> Result<Going, TurnFault> {
        let place = Place {
            offset: self.row.offset,
            ordinal: self.row.ordinal_next,
            saved,
            turn: (self.row.id, self.row.attempt),
        };
        let context = Arc::clone(&self.context);
        let opened = LiveProcess::attach(context, kind, run, Some(place)).await?;
        let seen = std::mem::take(&mut self.seen);
        let account = Account::new(self.origin(run), self.context.clock, seen);
        let process = Box::new(opened.process);
        let attempt = LiveAttempt::take_over(process, opened.course, account, &opened.frames)?;
        Ok(Going::Live(Box::new(attempt)))
    }
}

fn no_live_plan() -> TurnFault {
    TurnFault::Internal("a live turn has no live plan".to_owned())
}
