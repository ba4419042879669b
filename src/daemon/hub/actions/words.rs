//! What the Hub says beside its decisions: notices, lines of status, messages of its own.
//!
//! Each is durable when [`HubSide::words`] returns, and is done once, however often the same answer
//! comes: a message by its command id, a notice by the id of its event, which follows from the
//! frame that was answered.

use std::collections::VecDeque;

use serde_json::json;
use uuid::Uuid;

use super::late::CODES;
use super::{HubSide, Memory, event_of, remember};
use crate::event::{Envelope, Event, NoticeLevel};
use crate::hub::{Actions, Level, Notify};
use crate::ids::EventId;
use crate::journal::{Batch, JournalError, NewEvent};
use crate::session::{Prompt, SessionError};

/// The code of a notice that repeats what the Hub said.
const NOTIFIED: &str = "hub_notify";
/// What every code of a notice that follows from a word of the Hub begins with.
const MARK: &str = "hub_";

impl HubSide {
    /// Notices and status go into the events and to people, messages become turns.
    pub(super) async fn words(
        &self,
        actions: &mut Actions,
        frame: &str,
        memory: &mut Memory,
    ) -> Result<(), SessionError> {
        let is_echo = memory.has_echo(event_of(frame));
        for (number, notify) in actions.notices.drain(..).enumerate() {
            // A Hub that has a word for every event would hear its own words for ever.
            if !is_echo {
                self.notify(notify, notice_of(frame, NOTIFIED, number), memory)
                    .await?;
            }
        }
        for (key, text) in actions.statuses.drain(..) {
            let mut params = json!({"statusKey": key});
            if let (Some(text), Some(fields)) = (&text, params.as_object_mut()) {
                fields.insert("statusText".to_owned(), json!(text));
            }
            self.tell_people("setStatus", params);
            self.statuses.set(key, text);
        }
        for (number, text) in actions.injected.drain(..).enumerate() {
            let prompt = Prompt {
                text,
                author: None,
                images: Vec::new(),
                command_id: Some(format!("hub-inject:{frame}/{number}")),
                is_task: false,
            };
            self.session.prompt(prompt).await?;
        }
        Ok(())
    }

    async fn notify(
        &self,
        notify: Notify,
        id: EventId,
        memory: &mut Memory,
    ) -> Result<(), JournalError> {
        if memory.has_echo(&id.to_string()) {
            return Ok(());
        }
        let Notify { message, level } = notify;
        let (level, name) = match level {
            Level::Info => (NoticeLevel::Info, "info"),
            Level::Warning => (NoticeLevel::Warning, "warning"),
            Level::Error => (NoticeLevel::Error, "error"),
        };
        self.note(level, NOTIFIED, message.clone(), id, memory)
            .await?;
        self.tell_people("notify", json!({"message": message, "notifyType": name}));
        Ok(())
    }

    /// Puts a notice into the events.
    pub(super) async fn note(
        &self,
        level: NoticeLevel,
        code: &str,
        text: String,
        id: EventId,
        memory: &mut Memory,
    ) -> Result<(), JournalError> {
        let masked = self.context.redactor.text(text.as_bytes());
        let event = Event::Notice {
            level,
            code: code.to_owned(),
            text: String::from_utf8_lossy(&masked).into_owned(),
        };
        let encoded = NewEvent::encode(&event, id, self.context.clock.wall(), None)
            .map_err(|error| JournalError::Corrupt(error.to_string()))?;
        let mut batch = Batch::new(&self.context.session, self.context.agent.name);
        batch.events.push(encoded);
        remember(&mut memory.echoes, id.to_string());
        self.context.journal.commit(batch).await.map(drop)
    }

    /// The notices of what the Hub said to earlier daemons, as far as it may say it again: it
    /// answers again what came behind the last event that it has.
    pub(super) async fn earlier_notices(&self) -> VecDeque<String> {
        let mut found = VecDeque::new();
        if let Err(error) = self.find_notices(&mut found).await {
            tracing::warn!(%error, "what the Hub has said before is not known: it may be told twice");
        }
        found
    }

    async fn find_notices(&self, found: &mut VecDeque<String>) -> Result<(), JournalError> {
        let (journal, session) = (&self.context.journal, &self.context.session);
        let acked = journal
            .session(session)
            .await?
            .map_or(0, |row| row.acked_seq);
        let last = journal.last_seq(session).await?;
        let mut tail = journal.tail(session, acked);
        while tail.position() < last {
            let Some(batch) = tail.try_next().await? else {
                break;
            };
            let mark = MARK.as_bytes();
            let lines = batch.lines();
            for line in lines.filter(|line| memchr::memmem::find(line, mark).is_some()) {
                let Ok(envelope) = Envelope::parse(line) else {
                    continue;
                };
                if matches!(&envelope.event, Event::Notice { code, .. } if is_of_a_word(code)) {
                    remember(found, envelope.header.event_id.to_string());
                }
            }
        }
        Ok(())
    }
}

fn is_of_a_word(code: &str) -> bool {
    code == NOTIFIED || CODES.contains(&code)
}

/// The id of the `number`-th notice of this code that the answer to a frame comes to: the same each
/// time.
pub(super) fn notice_of(frame: &str, code: &str, number: usize) -> EventId {
    let origin = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{code} {frame}").as_bytes());
    EventId::derive(origin, number as u64)
}
