//! Drives one turn: starts its attempts, decides with [`policy`] what follows, closes the turn.

mod closing;
mod live;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::approval::AnswerError;
use super::attempt::{Attempt, AttemptEnd, Launch, until};
use super::context::{TurnCommand, TurnContext, TurnEnd, TurnFault};
use super::conversation::{Conversation, Opening};
use super::history;
use super::live::{LiveAttempt, LiveProcess, Rest, Saved};
use super::outcome::{Process, Stop, Verdict};
use super::policy::{self, Next, Why};
use super::pump::{Closing, Origin, number};
use super::report;
use super::seen::Seen;
use super::shown::Shown;
use crate::agent::LaunchError;
use crate::event::{ErrorClass, Event, Outcome, TurnError};
use crate::ids::{EventId, RunId};
use crate::journal::{Batch, Change, TurnRow, TurnState};

/// A turn on its way.
pub struct Turn {
    context: Arc<TurnContext>,
    row: TurnRow,
    /// What was seen of it, between two attempts.
    seen: Seen,
    conversation: Conversation,
    began: std::time::Instant,
    deadline: Option<Instant>,
    shown: Shown,
    /// The live process that waits for it, where one may.
    rest: Option<Rest>,
}

/// An attempt on its way, in either form.
enum Going {
    /// A process of its own.
    Exec(Box<Attempt>),
    /// Its share of one that outlives it.
    Live(Box<LiveAttempt>),
}

impl Going {
    async fn follow(
        self,
        orders: &mut mpsc::Receiver<TurnCommand>,
        deadline: Option<Instant>,
        shown: &Shown,
    ) -> Result<AttemptEnd, TurnFault> {
        match self {
            Self::Exec(attempt) => attempt.follow(orders, deadline, shown).await,
            Self::Live(attempt) => attempt.follow(orders, deadline, shown).await,
        }
    }

    async fn cancel(&mut self) {
        match self {
            Self::Exec(attempt) => attempt.cancel().await,
            Self::Live(attempt) => attempt.cancel(),
        }
    }
}

/// What an attempt that could not even start leaves behind.
struct Failed {
    closing: Closing,
    error: TurnError,
}

impl Turn {
    /// A turn as the journal has it, which shows what its agent is doing. `rest` is what it begins
    /// with, in live form.
    pub fn new(context: Arc<TurnContext>, row: TurnRow, shown: Shown, rest: Option<Rest>) -> Self {
        let began = context.clock.now();
        let deadline = context.timeout.map(|timeout| Instant::now() + timeout);
        Self {
            context,
            row,
            seen: Seen::default(),
            conversation: Conversation::default(),
            began,
            deadline,
            shown,
            rest,
        }
    }

    /// Drives the turn until it has ended or is paused.
    pub async fn drive(
        mut self,
        mut orders: mpsc::Receiver<TurnCommand>,
    ) -> Result<TurnEnd, TurnFault> {
        let session = self.context.journal.session(&self.context.session).await?;
        self.conversation = Conversation::new(session.and_then(|row| row.agent_session_id));
        if self.row.attempt > 0 {
            self.seen = history::seen(&self.context, self.row.id).await?;
        }
        let mut attempt = match (self.row.state, self.row.run) {
            (TurnState::Running, Some(run)) => self.take_over(run).await?,
            (TurnState::Cancelling, Some(run)) => {
                let mut attempt = self.take_over(run).await?;
                attempt.cancel().await;
                attempt
            }
            (TurnState::Cancelling, None) => return self.close_between().await,
            _ => match self.launch().await? {
                Ok(attempt) => attempt,
                Err(failed) => return self.close_unstarted(failed).await,
            },
        };
        crash_point!("turn.attempt_ready");
        loop {
            let followed = attempt.follow(&mut orders, self.deadline, &self.shown);
            let mut end = followed.await?;
            self.shown.nothing();
            self.conversation.learn(&mut end.closing)?;
            let why = match self.decide(&end) {
                Next::End => return self.close(end).await,
                Next::Pause => {
                    self.part_from(end.kept).await?;
                    return self.pause(end.closing).await;
                }
                Next::Again(why) => why,
            };
            // On the heap: what it holds while it waits is large, and most turns never come here.
            attempt = match Box::pin(self.again(end, why, &mut orders)).await? {
                ControlFlow::Continue(attempt) => attempt,
                ControlFlow::Break(end) => return Ok(end),
            };
        }
    }

    /// Goes on with a run that an earlier daemon started.
    async fn take_over(&mut self, run: RunId) -> Result<Going, TurnFault> {
        tracing::info!(turn = %self.row.id, %run, "taking over a run");
        crash_point!("turn.before_take_over");
        let saved = self.row.adapter.as_deref().and_then(Saved::load);
        if let (Some(saved), Some(kind)) = (saved, self.context.agent.live.as_ref()) {
            return self.take_over_live(kind, run, saved).await;
        }
        let earlier = match self.conversation.id() {
            Some(_) => self.earlier().await?,
            None => None,
        };
        let (context, seen) = (Arc::clone(&self.context), std::mem::take(&mut self.seen));
        let origin = self.origin(run);
        let attempt = Attempt::take_over(context, origin, &self.row, seen, earlier.as_deref());
        Ok(Going::Exec(Box::new(attempt.await?)))
    }

    /// The newest adapter's state of this session: the next process of the same conversation goes
    /// on from it.
    async fn earlier(&self) -> Result<Option<Vec<u8>>, TurnFault> {
        let (journal, session) = (&self.context.journal, &self.context.session);
        Ok(journal.newest_adapter(session).await?)
    }

    fn origin(&self, run: RunId) -> Origin {
        Origin {
            session: self.context.session.clone(),
            agent: self.context.agent.name,
            turn: self.row.id,
            attempt: self.row.attempt,
            run,
        }
    }

    /// Starts the next attempt; on the first one, the turn's first event is its prompt.
    async fn launch(&mut self) -> Result<Result<Going, Failed>, TurnFault> {
        self.row.attempt += 1;
        self.tell_author();
        if self.row.attempt == 1 {
            report::before_turn(&self.context, self.row.id).await;
        }
        if let Some(kind) = self.context.live {
            // On the heap: large, and once an attempt.
            return Box::pin(self.launch_live(kind)).await;
        }
        self.launch_exec().await
    }

    /// Begins the next attempt, with a process of its own.
    async fn launch_exec(&mut self) -> Result<Result<Going, Failed>, TurnFault> {
        let run = RunId::from_uuid(self.context.clock.new_uuid());
        let origin = self.origin(run);
        let mut events = Vec::new();
        if self.row.attempt == 1 {
            let prompt = self.row.prompt_event();
            self.seen.event(&prompt);
            events.push(prompt);
        }
        self.seen.begin_attempt();
        let (context, row) = (&self.context, &self.row);
        let mut opening = self
            .conversation
            .open(context, row, &self.seen, run)
            .await?;
        events.extend(opening.notice.take());
        // Asked before the new attempt's row, which has none yet.
        let earlier = if self.conversation.is_resumed() {
            self.earlier().await?
        } else {
            None
        };
        let (first, ordinal) = self.begin(&origin, &events).await?;
        let announced = first.filter(|_| self.row.attempt == 1);
        let seen = std::mem::take(&mut self.seen);
        if let Some(prompt) = announced
            && let Err(error) = self.brief(prompt, &mut opening, run).await
        {
            let closing = Closing::new(origin, self.context.clock, ordinal, seen);
            return Ok(Err(Failed { closing, error }));
        }
        let started = match opening.plan {
            Ok(plan) => {
                let (context, seen) = (Arc::clone(&self.context), seen.clone());
                let launch = Launch {
                    plan: plan.launch(),
                    prompt: &opening.prompt,
                    earlier: earlier.as_deref(),
                };
                Attempt::start(context, origin.clone(), launch, ordinal, seen).await
            }
            Err(error) => Err(launch_failure(&error)),
        };
        let started = started.map(|attempt| Going::Exec(Box::new(attempt)));
        Ok(started.map_err(|error| Failed {
            closing: Closing::new(origin, self.context.clock, ordinal, seen),
            error,
        }))
    }

    /// Stores that the attempt begins, with these events: the first of them, and the next one's
    /// ordinal.
    async fn begin(
        &self,
        origin: &Origin,
        events: &[Event],
    ) -> Result<(Option<EventId>, u64), TurnFault> {
        let mut ordinal = 0;
        let mut begin = Batch::new(&origin.session, origin.agent);
        for event in events {
            begin
                .events
                .push(number(origin, self.context.clock, &mut ordinal, event)?);
        }
        let first = begin.events.first().map(|event| event.event_id);
        let begin = begin.with(Change::BeginAttempt {
            turn: self.row.id,
            attempt: self.row.attempt,
            run: origin.run,
            ordinal_next: ordinal,
        });
        crash_point!("turn.before_begin");
        self.context.journal.commit(begin).await?;
        crash_point!("turn.attempt_begun");
        Ok((first, ordinal))
    }

    /// The agent's commits name this turn's author from here on.
    fn tell_author(&self) {
        if let Err(error) = self.context.authorship.tell(self.row.author.as_ref()) {
            // No reason not to work.
            tracing::error!(turn = %self.row.id, %error, "commits may name another turn's author");
        }
    }

    /// Waits for what the Hub says of the run, which may be part of the plan.
    async fn brief(
        &self,
        prompt: EventId,
        opening: &mut Opening,
        run: RunId,
    ) -> Result<(), TurnError> {
        match self.context.briefings.begin(prompt).await {
            Ok(()) => opening.plan_again(&self.context, run),
            Err(why) => return Err(blocked(&why)),
        }
        Ok(())
    }

    fn decide(&self, end: &AttemptEnd) -> Next {
        let verdict = Verdict::new(end.evidence.clone(), end.process, end.cause);
        if end.process == Process::Unkillable {
            // A second one beside it would work on the same files.
            return Next::End;
        }
        let crash = match verdict {
            // One that an earlier daemon paused has not died.
            Verdict::Crashed { .. } if end.left_behind && end.told_to_end => None,
            Verdict::Crashed { cause, .. } => Some(cause),
            Verdict::Ended { .. } | Verdict::Paused => None,
        };
        policy::next(&policy::Ended {
            evidence: &end.evidence,
            crash,
            cause: end.cause,
            left_behind: end.left_behind,
            resumed: self.conversation.is_resumed() || end.left_behind,
            showed: end.closing.seen.showed(),
            seen: &end.closing.seen,
        })
    }

    /// Ends an attempt and begins the next one, or leaves the turn in between.
    async fn again(
        &mut self,
        mut end: AttemptEnd,
        why: Why,
        orders: &mut mpsc::Receiver<TurnCommand>,
    ) -> Result<ControlFlow<TurnEnd, Going>, TurnFault> {
        let wait = match why {
            Why::Crash(wait) => Some(wait),
            Why::Steer | Why::CutOff | Why::Lost(_) => None,
        };
        // The next attempt has a process of its own.
        self.part_from(end.kept.take()).await?;
        crash_point!("turn.before_attempt_end");
        let mut closing = self.end_attempt(end, why).await?;
        crash_point!("turn.attempt_ended");
        if let Some(wait) = wait
            && let Some(stop) = self.wait(wait, &mut closing, orders).await?
        {
            let end = match stop {
                Stop::Pause => self.pause(closing).await?,
                Stop::Timeout => self.stop(closing, Outcome::TimedOut).await?,
                _ => self.stop(closing, Outcome::Cancelled).await?,
            };
            return Ok(ControlFlow::Break(end));
        }
        self.seen = closing.seen;
        crash_point!("turn.before_next_attempt");
        Ok(match self.launch().await? {
            Ok(attempt) => ControlFlow::Continue(attempt),
            Err(failed) => ControlFlow::Break(self.close_unstarted(failed).await?),
        })
    }

    /// Ends a live process that nobody goes on with.
    async fn part_from(&self, kept: Option<Box<LiveProcess>>) -> Result<(), TurnFault> {
        match kept {
            Some(mut process) => process.end().await,
            None => Ok(()),
        }
    }

    /// Stores what an attempt left that is followed by another.
    async fn end_attempt(&mut self, end: AttemptEnd, why: Why) -> Result<Closing, TurnFault> {
        let mut closing = end.closing;
        match why {
            Why::Steer => {}
            Why::CutOff => closing.seen.interrupted(),
            Why::Crash(_) => {
                let verdict = Verdict::new(end.evidence, end.process, end.cause)
                    .explained(end.hang.as_deref());
                for event in verdict.into_events(&end.output, true, None) {
                    closing.add(&event)?;
                }
            }
            Why::Lost(why) => self.conversation.lose(why),
        }
        let over = Change::EndAttempt { turn: self.row.id };
        self.context
            .journal
            .commit(closing.take().with(over))
            .await?;
        Ok(closing)
    }

    /// Waits before the next attempt. An order or the turn's deadline may end the turn meanwhile;
    /// a message is taken and told with the next attempt.
    async fn wait(
        &self,
        time: Duration,
        closing: &mut Closing,
        orders: &mut mpsc::Receiver<TurnCommand>,
    ) -> Result<Option<Stop>, TurnFault> {
        let over = Instant::now() + time;
        loop {
            let order = tokio::select! {
                biased;
                Some(order) = orders.recv() => order,
                () = until(self.deadline) => return Ok(Some(Stop::Timeout)),
                () = tokio::time::sleep_until(over) => return Ok(None),
            };
            match order {
                TurnCommand::Abort { .. } => {
                    // First on the disk, as during an attempt: the turn's checkpoint takes its time.
                    let turn = self.row.id;
                    let cancelled = closing.take().with(Change::CancelTurn { turn });
                    self.context.journal.commit(cancelled).await?;
                    return Ok(Some(Stop::Cancel));
                }
                TurnCommand::Pause { .. } => return Ok(Some(Stop::Pause)),
                // No process, no request, and the next one is started as the session is set.
                TurnCommand::Set { .. } | TurnCommand::Reconsider => {}
                TurnCommand::Answer { answer, done } => {
                    let _gone = done.send(Err(AnswerError::NotWaiting(answer.request_id)));
                }
                TurnCommand::Steer { message, accepted } => {
                    let known = message.prompt_id.as_deref();
                    if !known.is_some_and(|id| closing.seen.has_prompt(id)) {
                        closing.add(&message.event())?;
                        let promise = closing.take().with(Change::TakePrompt {
                            turn: self.row.id,
                            images: message.images,
                        });
                        self.context.journal.commit(promise).await?;
                    }
                    crash_point!("turn.message_stored");
                    // Whoever asked may have gone; the message is accepted all the same.
                    let _gone = accepted.send(());
                }
            }
        }
    }
}

/// The Hub's refusal of a run.
fn blocked(why: &str) -> TurnError {
    let message = format!("the Hub did not let the run begin: {why}");
    TurnError::new(ErrorClass::Permission, message)
}

fn launch_failure(error: &LaunchError) -> TurnError {
    TurnError::new(ErrorClass::InvalidRequest, error.to_string())
}
