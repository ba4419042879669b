//! What was said in a session, as its participants ask for it: messages, counts, the last answer.
//!
//! Pure: it is fed with events, and holds the newest messages within a bound besides what it has
//! counted. The messages are those of the frames (`pi`): a client that was there from the start has
//! seen the same.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::pi::{Frame, Mapper};
use crate::event::{Envelope, Event, NEW_CONVERSATION};
use crate::ids::Seq;

/// What one answer holds at most, in bytes of messages: a Hub may refuse larger frames. A single
/// message that is larger still comes alone.
pub const MAX_PAGE: usize = 240 * 1024;
/// Models that are remembered, the newest of them.
const MAX_MODELS: usize = 32;

/// What was said so far.
#[derive(Debug, Default)]
pub struct History {
    mapper: Mapper,
    frames: Vec<Frame>,
    last: Option<Seq>,
    /// Messages from this one on are counted and not kept.
    until: Option<u64>,
    kept: VecDeque<Box<RawValue>>,
    bytes: usize,
    /// How many messages of the conversation have been kept or let go of.
    ended: u64,
    counts: Counts,
    last_text: Option<String>,
    models: Vec<String>,
    context: Option<(u64, Option<u64>)>,
}

/// Counts over a conversation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    /// Messages of the user.
    pub user: u64,
    /// Messages of the agent.
    pub assistant: u64,
    /// Results of tools.
    pub results: u64,
    /// Calls of tools.
    pub calls: u64,
    /// Tokens that went in, out, came from the cache and went into it.
    pub tokens: [u64; 4],
    /// What they cost, in dollars, as far as the CLI says it.
    pub cost: f64,
}

impl Counts {
    /// All messages.
    pub const fn messages(&self) -> u64 {
        self.user + self.assistant + self.results
    }
}

/// Some messages, in order.
#[derive(Debug, Clone)]
pub struct Page {
    /// The place of the first, counted from 0.
    pub first: u64,
    /// The messages.
    pub messages: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    message: &'a RawValue,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    #[serde(default)]
    content: Value,
    #[serde(default)]
    usage: Usage,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Usage {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
    cost: Cost,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cost {
    total: f64,
}

impl History {
    /// Keeps the messages before that one only.
    pub fn until(message: u64) -> Self {
        Self {
            until: Some(message),
            ..Self::default()
        }
    }

    /// Up to where it has read.
    pub fn last(&self) -> Option<Seq> {
        self.last
    }

    /// Takes the next event.
    pub fn take(&mut self, envelope: &Envelope) {
        self.last = Some(envelope.header.seq);
        match &envelope.event {
            Event::Notice { code, .. } if code == NEW_CONVERSATION => self.begin_anew(),
            Event::Session {
                model: Some(model), ..
            } => self.saw_model(model),
            Event::Context {
                used_tokens,
                max_tokens,
            } => self.context = Some((*used_tokens, *max_tokens)),
            _ => {}
        }
        self.mapper.map(envelope, &mut self.frames);
        for frame in std::mem::take(&mut self.frames) {
            if frame.event == "message_end"
                && let Ok(Data { message }) = serde_json::from_str(&frame.data)
            {
                self.said(message.to_owned());
            }
        }
    }

    fn begin_anew(&mut self) {
        let models = std::mem::take(&mut self.models);
        *self = Self {
            last: self.last,
            until: self.until,
            models,
            ..Self::default()
        };
    }

    fn saw_model(&mut self, model: &str) {
        self.models.retain(|known| known != model);
        self.models.push(model.to_owned());
        if self.models.len() > MAX_MODELS {
            self.models.remove(0);
        }
    }

    fn said(&mut self, message: Box<RawValue>) {
        if let Ok(read) = serde_json::from_str::<Message>(message.get()) {
            self.count(&read);
        }
        let place = self.ended;
        self.ended += 1;
        if self.until.is_some_and(|until| place >= until) {
            return;
        }
        self.bytes += message.get().len();
        self.kept.push_back(message);
        while self.bytes > MAX_PAGE && self.kept.len() > 1 {
            if let Some(old) = self.kept.pop_front() {
                self.bytes -= old.get().len();
            }
        }
    }

    fn count(&mut self, message: &Message) {
        match message.role.as_str() {
            "user" => self.counts.user += 1,
            "toolResult" => self.counts.results += 1,
            _ => {
                self.counts.assistant += 1;
                self.answered(message);
            }
        }
    }

    fn answered(&mut self, message: &Message) {
        let blocks = message.content.as_array().map_or(&[][..], Vec::as_slice);
        let is = |block: &&Value, kind: &str| block.get("type") == Some(&Value::from(kind));
        self.counts.calls += blocks.iter().filter(|block| is(block, "toolCall")).count() as u64;
        let texts = blocks.iter().filter(|block| is(block, "text"));
        let texts: Vec<&str> = texts
            .filter_map(|block| block.get("text")?.as_str())
            .collect();
        if !texts.is_empty() {
            self.last_text = Some(texts.concat());
        }
        let usage = &message.usage;
        let used = [
            usage.input,
            usage.output,
            usage.cache_read,
            usage.cache_write,
        ];
        for (sum, used) in self.counts.tokens.iter_mut().zip(used) {
            *sum += used;
        }
        self.counts.cost += usage.cost.total;
    }

    /// What was counted.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The text of the agent's last message that has any.
    pub fn last_text(&self) -> Option<&str> {
        self.last_text.as_deref()
    }

    /// The models that spoke, the newest last.
    pub fn models(&self) -> &[String] {
        &self.models
    }

    /// How full the model's context is, and how much it holds, as the CLI said it last.
    pub fn context(&self) -> Option<(u64, Option<u64>)> {
        self.context
    }

    /// The newest `limit` messages before `before`, as many as an answer holds. None where the
    /// messages there are not kept: one that reads until there has them.
    pub fn page(&self, before: Option<u64>, limit: Option<u64>) -> Option<Page> {
        let first_kept =
            self.until.map_or(self.ended, |until| until.min(self.ended)) - self.kept.len() as u64;
        let end = before.unwrap_or(self.ended).min(self.ended);
        if end < first_kept || (end == first_kept && end > 0) {
            return None;
        }
        let count = usize::try_from(end - first_kept).ok()?;
        let limit = limit.map_or(count, |limit| usize::try_from(limit).unwrap_or(count));
        let skipped = count.saturating_sub(limit);
        let messages = self.kept.iter().take(count).skip(skipped);
        Some(Page {
            first: first_kept + skipped as u64,
            messages: messages.cloned().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::clock::Timestamp;
    use crate::event::Header;
    use crate::ids::{EventId, TurnId};

    fn envelope(seq: u64, turn: Option<u128>, event: Value) -> Envelope {
        let event: Event = serde_json::from_value(event).unwrap();
        let header = Header {
            seq: Seq::new(seq).unwrap(),
            event_id: EventId::derive(Uuid::nil(), seq),
            at: Timestamp::from_millis(1_000 + seq),
            session_id: "s".parse().unwrap(),
            turn_id: turn.map(|turn| TurnId::from_uuid(Uuid::from_u128(turn))),
            attempt: turn.map(|_| 1),
            agent: "claude".to_owned(),
        };
        Envelope { header, event }
    }

    fn turn(history: &mut History, turn: u128, answer: &str) {
        let start = history.last().map_or(0, Seq::get);
        let events = [
            json!({"type": "prompt", "text": "hello"}),
            json!({"type": "session", "id": "c", "model": "m-1"}),
            json!({"type": "token", "text": "I look.", "message_id": "a"}),
            json!({"type": "tool_start", "call_id": "t", "name": "shell", "native_name": "Bash",
                "input": {"command": "ls"}}),
            json!({"type": "tool_end", "call_id": "t", "name": "shell", "output": "x", "is_error": false}),
            json!({"type": "token", "text": answer, "message_id": "b"}),
            json!({"type": "usage", "input_tokens": 7, "output_tokens": 3, "cache_read_tokens": 2,
                "cache_write_tokens": 1, "cost_usd": 0.5}),
            json!({"type": "end", "outcome": "completed"}),
        ];
        for (n, event) in events.into_iter().enumerate() {
            history.take(&envelope(start + n as u64 + 1, Some(turn), event));
        }
    }

    #[test]
    fn messages_are_counted_once_and_the_last_answer_is_known() {
        let mut history = History::default();
        turn(&mut history, 1, "first");
        turn(&mut history, 2, "second");
        let counts = history.counts();
        assert_eq!((counts.user, counts.assistant, counts.results), (2, 4, 2));
        assert_eq!((counts.calls, counts.tokens), (2, [14, 6, 4, 2]));
        assert!((counts.cost - 1.0).abs() < 1e-9);
        assert_eq!(history.last_text(), Some("second"));
        assert_eq!(history.models(), ["m-1"]);
        let page = history.page(None, Some(3)).unwrap();
        assert_eq!((page.first, page.messages.len()), (5, 3));
        assert_eq!(history.page(Some(2), None).unwrap().messages.len(), 2);
        assert_eq!(history.page(Some(0), None).unwrap().messages.len(), 0);
    }

    #[test]
    fn what_is_no_longer_kept_is_had_by_reading_again() {
        let long = "x".repeat(100 * 1024);
        let fill = |mut history: History| {
            for n in 1..=10 {
                turn(&mut history, n, &long);
            }
            history
        };
        let history = fill(History::default());
        let newest = history.page(None, None).unwrap();
        assert!(newest.first > 0 && newest.messages.len() >= 2);
        let size: usize = newest.messages.iter().map(|m| m.get().len()).sum();
        assert!(size <= MAX_PAGE);
        assert!(history.page(Some(newest.first), None).is_none());
        let older = fill(History::until(newest.first));
        let older = older.page(Some(newest.first), None).unwrap();
        assert_eq!(older.first + older.messages.len() as u64, newest.first);
    }

    #[test]
    fn a_new_conversation_begins_with_nothing() {
        let mut history = History::default();
        turn(&mut history, 1, "first");
        let notice =
            json!({"type": "notice", "level": "info", "code": NEW_CONVERSATION, "text": "x"});
        history.take(&envelope(9, None, notice));
        assert_eq!(history.counts(), &Counts::default());
        assert_eq!(history.last_text(), None);
        turn(&mut history, 2, "second");
        assert_eq!(history.page(None, None).unwrap().first, 0);
        assert_eq!(history.counts().messages(), 4);
    }
}
