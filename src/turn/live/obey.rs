//! What a turn over a live process is told, and what becomes of its requests.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::attempt::{INTERRUPT, LiveAttempt, PAUSE, Stopping};
use super::course::response;
use crate::agent::live::{Answer, Asked, Setting};
use crate::clock::Timestamp;
use crate::image;
use crate::journal::{Batch, Change};
use crate::spool::control::Stop as Ladder;
use crate::turn::approval::{AnswerError, Answered, Answerer, Ruling, Waiting};
use crate::turn::context::{SetAnswer, Steering, TurnCommand, TurnFault};
use crate::turn::outcome::Stop;
use crate::turn::shown::Shown;

impl LiveAttempt {
    pub(super) async fn obey(
        &mut self,
        order: TurnCommand,
        shown: &Shown,
    ) -> Result<(), TurnFault> {
        match order {
            TurnCommand::Abort { at_once } => {
                // First on the disk: no later daemon goes on with what was cancelled.
                self.context.journal.commit(self.cancelled()).await?;
                self.stop_for(Stop::Cancel, INTERRUPT, at_once).await;
            }
            TurnCommand::Pause { at_once } => {
                self.stop_for(Stop::Pause, PAUSE, at_once).await;
            }
            TurnCommand::Answer { answer, done } => self.answer(answer, done, shown).await?,
            TurnCommand::Set { setting, done } => self.set(setting, done).await?,
            TurnCommand::Reconsider => self.reconsider(shown).await?,
            TurnCommand::Steer { message, accepted } => self.steer(message, accepted).await?,
        }
        Ok(())
    }

    fn cancelled(&self) -> Batch {
        let origin = self.account.origin();
        let turn = origin.turn;
        Batch::new(&origin.session, origin.agent).with(Change::CancelTurn { turn })
    }

    /// Cancels what an earlier daemon was told to cancel.
    pub(in crate::turn) fn cancel(&mut self) {
        self.stop(Stop::Cancel, INTERRUPT);
    }

    /// Asks the CLI for another setting. One that is being stopped is not asked any more.
    async fn set(
        &mut self,
        setting: Setting,
        done: oneshot::Sender<SetAnswer>,
    ) -> Result<(), TurnFault> {
        if self.stopping == Stopping::Not {
            self.process.set(setting, done).await?;
            self.absorb();
        }
        Ok(())
    }

    /// Somebody else consents from now on: what waits may be decided by that.
    async fn reconsider(&mut self, shown: &Shown) -> Result<(), TurnFault> {
        for (waiting, moment) in std::mem::take(&mut self.waiting) {
            if self.context.approval.decide(&waiting.asked) == Ruling::Ask {
                self.waiting.push((waiting, moment));
            }
        }
        self.consider(shown).await?;
        self.show_waiting(shown);
        Ok(())
    }

    async fn stop_for(&mut self, cause: Stop, patience: Duration, at_once: bool) {
        self.stop(cause, patience);
        if at_once {
            self.signal(Ladder::NOW).await;
        }
    }

    async fn steer(
        &mut self,
        message: Steering,
        accepted: oneshot::Sender<()>,
    ) -> Result<(), TurnFault> {
        let known = message.prompt_id.as_deref();
        if known.is_some_and(|id| self.account.seen.has_prompt(id)) {
            // The same message again: the turn has it.
            let _gone = accepted.send(());
            return Ok(());
        }
        let is_full = self.context.journal.room().borrow().is_full();
        if self.stopping != Stopping::Not || is_full {
            // Dropping `accepted` says so: the message becomes a turn of its own.
            return Ok(());
        }
        // What came before it is stored before it.
        self.settle().await?;
        let id = self.context.clock.new_uuid().to_string();
        self.account.add(message.event());
        let notes = image::notes(&message.images);
        self.course.add(id, (message.text, notes));
        let promise = self.batch()?.with(Change::TakePrompt {
            turn: self.account.origin().turn,
            images: message.images,
        });
        self.context.journal.commit(promise).await?;
        crash_point!("live.message_stored");
        // Whoever asked may have gone; the message is accepted all the same.
        let _gone = accepted.send(());
        Ok(())
    }

    /// Takes somebody's answer; it is sent once it is stored.
    async fn answer(
        &mut self,
        answer: Answered,
        done: oneshot::Sender<Result<(), AnswerError>>,
        shown: &Shown,
    ) -> Result<(), TurnFault> {
        let waits = self.process.is_alive() && self.is_asked(&answer.request_id);
        let result = if waits {
            self.decide(answer, shown).await
        } else {
            Ok(Err(AnswerError::NotWaiting(answer.request_id)))
        };
        let told = match &result {
            Ok(told) => told.clone(),
            Err(fault) => Err(AnswerError::NotStored(fault.to_string())),
        };
        // Whoever answered may have gone.
        let _gone = done.send(told);
        result.map(drop)
    }

    fn is_asked(&self, request_id: &str) -> bool {
        let pending = self.process.dialog().pending();
        pending.iter().any(|asked| asked.request_id == request_id)
    }

    /// Stores the answer to a request; it is sent thereafter.
    async fn decide(
        &mut self,
        answer: Answered,
        shown: &Shown,
    ) -> Result<Result<(), AnswerError>, TurnFault> {
        let (id, by) = (answer.request_id.clone(), answer.by);
        let decision = answer.answer.decision();
        if !self.course.decide(answer) {
            return Ok(Err(AnswerError::NotWaiting(id)));
        }
        self.settle().await?;
        self.account.add(response(&id, decision, by));
        let mut batch = self.batch()?;
        // Somebody was told that it counts.
        batch.synced = true;
        crash_point!("live.before_answer");
        self.context.journal.commit(batch).await?;
        crash_point!("live.answer_stored");
        self.show_waiting(shown);
        Ok(Ok(()))
    }

    /// Decides on requests that came, as the session's rules say; the others wait for somebody.
    pub(super) async fn consider(&mut self, shown: &Shown) -> Result<(), TurnFault> {
        let pending = self.process.dialog().pending();
        let before = self.waiting.len();
        self.waiting
            .retain(|(waiting, _)| pending.contains(&waiting.asked));
        let mut changed = self.waiting.len() != before;
        if self.cause.is_none() {
            for asked in pending {
                changed |= self.consider_one(asked, shown).await?;
            }
        }
        if changed {
            self.show_waiting(shown);
        }
        Ok(())
    }

    /// Whether it waits from now on.
    async fn consider_one(&mut self, asked: Asked, shown: &Shown) -> Result<bool, TurnFault> {
        let is_known = |(waiting, _): &(Waiting, _)| waiting.asked == asked;
        if self.course.is_decided(&asked.request_id) || self.waiting.iter().any(is_known) {
            return Ok(false);
        }
        let answer = match self.context.approval.decide(&asked) {
            Ruling::Allow => Answer::Allow { input: None },
            Ruling::Deny { message } => Answer::Deny { message },
            Ruling::Ask => {
                self.wait_for_somebody(asked);
                return Ok(true);
            }
        };
        let answered = Answered {
            request_id: asked.request_id,
            answer,
            by: Answerer::Policy,
        };
        self.decide(answered, shown).await?.ok();
        Ok(false)
    }

    fn wait_for_somebody(&mut self, asked: Asked) {
        let now = self.context.clock.wall();
        // One that waited for the daemon before has waited as long.
        let since = self.course.asked_at(&asked.request_id).unwrap_or(now);
        let limit = self.context.approval.limit();
        let waited = Duration::from_millis(now.millis().saturating_sub(since.millis()));
        let until =
            limit.map(|limit| Timestamp::from_millis(since.millis().saturating_add(millis(limit))));
        let moment = limit.map(|limit| Instant::now() + limit.saturating_sub(waited));
        let waiting = Waiting {
            asked,
            since,
            until,
            matters: Vec::new(),
        };
        self.waiting.push((waiting, moment));
    }

    /// Denies what nobody has answered in time.
    pub(super) async fn deny_what_is_late(&mut self, shown: &Shown) -> Result<(), TurnFault> {
        let now = Instant::now();
        let is_late = |until: &Option<Instant>| until.is_some_and(|until| until <= now);
        let late = self.waiting.iter().filter(|(_, until)| is_late(until));
        let late: Vec<String> = late
            .map(|(waiting, _)| waiting.asked.request_id.clone())
            .collect();
        for request_id in late {
            let message = "nobody answered in time; go on without it, or ask in another way";
            let answer = Answered {
                request_id,
                answer: Answer::Deny {
                    message: message.to_owned(),
                },
                by: Answerer::Timeout,
            };
            self.decide(answer, shown).await?.ok();
        }
        Ok(())
    }

    /// Shows what waits.
    fn show_waiting(&mut self, shown: &Shown) {
        let course = &self.course;
        self.waiting
            .retain(|(waiting, _)| !course.is_decided(&waiting.asked.request_id));
        shown.asked(
            self.waiting
                .iter()
                .map(|(waiting, _)| waiting.clone())
                .collect(),
        );
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
