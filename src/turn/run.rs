//! Drives one turn: starts its attempts, decides with [`policy`] what follows, closes the turn.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use super::attempt::{Attempt, AttemptEnd, Launch};
use super::context::{TurnCommand, TurnContext, TurnEnd, TurnFault};
use super::outcome::Verdict;
use super::policy::{self, Next};
use super::pump::{Closing, Origin, number};
use crate::agent::{AgentSession, Evidence, LaunchError};
use crate::event::{ErrorClass, Event, NoticeLevel, Outcome, TurnError};
use crate::ids::RunId;
use crate::journal::{Batch, Change, TurnRow, TurnState};

/// A turn on its way.
pub struct Turn {
    context: Arc<TurnContext>,
    row: TurnRow,
    /// What the next attempt tells the agent.
    prompt: String,
    agent_session: Option<String>,
    resumes: u32,
    began: std::time::Instant,
    deadline: Option<Instant>,
}

/// What an attempt that could not even start leaves behind.
struct Failed {
    closing: Closing,
    error: TurnError,
}

impl Turn {
    /// A turn as the journal has it.
    pub fn new(context: Arc<TurnContext>, row: TurnRow) -> Self {
        let prompt = row.prompt.clone();
        let began = context.clock.now();
        let deadline = context.timeout.map(|timeout| Instant::now() + timeout);
        Self {
            context,
            row,
            prompt,
            agent_session: None,
            resumes: 0,
            began,
            deadline,
        }
    }

    /// Drives the turn until it has ended or is paused.
    pub async fn drive(
        mut self,
        mut orders: mpsc::Receiver<TurnCommand>,
    ) -> Result<TurnEnd, TurnFault> {
        let session = self.context.journal.session(&self.context.session).await?;
        self.agent_session = session.and_then(|session| session.agent_session_id);
        let mut attempt = match (self.row.state, self.row.run) {
            (TurnState::Running, Some(run)) => self.take_over(run).await?,
            _ => match self.launch().await? {
                Ok(attempt) => attempt,
                Err(failed) => return self.close_unstarted(failed).await,
            },
        };
        loop {
            let mut end = attempt.follow(&mut orders, self.deadline).await?;
            if end.closing.agent_session.is_some() {
                self.agent_session.clone_from(&end.closing.agent_session);
            }
            match self.decide(&mut end) {
                Next::End => return self.close(end).await,
                Next::Pause => {
                    let stored = self.context.journal.commit(end.closing.batch).await?;
                    let agent_session = self.agent_session;
                    return Ok(TurnEnd {
                        outcome: None,
                        agent_session,
                        last_seq: stored,
                    });
                }
                Next::Again { prompt, is_resume } => {
                    self.resumes += u32::from(is_resume);
                    self.prompt = prompt;
                    self.end_attempt(end).await?;
                    attempt = match self.launch().await? {
                        Ok(attempt) => attempt,
                        Err(failed) => return self.close_unstarted(failed).await,
                    };
                }
            }
        }
    }

    /// Goes on with a run that an earlier daemon started.
    async fn take_over(&mut self, run: RunId) -> Result<Attempt, TurnFault> {
        tracing::info!(turn = %self.row.id, %run, "taking over a run");
        self.resumes = self.row.attempt.saturating_sub(1);
        let earlier = self.earlier().await?;
        let (context, origin) = (Arc::clone(&self.context), self.origin(run));
        Attempt::take_over(context, origin, &self.row, earlier.as_deref()).await
    }

    /// The newest adapter's state of the conversation that the next attempt goes on with.
    async fn earlier(&self) -> Result<Option<Vec<u8>>, TurnFault> {
        if self.agent_session.is_none() {
            return Ok(None);
        }
        let turns = self.context.journal.turns(&self.context.session).await?;
        Ok(turns.into_iter().rev().find_map(|turn| turn.adapter))
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
    async fn launch(&mut self) -> Result<Result<Attempt, Failed>, TurnFault> {
        self.row.attempt += 1;
        // the new attempt's row has none yet
        let earlier = self.earlier().await?;
        let run = RunId::from_uuid(self.context.clock.new_uuid());
        let origin = self.origin(run);
        let mut ordinal = 0;
        let mut begin = Batch::new(&origin.session, origin.agent).with(Change::BeginAttempt {
            turn: self.row.id,
            attempt: self.row.attempt,
            run,
        });
        if self.row.attempt == 1 {
            let text = self.prompt.clone();
            let prompt = Event::Prompt {
                text,
                prompt_id: self.row.command_id.clone(),
            };
            begin
                .events
                .push(number(&origin, self.context.clock, &mut ordinal, &prompt)?);
        }
        self.context.journal.commit(begin).await?;
        let session = match &self.agent_session {
            Some(id) => AgentSession::Resume(id.clone()),
            None => AgentSession::New(Uuid::new_v4()),
        };
        let started = match self.context.plan(session, run) {
            Ok(plan) => {
                let context = Arc::clone(&self.context);
                let launch = Launch {
                    plan: &plan,
                    prompt: &self.prompt,
                    earlier: earlier.as_deref(),
                };
                Attempt::start(context, origin.clone(), launch, ordinal).await
            }
            Err(error) => Err(launch_failure(&error)),
        };
        Ok(started.map_err(|error| Failed {
            closing: Closing::new(origin, self.context.clock, ordinal),
            error,
        }))
    }

    fn decide(&self, end: &mut AttemptEnd) -> Next {
        policy::next(&policy::Ended {
            evidence: &end.evidence,
            cause: end.cause,
            steer: end.steer.take(),
            prompt: &self.prompt,
            prompt_seen: end.closing.agent_session.is_some(),
            left_behind: end.left_behind,
            conversation_missing: matches!(end.evidence, Evidence::ConversationMissing(_)),
            resumes: self.resumes,
        })
    }

    /// Stores what an attempt left that is followed by another.
    async fn end_attempt(&mut self, mut end: AttemptEnd) -> Result<(), TurnFault> {
        if matches!(end.evidence, Evidence::ConversationMissing(_)) {
            self.agent_session = None;
            end.closing.add(&Event::Notice {
                level: NoticeLevel::Warning,
                code: "resume_lost".to_owned(),
                text: "the agent no longer has this conversation; it starts a fresh one".to_owned(),
            })?;
        } else if end.cause.is_none() {
            let verdict = Verdict::new(end.evidence, end.process, None);
            for event in verdict.into_events(&end.output, true, None) {
                end.closing.add(&event)?;
            }
        }
        self.context.journal.commit(end.closing.batch).await?;
        Ok(())
    }

    async fn close(self, mut end: AttemptEnd) -> Result<TurnEnd, TurnFault> {
        let verdict = Verdict::new(end.evidence, end.process, end.cause);
        let outcome = match &verdict {
            Verdict::Ended { outcome, .. } => *outcome,
            Verdict::Crashed { .. } => Outcome::Crashed,
            Verdict::Paused => Outcome::Unknown,
        };
        for event in verdict.into_events(&end.output, false, Some(self.duration_ms())) {
            end.closing.add(&event)?;
        }
        self.store_end(end.closing, outcome).await
    }

    async fn close_unstarted(self, mut failed: Failed) -> Result<TurnEnd, TurnFault> {
        let outcome = Outcome::Failed;
        let error = Some(failed.error);
        let end = Event::End {
            outcome,
            error,
            duration_ms: Some(self.duration_ms()),
        };
        failed.closing.add(&end)?;
        self.store_end(failed.closing, outcome).await
    }

    async fn store_end(self, closing: Closing, outcome: Outcome) -> Result<TurnEnd, TurnFault> {
        let at = self.context.clock.wall();
        let end = Change::EndTurn {
            turn: self.row.id,
            outcome,
            at,
        };
        let last_seq = self.context.journal.commit(closing.batch.with(end)).await?;
        Ok(TurnEnd {
            outcome: Some(outcome),
            agent_session: self.agent_session,
            last_seq,
        })
    }

    fn duration_ms(&self) -> u64 {
        let elapsed = self.context.clock.now().duration_since(self.began);
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }
}

fn launch_failure(error: &LaunchError) -> TurnError {
    TurnError::new(ErrorClass::InvalidRequest, error.to_string())
}
