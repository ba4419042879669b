//! The model's messages: streamed deltas, and the whole blocks that confirm them.
//!
//! Claude Code sends each block twice with `--include-partial-messages`: as deltas, and whole just
//! before its `content_block_stop`. The deltas become events at once; the whole block adds only
//! what they lacked. When a stream is cut, the CLI silently asks again and the answer comes as
//! blocks of another message: what was streamed and never confirmed is then taken back
//! (2.1.197, seen with a reset connection). Memory: confirmed text of the open message.

use serde::{Deserialize, Serialize};

use super::record::{Block, Delta};
use crate::agent::hash;
use crate::event::{Event, ToolStream};

/// The open message of the main conversation and of each sub-agent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Messages {
    drafts: Vec<Draft>,
}

/// A message that is being streamed.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Draft {
    parent: Option<String>,
    id: String,
    /// `message_stop` was seen: nothing of it is taken back any more.
    stopped: bool,
    /// Text of its confirmed blocks, for the case that the rest is taken back.
    confirmed: String,
    /// Blocks that were streamed and are not confirmed yet.
    open: Vec<OpenBlock>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct OpenBlock {
    index: u64,
    kind: Kind,
    streamed: Streamed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Text,
    Thinking,
    Tool(String),
    Other,
}

/// What was streamed of a block: enough to compare, small enough for every snapshot.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Streamed {
    len: usize,
    hash: u64,
}

impl Streamed {
    const NOTHING: Self = Self {
        len: 0,
        hash: hash::EMPTY,
    };

    fn add(&mut self, text: &str) {
        self.len += text.len();
        self.hash = hash::more(self.hash, text);
    }

    /// What `whole` has beyond what was streamed; `None` when it does not begin with that.
    fn rest<'t>(&self, whole: &'t str) -> Option<&'t str> {
        let (start, rest) = whole.split_at_checked(self.len)?;
        let mut check = Self::NOTHING;
        check.add(start);
        (check.hash == self.hash).then_some(rest)
    }
}

impl Messages {
    /// `message_start`
    pub(super) fn start(&mut self, parent: Option<&str>, id: &str, out: &mut Vec<Event>) {
        self.leave(parent, id, out);
        self.drafts
            .retain(|draft| draft.parent.as_deref() != parent);
        self.drafts.push(Draft {
            parent: parent.map(str::to_owned),
            id: id.to_owned(),
            stopped: false,
            confirmed: String::new(),
            open: Vec::new(),
        });
    }

    /// `message_stop`
    pub(super) fn stop(&mut self, parent: Option<&str>) {
        if let Some(draft) = self.draft(parent) {
            draft.stopped = true;
        }
    }

    /// `content_block_start`
    pub(super) fn open(
        &mut self,
        parent: Option<&str>,
        index: u64,
        block: &Block<'_>,
        out: &mut Vec<Event>,
    ) {
        let Some(draft) = self.draft(parent) else {
            return;
        };
        let kind = match (&*block.kind, &block.id) {
            ("text", _) => Kind::Text,
            ("thinking", _) => Kind::Thinking,
            ("tool_use", Some(id)) => Kind::Tool(id.to_string()),
            _ => Kind::Other,
        };
        draft.open.retain(|open| open.index != index);
        draft.open.push(OpenBlock {
            index,
            kind,
            streamed: Streamed::NOTHING,
        });
        // always empty in 2.1.197, but the API may put the beginning here
        let begun = Delta {
            text: block.text.clone(),
            thinking: block.thinking.clone(),
            partial_json: None,
        };
        self.delta(parent, index, &begun, out);
    }

    /// `content_block_delta`
    pub(super) fn delta(
        &mut self,
        parent: Option<&str>,
        index: u64,
        delta: &Delta<'_>,
        out: &mut Vec<Event>,
    ) {
        let Some(draft) = self.draft(parent) else {
            return;
        };
        let Some(block) = draft.open.iter_mut().find(|open| open.index == index) else {
            return;
        };
        let text = match &block.kind {
            Kind::Text => &delta.text,
            Kind::Thinking => &delta.thinking,
            Kind::Tool(_) => &delta.partial_json,
            Kind::Other => &None,
        };
        let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else {
            return;
        };
        block.streamed.add(text);
        out.push(match &block.kind {
            Kind::Tool(call) => Event::ToolDelta {
                call_id: call.clone(),
                stream: ToolStream::Input,
                text: text.to_owned(),
            },
            Kind::Thinking => thinking(text, Some(&draft.id), parent),
            Kind::Text | Kind::Other => token(text, Some(&draft.id), parent),
        });
    }

    /// A whole text block of message `id`.
    pub(super) fn text(
        &mut self,
        parent: Option<&str>,
        id: Option<&str>,
        text: &str,
        out: &mut Vec<Event>,
    ) {
        let Some(draft) = self.entered(parent, id, out) else {
            push_text(token, text, id, parent, out);
            return;
        };
        match draft.confirm(&Kind::Text).map(|s| s.rest(text)) {
            Some(Some(rest)) => push_text(token, rest, id, parent, out),
            Some(None) => {
                // a delta was lost on the way: say the message again, as it is
                out.push(Event::TextRetracted {
                    message_id: draft.id.clone(),
                });
                let confirmed = draft.confirmed.clone();
                push_text(token, &confirmed, id, parent, out);
                push_text(token, text, id, parent, out);
            }
            None => push_text(token, text, id, parent, out),
        }
        draft.confirmed.push_str(text);
    }

    /// A whole thinking block of message `id`.
    pub(super) fn thinking(
        &mut self,
        parent: Option<&str>,
        id: Option<&str>,
        text: &str,
        out: &mut Vec<Event>,
    ) {
        let draft = self.entered(parent, id, out);
        let streamed = draft.and_then(|draft| draft.confirm(&Kind::Thinking));
        let rest = streamed.map_or(Some(text), |streamed| streamed.rest(text));
        push_text(thinking, rest.unwrap_or(text), id, parent, out);
    }

    /// A whole tool call of message `id`.
    pub(super) fn tool(
        &mut self,
        parent: Option<&str>,
        id: Option<&str>,
        call: &str,
        out: &mut Vec<Event>,
    ) {
        if let Some(draft) = self.entered(parent, id, out) {
            draft.confirm(&Kind::Tool(call.to_owned()));
        }
    }

    /// Something that the CLI itself says in place of the answer that it was streaming.
    pub(super) fn abandon(&mut self, parent: Option<&str>, out: &mut Vec<Event>) {
        self.leave(parent, "", out);
    }

    fn draft(&mut self, parent: Option<&str>) -> Option<&mut Draft> {
        let mut drafts = self.drafts.iter_mut();
        drafts.find(|draft| draft.parent.as_deref() == parent)
    }

    /// The draft of message `id`; a draft of another message is left.
    fn entered(
        &mut self,
        parent: Option<&str>,
        id: Option<&str>,
        out: &mut Vec<Event>,
    ) -> Option<&mut Draft> {
        let id = id?;
        self.leave(parent, id, out);
        self.draft(parent)
    }

    /// Another message than the open one goes on: takes back what was never confirmed.
    fn leave(&mut self, parent: Option<&str>, id: &str, out: &mut Vec<Event>) {
        let mut left = None;
        self.drafts.retain(|draft| {
            let leaving = draft.parent.as_deref() == parent && draft.id != id;
            if leaving {
                left = Some(draft.clone());
            }
            !leaving
        });
        let Some(draft) = left.filter(|draft| !draft.stopped) else {
            return;
        };
        let unconfirmed = |open: &OpenBlock| open.kind == Kind::Text && open.streamed.len > 0;
        if draft.open.iter().any(unconfirmed) {
            out.push(Event::TextRetracted {
                message_id: draft.id.clone(),
            });
            push_text(token, &draft.confirmed, Some(&draft.id), parent, out);
        }
    }
}

impl Draft {
    /// The oldest streamed block of that kind is whole now: what was streamed of it.
    fn confirm(&mut self, kind: &Kind) -> Option<Streamed> {
        let at = self.open.iter().position(|open| open.kind == *kind)?;
        Some(self.open.remove(at).streamed)
    }
}

type MakeText = fn(&str, Option<&str>, Option<&str>) -> Event;

fn push_text(
    make: MakeText,
    text: &str,
    id: Option<&str>,
    parent: Option<&str>,
    out: &mut Vec<Event>,
) {
    if !text.is_empty() {
        out.push(make(text, id, parent));
    }
}

fn token(text: &str, id: Option<&str>, parent: Option<&str>) -> Event {
    Event::Token {
        text: text.to_owned(),
        message_id: id.map(str::to_owned),
        parent_call_id: parent.map(str::to_owned),
    }
}

fn thinking(text: &str, id: Option<&str>, parent: Option<&str>) -> Event {
    Event::Thinking {
        text: text.to_owned(),
        message_id: id.map(str::to_owned),
        parent_call_id: parent.map(str::to_owned),
    }
}
