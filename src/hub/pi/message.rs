//! Messages in the Pi shapes: assistant, user and tool result, and the transcript of a run.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::frame::{cut_strings, raw, set};
use super::text::Growing;
use crate::event::Usage;

/// Blocks of one message before a new one is begun: bounds what an update repeats.
const MAX_BLOCKS: usize = 64;
/// A transcript's strings are cut to this: every message went out whole before.
pub(super) const TRANSCRIPT_STRING: usize = 8 * 1024;
/// A transcript's size in bytes of JSON; the oldest messages but the first give way.
const TRANSCRIPT: usize = 128 * 1024;

/// Which model speaks, as every assistant message repeats it.
#[derive(Debug, Clone, Default)]
pub(super) struct Speaker {
    pub(super) agent: String,
    pub(super) model: Option<String>,
}

impl Speaker {
    fn model(&self) -> (&'static str, &str, &str) {
        model(&self.agent, self.model.as_deref().unwrap_or(&self.agent))
    }
}

/// Which API an agent's model speaks, whose it is and what they call it, in Pi's words. CLIs that run
/// many vendors' models name them with the vendor.
pub fn model<'a>(agent: &str, name: &'a str) -> (&'static str, &'a str, &'a str) {
    let (api, provider) = vendor(agent);
    match name.split_once('/').filter(|_| provider == UNKNOWN) {
        Some((provider, name)) => (api_of(provider), provider, name),
        None => (api, provider, name),
    }
}

/// What is said of a vendor that nobody names.
const UNKNOWN: &str = "unknown";

/// The API of a vendor's models; that of others nobody says.
fn api_of(provider: &str) -> &'static str {
    match provider {
        "anthropic" => "anthropic-messages",
        "openai" => "openai-responses",
        "google" => "google-generative-ai",
        _ => UNKNOWN,
    }
}

/// Which API an agent's models speak, and whose they are, in Pi's words; as far as its name says it.
pub fn vendor(agent: &str) -> (&'static str, &'static str) {
    let provider = match agent {
        "claude" => "anthropic",
        "codex" => "openai",
        "gemini" => "google",
        _ => UNKNOWN,
    };
    (api_of(provider), provider)
}

/// What a streamed piece adds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Thinking,
}

impl Kind {
    /// The name of the delta event.
    pub(super) const fn delta(self) -> &'static str {
        match self {
            Self::Text => "text_delta",
            Self::Thinking => "thinking_delta",
        }
    }
}

/// Why a message is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Done,
    ToolUse,
    Error,
    Aborted,
}

impl Stop {
    const fn name(self) -> &'static str {
        match self {
            Self::Done => "stop",
            Self::ToolUse => "toolUse",
            Self::Error => "error",
            Self::Aborted => "aborted",
        }
    }
}

#[derive(Debug)]
enum Block {
    Said(Kind, Growing),
    ToolCall(Value),
}

/// The assistant message that is open.
#[derive(Debug)]
pub(super) struct Assistant {
    /// Unique; viewers tell messages apart by it, or by the timestamp.
    id: String,
    timestamp: u64,
    /// The CLI's own id of the message.
    pub(super) native: Option<String>,
    blocks: Vec<Block>,
}

impl Assistant {
    pub(super) fn new(id: String, timestamp: u64, native: Option<String>) -> Self {
        Self {
            id,
            timestamp,
            native,
            blocks: Vec::new(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.blocks.len() >= MAX_BLOCKS
    }

    /// Adds a piece; returns the index of its block.
    pub(super) fn push(&mut self, kind: Kind, text: &str) -> usize {
        match self.blocks.last_mut() {
            Some(Block::Said(last, said)) if *last == kind => said.push(text),
            _ => {
                let mut said = Growing::default();
                said.push(text);
                self.blocks.push(Block::Said(kind, said));
            }
        }
        self.blocks.len() - 1
    }

    pub(super) fn push_tool_call(&mut self, call_id: &str, name: &str, args: &Value) {
        self.blocks.push(Block::ToolCall(json!({
            "type": "toolCall", "id": call_id, "name": name, "arguments": args,
        })));
    }

    /// Takes back all that was said so far.
    pub(super) fn retract(&mut self) {
        self.blocks.retain(|b| matches!(b, Block::ToolCall(_)));
    }

    /// The message so far; long text is reduced to its end.
    pub(super) fn so_far(&self, by: &Speaker) -> Value {
        self.json(by, Stop::Done, None, &Usage::default(), Growing::recent)
    }

    /// The message, over.
    pub(super) fn ended(
        &self,
        by: &Speaker,
        stop: Stop,
        error: Option<&str>,
        used: &Usage,
    ) -> Value {
        self.json(by, stop, error, used, Growing::whole)
    }

    fn json(
        &self,
        by: &Speaker,
        stop: Stop,
        error: Option<&str>,
        used: &Usage,
        text: fn(&Growing) -> String,
    ) -> Value {
        let content: Vec<Value> = self
            .blocks
            .iter()
            .map(|block| match block {
                Block::Said(Kind::Text, said) => json!({"type": "text", "text": text(said)}),
                Block::Said(Kind::Thinking, said) => {
                    json!({"type": "thinking", "thinking": text(said)})
                }
                Block::ToolCall(call) => call.clone(),
            })
            .collect();
        let (api, provider, model) = by.model();
        let mut message = json!({
            "role": "assistant",
            "id": self.id,
            "content": content,
            "api": api,
            "provider": provider,
            "model": model,
            "usage": usage_json(used),
            "stopReason": stop.name(),
            "timestamp": self.timestamp,
        });
        if let Some(error) = error {
            set(&mut message, "errorMessage", error);
        }
        if let Some(native) = &self.native {
            set(&mut message, "responseId", native.as_str());
        }
        message
    }
}

/// Viewers add these numbers up without looking: all of them are always there.
fn usage_json(used: &Usage) -> Value {
    let total = [
        used.input_tokens,
        used.output_tokens,
        used.cache_read_tokens,
    ]
    .into_iter()
    .fold(used.cache_write_tokens, u64::saturating_add);
    json!({
        "input": used.input_tokens,
        "output": used.output_tokens,
        "cacheRead": used.cache_read_tokens,
        "cacheWrite": used.cache_write_tokens,
        "totalTokens": total,
        "cost": {
            "input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0,
            "total": used.cost_usd.filter(|c| c.is_finite()).unwrap_or(0.0),
        },
    })
}

/// What `total` has more than `told`: totals come as the turn goes on, messages want their share.
pub(super) fn share(total: &Usage, told: &Usage) -> Usage {
    Usage {
        input_tokens: total.input_tokens.saturating_sub(told.input_tokens),
        output_tokens: total.output_tokens.saturating_sub(told.output_tokens),
        cache_read_tokens: total
            .cache_read_tokens
            .saturating_sub(told.cache_read_tokens),
        cache_write_tokens: total
            .cache_write_tokens
            .saturating_sub(told.cache_write_tokens),
        cost_usd: total
            .cost_usd
            .map(|cost| (cost - told.cost_usd.unwrap_or(0.0)).max(0.0)),
    }
}

/// What a person said. `author`, as `Name <address>`, is in the words of the Hub's own entries.
pub(super) fn user(id: &str, timestamp: u64, text: &str, author: Option<&str>) -> Value {
    let mut message = json!({
        "role": "user",
        "id": id,
        "content": [{"type": "text", "text": text}],
        "timestamp": timestamp,
    });
    if let Some((name, address)) = author.and_then(|author| author.rsplit_once(" <")) {
        let address = address.trim_end_matches('>');
        let author = json!({"displayName": name, "email": address, "actorType": "user"});
        set(&mut message, "author", author);
    }
    message
}

/// The result of a tool call, as a message.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolMessage<'a> {
    role: &'static str,
    id: &'a str,
    tool_call_id: &'a str,
    tool_name: &'a str,
    content: &'a RawValue,
    details: &'a Value,
    is_error: bool,
    timestamp: u64,
}

impl<'a> ToolMessage<'a> {
    pub(super) fn new(
        (id, timestamp): (&'a str, u64),
        (call, name): (&'a str, &'a str),
        content: &'a RawValue,
        (is_error, details): (bool, &'a Value),
    ) -> Self {
        Self {
            role: "toolResult",
            id,
            tool_call_id: call,
            tool_name: name,
            content,
            details,
            is_error,
            timestamp,
        }
    }
}

/// A message's content that is one text.
pub(super) fn text_content(text: &str) -> Box<RawValue> {
    #[derive(Serialize)]
    struct Text<'a> {
        r#type: &'static str,
        text: &'a str,
    }
    raw(&[Text {
        r#type: "text",
        text,
    }])
}

/// A message as a transcript holds it.
pub(super) fn shortened(message: &Value) -> Box<RawValue> {
    let whole = raw(message);
    if whole.get().len() <= TRANSCRIPT_STRING {
        return whole;
    }
    let mut message = message.clone();
    cut_strings(&mut message, TRANSCRIPT_STRING);
    raw(&message)
}

/// The messages of a run, within a bound; encoded.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    messages: VecDeque<Box<RawValue>>,
    bytes: usize,
    omitted: u64,
}

impl Transcript {
    /// Adds a message that is [`shortened`].
    pub(super) fn push(&mut self, message: Box<RawValue>) {
        self.bytes += message.get().len();
        self.messages.push_back(message);
        while self.bytes > TRANSCRIPT
            && self.messages.len() > 2
            && let Some(oldest) = self.messages.remove(1)
        {
            self.bytes -= oldest.get().len();
            self.omitted += 1;
        }
    }

    /// The messages.
    pub(super) const fn messages(&self) -> &VecDeque<Box<RawValue>> {
        &self.messages
    }

    /// How many had to be left out.
    pub(super) const fn omitted(&self) -> u64 {
        self.omitted
    }
}
