//! What is chosen while the session runs: asked of the agent's CLI first, where it can change it
//! while it runs, and durable when that has agreed.
//!
//! One choice at a time. Meanwhile the session goes on; whoever dies between the CLI's word and the
//! disk leaves a CLI that the next turn sets back.

use tokio::sync::oneshot;

use super::driver::{Driver, unwritable};
use super::handle::SessionError;
use super::state::InForce;
use crate::agent::live::{Setting, Since};
use crate::event::{Event, NoticeLevel};
use crate::ids::EventId;
use crate::journal::{Change, NewEvent};
use crate::turn::choices::Choice;
use crate::turn::{SetAnswer, TurnCommand, TurnContext};

/// A choice on its way to the CLI.
pub(super) struct Changing {
    choice: Choice,
    reply: oneshot::Sender<Result<Since, SessionError>>,
    answer: oneshot::Receiver<SetAnswer>,
    /// No turn was running when it was asked for.
    at_rest: bool,
}

/// The CLI's answer; never, while none is waited for. Dropped, there was no CLI to ask.
pub(super) async fn answered(changing: &mut Option<Changing>) -> Option<SetAnswer> {
    match changing {
        Some(changing) => (&mut changing.answer).await.ok(),
        None => std::future::pending().await,
    }
}

/// What becomes of a choice.
enum Way {
    /// It counts from then on.
    Counts(Since),
    /// The CLI is to be asked.
    Ask(Setting),
}

impl Driver {
    /// Begins with the next choice that waits.
    pub(super) async fn choose_next(&mut self) {
        while self.changing.is_none()
            && let Some((choice, reply)) = self.choosing.pop_front()
        {
            match self.way(&choice) {
                Err(error) => drop(reply.send(Err(error))),
                Ok(Way::Counts(since)) => {
                    let stored = self.store_choice(choice).await;
                    // Whoever chose may have gone.
                    drop(reply.send(stored.map(|()| since)));
                }
                Ok(Way::Ask(setting)) => {
                    crash_point!("session.choice_accepted");
                    let (done, answer) = oneshot::channel();
                    let at_rest = self.running.is_none();
                    match (&self.running, &self.rest) {
                        (Some(_), _) => self.order(TurnCommand::Set { setting, done }).await,
                        (None, Some(rest)) => rest.set(setting, done),
                        (None, None) => drop(done),
                    }
                    self.changing = Some(Changing {
                        choice,
                        reply,
                        answer,
                        at_rest,
                    });
                }
            }
        }
    }

    /// The CLI has answered.
    pub(super) async fn chosen(&mut self, answer: Option<SetAnswer>) {
        let Some(changing) = self.changing.take() else {
            return;
        };
        if answer.is_none() && !changing.at_rest && self.is_turn_over() {
            // It came while the turn ended: the process at rest is asked instead.
            self.choosing.push_front((changing.choice, changing.reply));
            if self.running.is_none() {
                self.choose_next().await;
            }
            return;
        }
        crash_point!("session.choice_answered");
        let loosens = matches!(&changing.choice, Choice::Approve(mode)
            if !self.context.approval.asks_in(*mode));
        let since = match answer {
            // The process was gone, or about to go: the next turn's is started with it.
            None => Ok(Since::NextTurn),
            // No turn runs that it could be too late for, or what is asked for is permitted at once.
            Some(Ok(_)) if changing.at_rest || loosens => Ok(Since::Now),
            Some(Ok(since)) => Ok(since),
            Some(Err(why)) => Err(SessionError::NotSet {
                agent: self.context.agent.name,
                why,
            }),
        };
        let result = match since {
            Ok(since) => self.store_choice(changing.choice).await.map(|()| since),
            Err(error) => Err(error),
        };
        // Whoever chose may have gone.
        drop(changing.reply.send(result));
        self.choose_next().await;
    }

    /// Whether no turn takes orders: none runs, or the one that did ends just now.
    fn is_turn_over(&self) -> bool {
        let running = self.running.as_ref();
        running.is_none_or(|running| running.commands.is_closed())
    }

    fn way(&self, choice: &Choice) -> Result<Way, SessionError> {
        let context = &self.context;
        let choices = context.choices.borrow().clone().with(choice.clone());
        let setting = match choice {
            Choice::Name(_) => return Ok(Way::Counts(Since::Now)),
            Choice::Model(model) => Setting::Model(model.clone()),
            Choice::Effort(effort) => Setting::Effort(effort.clone()),
            Choice::Approve(mode) => {
                let asks = context.approval.asks_in(*mode);
                if asks && context.live.is_none() {
                    return Err(SessionError::NeedsLive);
                }
                if asks == context.approval.asks() {
                    return Ok(Way::Counts(Since::Now));
                }
                Setting::Consent(asks)
            }
        };
        context
            .fits(&choices)
            .map_err(|error| SessionError::Unfit(error.to_string()))?;
        let Some(kind) = context.live else {
            return Ok(Way::Counts(Since::NextTurn));
        };
        Ok(match (kind.sets.since(&setting), &setting) {
            // What is asked for is permitted at once.
            (Since::NextProcess, Setting::Consent(false)) => Way::Counts(Since::Now),
            // A turn that begins replaces its process.
            (Since::NextProcess, _) => Way::Counts(Since::NextTurn),
            _ => Way::Ask(setting),
        })
    }

    /// Lets it count.
    async fn store_choice(&mut self, choice: Choice) -> Result<(), SessionError> {
        let choices = self.context.choices.borrow().clone().with(choice.clone());
        let json = serde_json::to_string(&choices).map_err(|error| unwritable(&error))?;
        let mut batch = self.batch().with(Change::Choose { choices: json });
        if let Some(event) = notice(&choice) {
            let id = EventId::derive(self.context.clock.new_uuid(), 0);
            let at = self.context.clock.wall();
            let event = NewEvent::encode(&event, id, at, None);
            batch
                .events
                .push(event.map_err(|error| unwritable(&error))?);
        }
        self.context.journal.commit(batch).await?;
        crash_point!("session.choices_stored");
        self.context.approval.set_mode(choices.approve);
        self.context.choices.send_replace(choices.clone());
        let in_force = in_force(&self.context);
        self.publish.send_modify(|state| {
            state.choices = choices;
            state.in_force = in_force;
        });
        if matches!(choice, Choice::Approve(_)) {
            self.order(TurnCommand::Reconsider).await;
        }
        Ok(())
    }
}

/// What the agent works with, as the context has it.
pub(super) fn in_force(context: &TurnContext) -> InForce {
    let (model, effort) = context.model_and_effort();
    InForce {
        model,
        effort,
        approve: context.approval.mode(),
    }
}

/// What the session's events say of a choice.
fn notice(choice: &Choice) -> Option<Event> {
    let text = match choice {
        Choice::Model(model) => format!("the model is {model} from here on"),
        Choice::Effort(effort) => format!("the effort is {effort} from here on"),
        Choice::Approve(mode) => format!("consent is `{mode}` from here on"),
        Choice::Name(_) => return None,
    };
    Some(Event::Notice {
        level: NoticeLevel::Info,
        code: "settings_changed".to_owned(),
        text,
    })
}
