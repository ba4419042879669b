//! What the Hub makes of the session's events, carried out.
//!
//! Told by the link ([`News`]): answers to events, people's answers, who comes. Done here: a run
//! is briefed or refused before it begins, requests of the agent are answered, people are asked,
//! notices go into the events, injected messages become turns.
//!
//! What an answer asks for is done before the link counts its event as delivered: a daemon that
//! dies in between is told again, and does once what it was told twice (`words`).

mod consent;
mod dialogue;
mod late;
mod runs;
mod words;

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use self::consent::{Consent, Do, Word};
use self::dialogue::{Dialogue, Outcome};
use self::runs::{BRIEFING, Refused};
use super::commands::Statuses;
use crate::agent::live::Answer;
use crate::config::GateConfig;
use crate::hub::link::{LinkHandle, News, Point, UiRequest};
use crate::hub::protocol::Role;
use crate::hub::{Actions, Confirm};
use crate::ids::{EventId, TurnId};
use crate::session::{Session, SessionState};
use crate::turn::TurnContext;
use crate::turn::approval::Ruling;
use crate::turn::approval::{AnswerError, Approval};
use crate::turn::briefing::Briefing;
use crate::turn::choices::Choice;

/// Answers that are remembered, so that one that comes again, after a lost connection say, is not
/// carried out again: more than can be in flight.
const REMEMBERED: usize = 1024;

/// The session's side of what the Hub says.
pub(in crate::daemon) struct HubSide {
    pub(in crate::daemon) session: Session,
    pub(in crate::daemon) link: Arc<LinkHandle>,
    pub(in crate::daemon) context: Arc<TurnContext>,
    pub(in crate::daemon) approval: Approval,
    pub(in crate::daemon) gate: GateConfig,
    /// The agent is spoken to in its live form.
    pub(in crate::daemon) is_live: bool,
    pub(in crate::daemon) statuses: Statuses,
}

/// What people are asked because the Hub wants it.
struct Held {
    /// The frame whose answer wants it.
    frame: String,
    about: About,
    dialogue: Dialogue,
    until: tokio::time::Instant,
    deny_reason: Option<String>,
}

/// What waits for them.
enum About {
    /// A run that is to begin.
    Run { prompt: EventId, briefing: Briefing },
    /// Nothing: it goes on already, and a refusal ends its turn. What it is.
    UnderWay { what: String },
}

/// What is remembered between two words of the Hub.
struct Memory {
    consent: Consent,
    held: Vec<Held>,
    /// Runs that were refused, until they are over.
    refused: Vec<Refused>,
    /// Frames whose actions were carried out.
    done: VecDeque<String>,
    /// Notices of ours that only repeat what the Hub said.
    echoes: VecDeque<String>,
    /// The turn that runs.
    turn: Option<TurnId>,
}

impl Memory {
    /// Whether an event only repeats what the Hub said.
    fn has_echo(&self, event: &str) -> bool {
        self.echoes.iter().any(|echo| echo == event)
    }

    /// Whether what the Hub said in answer to this frame is being carried out.
    fn keeps(&self, frame: &str) -> bool {
        self.consent.keeps(frame)
            || self.held.iter().any(|held| held.frame == frame)
            || self.refused.iter().any(|refused| refused.frame == frame)
    }
}

impl HubSide {
    /// Does as the Hub says until the session or the link is gone.
    pub(in crate::daemon) async fn serve(self, mut news: mpsc::Receiver<News>) {
        let mut memory = Memory {
            consent: Consent::new(self.gate),
            held: Vec::new(),
            refused: Vec::new(),
            done: VecDeque::new(),
            echoes: self.earlier_notices().await,
            turn: None,
        };
        let mut state = self.session.state();
        let mut status = self.link.status();
        self.attend(status.borrow_and_update().phase);
        state.mark_changed();
        loop {
            let due = memory.due();
            let mut todo = Vec::new();
            tokio::select! {
                said = news.recv() => match said {
                    Some(said) => self.hear(said, &mut memory, &mut todo).await,
                    None => break,
                },
                changed = state.changed() => match changed {
                    Ok(()) => {
                        let now = state.borrow_and_update().clone();
                        self.look_at(&now, &mut memory, &mut todo);
                    }
                    Err(_) => break,
                },
                Ok(()) = status.changed() => {
                    let phase = status.borrow_and_update().phase;
                    if self.attend(phase) {
                        // What was asked over the last connection may not have come through.
                        self.ask_again(&memory);
                    }
                }
                () = until(due) => self.look(&mut memory, &mut todo).await,
            }
            self.carry_out(todo, &mut memory).await;
        }
        self.context.briefings.attend(false, BRIEFING);
    }

    fn look_at(&self, state: &SessionState, memory: &mut Memory, todo: &mut Vec<Do>) {
        let turn = state.running.map(|(turn, _)| turn);
        if memory.turn != turn {
            // Of a turn that goes on after the death of a daemon the Hub may have spoken before
            // it runs again.
            if memory.turn.is_some() || state.is_idle() {
                memory.consent.turn_over(todo);
            }
            memory.turn = turn;
            Refused::turn_over(memory, turn, todo);
        }
        let person = |asked: &_| self.approval.settled(asked) == Ruling::Ask;
        let now = self.context.clock.now();
        memory.consent.waiting(&state.asked, person, now, todo);
    }

    async fn look(&self, memory: &mut Memory, todo: &mut Vec<Do>) {
        memory.consent.look(self.context.clock.now(), todo);
        let now = tokio::time::Instant::now();
        self.look_at_refused(now, memory, todo).await;
        while let Some(at) = memory.held.iter().position(|held| held.until <= now) {
            let held = memory.held.swap_remove(at);
            todo.extend(held.dialogue.request().map(|asked| Do::TakeBack(asked.id)));
            let reason = held.deny_reason.clone();
            let nobody = || "nobody has confirmed it in time".to_owned();
            self.release(held, Some(reason.unwrap_or_else(nobody)), memory, todo)
                .await;
        }
    }

    async fn hear(&self, news: News, memory: &mut Memory, todo: &mut Vec<Do>) {
        match news {
            News::Answered {
                frame,
                point,
                actions,
            } => self.answered(frame, point, actions, memory, todo).await,
            News::UiResponse { id, result } => {
                if memory.consent.people_said(&id, &result, todo)
                    || self.people_said(&id, &result, memory, todo).await
                {
                    self.tell_answered(&id);
                }
            }
            News::Joined(Role::Controller) => self.ask_again(memory),
            News::Joined(_) => {}
            News::Renamed(name) => self.renamed(name).await,
        }
    }

    /// The session is called so at the Hub.
    async fn renamed(&self, name: String) {
        if self.session.state().borrow().choices.name.as_ref() == Some(&name) {
            return;
        }
        if let Err(error) = self.session.choose(Choice::Name(name)).await {
            tracing::warn!(%error, "the session's new name is not kept");
        }
    }

    fn ask_again(&self, memory: &Memory) {
        let held = memory
            .held
            .iter()
            .filter_map(|held| held.dialogue.request());
        for request in memory.consent.open().chain(held) {
            self.link.ask(request);
        }
    }

    async fn answered(
        &self,
        frame: String,
        point: Option<Point>,
        mut actions: Actions,
        memory: &mut Memory,
        todo: &mut Vec<Do>,
    ) {
        if !actions.is_plain() {
            if memory.done.contains(&frame) {
                self.link.carried_out(frame);
                return;
            }
            if memory.keeps(&frame) {
                return;
            }
        }
        let event = event_of(&frame).to_owned();
        if let Err(error) = self.words(&mut actions, &frame, memory).await {
            // It is not done, so the Hub is asked again.
            tracing::warn!(%error, frame, "what the Hub said is not carried out");
            return;
        }
        crash_point!("hub.words_carried_out");
        match point {
            Some(Point::Run) => {
                self.run_begins(frame, &event, actions, memory, todo).await;
            }
            Some(Point::Call { call_id }) => {
                actions.refuse_as_returned();
                let word = Word {
                    frame,
                    call: call_id,
                    actions,
                };
                if word.holds() && !self.holds() {
                    self.unheld(word, memory, todo).await;
                } else {
                    memory.consent.hub_said(word, todo);
                    if self.session.state().borrow().is_idle() {
                        // It is about a turn that is over.
                        memory.consent.turn_over(todo);
                    }
                }
            }
            Some(Point::Result { call_id }) => {
                memory.consent.over(&call_id, todo);
                if actions.returned.is_some() {
                    self.cannot_replace(&frame, &call_id, memory).await;
                }
                todo.push(Do::Settled(frame));
            }
            None => todo.push(Do::Settled(frame)),
        }
    }

    /// Whether calls of this session wait for consent at all.
    fn holds(&self) -> bool {
        self.is_live && self.approval.asks()
    }

    /// Whether people have answered what the Hub wanted them to be asked.
    async fn people_said(
        &self,
        id: &str,
        result: &Value,
        memory: &mut Memory,
        todo: &mut Vec<Do>,
    ) -> bool {
        for at in 0..memory.held.len() {
            let Some(held) = memory.held.get_mut(at) else {
                return false;
            };
            let refused = match held.dialogue.answer(id, result) {
                None => continue,
                Some(Outcome::Open) => {
                    todo.extend(held.dialogue.request().map(Do::Ask));
                    return true;
                }
                Some(Outcome::Done(Answer::Deny { message })) => Some(message),
                Some(Outcome::Done(Answer::Allow { .. } | Answer::Stop)) => None,
            };
            let held = memory.held.swap_remove(at);
            self.release(held, refused, memory, todo).await;
            return true;
        }
        false
    }

    /// What was held may go on, or must not.
    async fn release(
        &self,
        held: Held,
        refused: Option<String>,
        memory: &mut Memory,
        todo: &mut Vec<Do>,
    ) {
        match (held.about, refused) {
            (About::Run { prompt, briefing }, blocked) => {
                let briefing = Briefing {
                    blocked,
                    ..briefing
                };
                self.brief(held.frame, prompt, briefing, memory, todo).await;
            }
            (About::UnderWay { what }, Some(reason)) => {
                self.too_late(&held.frame, &what, &reason, memory).await;
                todo.push(Do::Settled(held.frame));
            }
            (About::UnderWay { .. }, None) => todo.push(Do::Settled(held.frame)),
        }
    }

    async fn carry_out(&self, todo: Vec<Do>, memory: &mut Memory) {
        let mut more = VecDeque::from(todo);
        while let Some(what) = more.pop_front() {
            match what {
                Do::Ask(request) => self.link.ask(request),
                // The protocol has no word for it; a late answer counts for nothing.
                Do::TakeBack(id) => {
                    let message = format!("the question {id} needs no answer any more");
                    let params = json!({"message": message, "notifyType": "info", "requestId": id});
                    self.tell_people("notify", params);
                }
                Do::Answer(answer) => match self.session.answer(answer).await {
                    Ok(()) => {}
                    Err(AnswerError::NotWaiting(id)) => {
                        tracing::debug!(id, "the request was answered elsewhere");
                    }
                    Err(error) => tracing::warn!(%error, "a request is not answered"),
                },
                Do::Unheld(word) => {
                    let mut then = Vec::new();
                    self.unheld(word, memory, &mut then).await;
                    more.extend(then);
                }
                Do::Settled(frame) => {
                    remember(&mut memory.done, frame.clone());
                    crash_point!("hub.before_carried_out");
                    self.link.carried_out(frame);
                }
            }
        }
    }

    /// One of them has answered: the others need not. A status that nobody has set shows nothing;
    /// who knows `requestId` takes the question away.
    fn tell_answered(&self, id: &str) {
        let params = json!({"statusKey": "question", "requestId": id});
        self.tell_people("setStatus", params);
    }

    fn tell_people(&self, method: &'static str, params: Value) {
        let id = self.context.clock.new_uuid().to_string();
        self.link.ask(UiRequest { id, method, params });
    }
}

impl Memory {
    /// When something is to be looked at.
    fn due(&self) -> Option<tokio::time::Instant> {
        let consent = self.consent.due().map(tokio::time::Instant::from_std);
        let held = self.held.iter().map(|held| held.until);
        let refused = self.refused.iter().filter_map(Refused::due);
        consent.into_iter().chain(held).chain(refused).min()
    }
}

/// The event that a frame is of.
fn event_of(frame: &str) -> &str {
    frame.rsplit_once('/').map_or(frame, |(event, _)| event)
}

fn deny_reason(confirm: &Confirm) -> Option<String> {
    confirm.deny_reason.clone()
}

fn remember(list: &mut VecDeque<String>, word: String) {
    if list.len() >= REMEMBERED {
        list.pop_front();
    }
    list.push_back(word);
}

async fn until(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
