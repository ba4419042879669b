//! What the Hub makes of the session's events, carried out.
//!
//! Told by the link ([`News`]): answers to events, people's answers, who comes. Done here: a run
//! is briefed or refused before it begins, requests of the agent are answered, people are asked,
//! notices go into the events, injected messages become turns.

mod consent;
mod dialogue;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use self::consent::{Consent, Do};
use self::dialogue::{Dialogue, Outcome};
use super::commands::Statuses;
use crate::agent::live::Answer;
use crate::clock::Timestamp;
use crate::config::GateConfig;
use crate::event::{Envelope, Event, NoticeLevel};
use crate::hub::link::{LinkHandle, News, Point, UiRequest};
use crate::hub::protocol::{InitConfig, Role};
use crate::hub::{Actions, Confirm, Level, Notify, Phase, Place};
use crate::ids::{EventId, Seq};
use crate::journal::{Batch, JournalError, NewEvent};
use crate::session::{Prompt, Session, SessionState};
use crate::turn::TurnContext;
use crate::turn::approval::Ruling;
use crate::turn::approval::{AnswerError, Approval};
use crate::turn::briefing::Briefing;

/// How long a run waits for the Hub's word on its begin.
const BRIEFING: Duration = Duration::from_secs(5);
/// How long people are waited for before a run that the Hub wants confirmed.
const CONFIRMATION: Duration = Duration::from_mins(5);
/// Answers that are remembered, so that one that comes again, after a lost connection say, is not
/// carried out again: more than can be in flight.
const REMEMBERED: usize = 1024;

/// The session's side of what the Hub says.
pub(super) struct HubSide {
    pub(super) session: Session,
    pub(super) link: Arc<LinkHandle>,
    pub(super) context: Arc<TurnContext>,
    pub(super) approval: Approval,
    pub(super) gate: GateConfig,
    /// The agent is spoken to in its live form.
    pub(super) is_live: bool,
    pub(super) statuses: Statuses,
}

/// A run that waits for people.
struct Held {
    prompt: EventId,
    briefing: Briefing,
    dialogue: Dialogue,
    until: tokio::time::Instant,
    deny_reason: Option<String>,
}

/// What is remembered between two words of the Hub.
struct Memory {
    consent: Consent,
    held: Option<Held>,
    /// Frames whose actions were carried out.
    done: VecDeque<String>,
    /// Events of ours that only repeat what the Hub said.
    echoes: VecDeque<String>,
}

impl HubSide {
    /// Adds what the first `init` says to every run's system prompt.
    pub(super) fn standing(context: &TurnContext, link: &LinkHandle) {
        let Some(joined) = link.joined() else { return };
        let config: InitConfig = joined.init.config.clone().unwrap_or_default();
        let text = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        context.briefings.stand(
            text(config.system_prompt_prefix),
            text(config.system_prompt_suffix),
        );
    }

    /// Does as the Hub says until the session or the link is gone.
    pub(super) async fn serve(self, mut news: mpsc::Receiver<News>) {
        let mut memory = Memory {
            consent: Consent::new(self.gate),
            held: None,
            done: VecDeque::new(),
            echoes: VecDeque::new(),
        };
        let mut state = self.session.state();
        let mut status = self.link.status();
        self.attend(status.borrow_and_update().phase);
        state.mark_changed();
        loop {
            let consent_due = memory.consent.due().map(tokio::time::Instant::from_std);
            let held_due = memory.held.as_ref().map(|held| held.until);
            let due = consent_due.into_iter().chain(held_due).min();
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
                () = until(due) => self.look(&mut memory, &mut todo),
            }
            self.carry_out(todo).await;
        }
        self.context.briefings.attend(false, BRIEFING);
    }

    /// Runs wait for the Hub only while it is there. Whether it has just come.
    fn attend(&self, phase: Phase) -> bool {
        Self::standing(&self.context, &self.link);
        self.context
            .briefings
            .attend(phase == Phase::Live, BRIEFING)
    }

    fn look_at(&self, state: &SessionState, memory: &mut Memory, todo: &mut Vec<Do>) {
        let person = |asked: &_| self.approval.settled(asked) == Ruling::Ask;
        let now = self.context.clock.now();
        memory.consent.waiting(&state.asked, person, now, todo);
    }

    fn look(&self, memory: &mut Memory, todo: &mut Vec<Do>) {
        memory.consent.look(self.context.clock.now(), todo);
        if let Some(held) = memory
            .held
            .take_if(|held| held.until <= tokio::time::Instant::now())
        {
            todo.extend(held.dialogue.request().map(|asked| Do::TakeBack(asked.id)));
            let reason = held.deny_reason.clone();
            let nobody = || "nobody has confirmed it in time".to_owned();
            self.release(held, Some(reason.unwrap_or_else(nobody)));
        }
    }

    async fn hear(&self, news: News, memory: &mut Memory, todo: &mut Vec<Do>) {
        match news {
            News::Answered {
                frame,
                point,
                actions,
            } => self.answered(&frame, point, actions, memory, todo).await,
            News::UiResponse { id, result } => {
                if !memory.consent.people_said(&id, &result, todo) {
                    self.people_said_of_run(&id, &result, memory, todo);
                }
            }
            News::Joined(Role::Controller) => self.ask_again(memory),
            News::Joined(_) => {}
        }
    }

    fn ask_again(&self, memory: &Memory) {
        let held = memory
            .held
            .as_ref()
            .and_then(|held| held.dialogue.request());
        for request in memory.consent.open().chain(held) {
            self.link.ask(request);
        }
    }

    async fn answered(
        &self,
        frame: &str,
        point: Option<Point>,
        mut actions: Actions,
        memory: &mut Memory,
        todo: &mut Vec<Do>,
    ) {
        if !actions.is_plain() {
            if memory.done.iter().any(|done| done == frame) {
                return;
            }
            remember(&mut memory.done, frame.to_owned());
        }
        let event = frame.rsplit_once('/').map_or(frame, |(event, _)| event);
        self.show(&mut actions, event, memory).await;
        for (number, text) in actions.injected.drain(..).enumerate() {
            let prompt = Prompt {
                text,
                author: None,
                command_id: Some(format!("hub-inject:{frame}/{number}")),
                is_task: false,
            };
            if let Err(error) = self.session.prompt(prompt).await {
                tracing::warn!(%error, "a message of the Hub was not taken");
            }
        }
        match point {
            Some(Point::Run) => self.run_begins(event, actions, memory, todo),
            Some(Point::Call { call_id }) => {
                if let Some(reason) = actions.block.as_ref().filter(|_| !self.holds()) {
                    self.too_late(event, &call_id, reason, memory).await;
                } else {
                    memory.consent.hub_said(&call_id, actions, todo);
                }
            }
            None => {}
        }
    }

    /// Whether calls of this session wait for consent at all.
    fn holds(&self) -> bool {
        self.is_live && self.approval.asks()
    }

    /// Notices and status: into the events, and to people.
    async fn show(&self, actions: &mut Actions, event: &str, memory: &mut Memory) {
        let is_echo = memory.echoes.iter().any(|echo| echo == event);
        for Notify { message, level } in actions.notices.drain(..) {
            // A Hub that has a word for every event would hear its own words for ever.
            if is_echo {
                continue;
            }
            let (level, name) = match level {
                Level::Info => (NoticeLevel::Info, "info"),
                Level::Warning => (NoticeLevel::Warning, "warning"),
                Level::Error => (NoticeLevel::Error, "error"),
            };
            self.tell_people("notify", json!({"message": message, "notifyType": name}));
            self.note(level, "hub_notify", message, memory).await;
        }
        for (key, text) in actions.statuses.drain(..) {
            let mut params = json!({"statusKey": key});
            if let (Some(text), Some(fields)) = (&text, params.as_object_mut()) {
                fields.insert("statusText".to_owned(), json!(text));
            }
            self.tell_people("setStatus", params);
            self.statuses.set(key, text);
        }
    }

    fn tell_people(&self, method: &'static str, params: Value) {
        let id = self.context.clock.new_uuid().to_string();
        self.link.ask(UiRequest { id, method, params });
    }

    async fn note(&self, level: NoticeLevel, code: &str, text: String, memory: &mut Memory) {
        let masked = self.context.redactor.text(text.as_bytes());
        let event = Event::Notice {
            level,
            code: code.to_owned(),
            text: String::from_utf8_lossy(&masked).into_owned(),
        };
        let id = EventId::derive(self.context.clock.new_uuid(), 0);
        remember(&mut memory.echoes, id.to_string());
        if let Err(error) = self.store(&event, id, self.context.clock.wall()).await {
            tracing::warn!(%error, "what the Hub said is not stored");
        }
    }

    async fn store(&self, event: &Event, id: EventId, at: Timestamp) -> Result<(), JournalError> {
        let encoded = NewEvent::encode(event, id, at, None)
            .map_err(|error| JournalError::Corrupt(error.to_string()))?;
        let mut batch = Batch::new(&self.context.session, self.context.agent.name);
        batch.events.push(encoded);
        self.context.journal.commit(batch).await.map(drop)
    }

    fn run_begins(&self, event: &str, actions: Actions, memory: &mut Memory, todo: &mut Vec<Do>) {
        let Ok(prompt) = event.parse() else {
            return;
        };
        let briefing = briefing(&actions);
        if briefing.blocked.is_some() || actions.confirm.is_empty() {
            self.context.briefings.say(prompt, briefing);
            return;
        }
        let deny_reason = actions.confirm.iter().find_map(deny_reason);
        let dialogue = Dialogue::before_run(event, actions.confirm);
        todo.extend(dialogue.request().map(Do::Ask));
        self.context.briefings.hold(prompt);
        memory.held = Some(Held {
            prompt,
            briefing,
            dialogue,
            until: tokio::time::Instant::now() + CONFIRMATION,
            deny_reason,
        });
    }

    fn people_said_of_run(
        &self,
        id: &str,
        result: &Value,
        memory: &mut Memory,
        todo: &mut Vec<Do>,
    ) {
        let Some(held) = &mut memory.held else { return };
        let blocked = match held.dialogue.answer(id, result) {
            None => return,
            Some(Outcome::Open) => {
                todo.extend(held.dialogue.request().map(Do::Ask));
                return;
            }
            Some(Outcome::Done(Answer::Deny { message })) => Some(message),
            Some(Outcome::Done(Answer::Allow { .. } | Answer::Stop)) => None,
        };
        if let Some(held) = memory.held.take() {
            self.release(held, blocked);
        }
    }

    fn release(&self, held: Held, blocked: Option<String>) {
        let briefing = Briefing {
            blocked,
            ..held.briefing
        };
        self.context.briefings.say(held.prompt, briefing);
    }

    /// The call runs already, or has run: all that is left is to end the turn, if it still is the
    /// call's own.
    async fn too_late(&self, event: &str, call: &str, reason: &str, memory: &mut Memory) {
        let Some((turn, _)) = self.session.state().borrow().running else {
            return;
        };
        match self.turn_has(event).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(%error, %turn, "whether a blocked call is of this turn is not known");
                return;
            }
        }
        let text = format!(
            "the Hub blocked the call {call}, which this form of the agent cannot hold: the turn is \
             interrupted ({reason})"
        );
        self.note(NoticeLevel::Warning, "hub_blocked", text, memory)
            .await;
        self.session.cancel(false).await;
    }

    /// Whether the event is one of the newest turn's.
    async fn turn_has(&self, event: &str) -> Result<bool, JournalError> {
        let (journal, session) = (&self.context.journal, &self.context.session);
        let last = journal.last_seq(session).await?;
        let Some(at) = Seq::new(last) else {
            return Ok(false);
        };
        let first = journal.turn_start(session, at).await?;
        let mut tail = journal.tail(session, first.map_or(0, |first| first.get() - 1));
        while tail.position() < last {
            let Some(batch) = tail.try_next().await? else {
                break;
            };
            let has = |line| {
                let envelope = Envelope::parse(line);
                envelope.is_ok_and(|envelope| envelope.header.event_id.to_string() == event)
            };
            if batch.lines().any(has) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn carry_out(&self, todo: Vec<Do>) {
        for what in todo {
            match what {
                Do::Ask(request) => self.link.ask(request),
                // The protocol has no word for it; a late answer counts for nothing.
                Do::TakeBack(id) => {
                    let message = format!("the question {id} needs no answer any more");
                    self.tell_people("notify", json!({"message": message, "notifyType": "info"}));
                }
                Do::Answer(answer) => match self.session.answer(answer).await {
                    Ok(()) => {}
                    Err(AnswerError::NotWaiting(id)) => {
                        tracing::debug!(id, "the request was answered elsewhere");
                    }
                    Err(error) => tracing::warn!(%error, "a request is not answered"),
                },
            }
        }
    }
}

fn deny_reason(confirm: &Confirm) -> Option<String> {
    confirm.deny_reason.clone()
}

fn briefing(actions: &Actions) -> Briefing {
    let mut briefing = Briefing {
        blocked: actions.block.clone(),
        ..Briefing::default()
    };
    for prompt in &actions.system_prompts {
        match prompt.place {
            Place::Before => briefing.before.insert(0, prompt.text.clone()),
            Place::Behind => briefing.behind.push(prompt.text.clone()),
            Place::Instead => {
                briefing.replaces = true;
                briefing.before.clear();
                briefing.behind = vec![prompt.text.clone()];
            }
        }
    }
    briefing
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
