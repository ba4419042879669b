//! What a request of the Responses API asks for. The quirks handled here are those of Codex 0.169.0.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::scripted_model::dialect::{
    Ask, History, Incoming, SIDE_TEXT, fitting, is_clis_own, working_directory,
};
use crate::scripted_model::engine::Conversation;
use crate::scripted_model::toolset::{Call, Cli, Toolset, WAIT, wait};

/// A body of `POST /v1/responses`; what no script depends on is skipped.
#[derive(Debug, Deserialize)]
struct Body {
    model: String,
    #[serde(default)]
    stream: bool,
    input: Input,
    instructions: Option<String>,
    #[serde(default)]
    tools: Vec<Offer>,
    prompt_cache_key: Option<String>,
    client_metadata: Option<Value>,
    text: Option<TextOptions>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Items(Vec<Item>),
}

#[derive(Debug, Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: Option<String>,
    role: Option<String>,
    content: Option<Content>,
    call_id: Option<String>,
    name: Option<String>,
    output: Option<Content>,
    #[serde(default)]
    tools: Vec<Offer>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
    Other(IgnoredAny),
}

impl Content {
    fn texts(&self) -> Vec<&str> {
        match self {
            Self::Text(text) => vec![text],
            Self::Parts(parts) => parts
                .iter()
                .filter_map(|part| part.text.as_deref())
                .collect(),
            Self::Other(_) => Vec::new(),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Part {
    text: Option<String>,
}

/// A tool, or a group of such.
#[derive(Debug, Deserialize)]
struct Offer {
    name: Option<String>,
    #[serde(default)]
    tools: Vec<Offer>,
}

impl Offer {
    fn names(&self, names: &mut Vec<String>) {
        names.extend(self.name.clone());
        for tool in &self.tools {
            tool.names(names);
        }
    }
}

#[derive(Debug, Deserialize)]
struct TextOptions {
    format: Option<Format>,
}

#[derive(Debug, Deserialize)]
struct Format {
    schema: Option<Value>,
}

/// A request, as far as scripts care.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) toolset: Toolset,
    conversation: Conversation,
    /// Answered with this, where it is the CLI's own account.
    side: Option<String>,
    /// Subagents that were started last and not waited for.
    agents: Vec<String>,
}

impl Parsed {
    /// Reads a body.
    pub(super) fn read(incoming: &Incoming<'_>) -> serde_json::Result<Self> {
        let body: Body = serde_json::from_slice(incoming.body)?;
        let one;
        let items = match &body.input {
            Input::Items(items) => items,
            Input::Text(text) => {
                one = [Item::prompt(text)];
                &one[..]
            }
        };
        let mut reader = Reader::default();
        reader.system(body.instructions.as_deref().unwrap_or_default());
        for item in items {
            reader.item(item);
        }
        let mut names = reader.offered;
        for tool in &body.tools {
            tool.names(&mut names);
        }
        let side = (names.is_empty() && reader.has_system && reader.cwd.is_none()).then(|| {
            let format = body.text.and_then(|text| text.format);
            let schema = format.and_then(|format| format.schema);
            schema.map_or_else(
                || SIDE_TEXT.to_owned(),
                |schema| fitting(&schema).to_string(),
            )
        });
        let session = body.prompt_cache_key.as_deref().or(incoming.session);
        // A subagent's metadata names what spawned it.
        let spawned = body.client_metadata.is_some_and(|metadata| {
            let kind = metadata.get("x-openai-subagent");
            kind.is_some()
        });
        Ok(Self {
            model: body.model,
            stream: body.stream,
            toolset: Toolset::new(names, reader.results, Cli::Codex),
            conversation: Conversation {
                id: session.unwrap_or_default().to_owned(),
                turns: reader.history.turns(),
                cwd: reader.cwd,
                subagent: incoming.subagent || spawned,
            },
            side,
            agents: reader.agents,
        })
    }

    /// Who asks.
    pub(super) fn ask(&self) -> Ask {
        match &self.side {
            Some(text) => Ask::Side(text.clone()),
            None => Ask::Conversation(self.conversation.clone()),
        }
    }

    /// Codex starts subagents and goes on: without waiting for them it would end before they do.
    pub(super) fn interlude(&self) -> Option<Call> {
        (!self.agents.is_empty()).then(|| wait(&self.agents))
    }
}

impl Item {
    fn prompt(text: &str) -> Self {
        Self {
            kind: None,
            role: Some("user".to_owned()),
            content: Some(Content::Text(text.to_owned())),
            call_id: None,
            name: None,
            output: None,
            tools: Vec::new(),
        }
    }

    fn texts(&self) -> Vec<&str> {
        self.content
            .as_ref()
            .map(Content::texts)
            .unwrap_or_default()
    }
}

/// Goes through the items in their order.
#[derive(Debug, Default)]
struct Reader {
    history: History,
    cwd: Option<String>,
    has_system: bool,
    offered: Vec<String>,
    results: Vec<String>,
    agents: Vec<String>,
    /// The calls of the last reply that start subagents, and those that wait for such.
    spawns: Vec<String>,
    waits: Vec<String>,
}

impl Reader {
    fn item(&mut self, item: &Item) {
        for tool in &item.tools {
            tool.names(&mut self.offered);
        }
        let kind = item.kind.as_deref().unwrap_or("message");
        match (kind, item.role.as_deref()) {
            ("message", Some("assistant")) => self.history.reply(),
            ("message", Some("user")) => item.texts().into_iter().for_each(|t| self.user(t)),
            ("message", _) => item.texts().into_iter().for_each(|t| self.system(t)),
            ("function_call_output" | "custom_tool_call_output", _) => self.result(item),
            ("function_call", _) if item.name.as_deref() == Some(WAIT) => {
                self.waits.extend(item.call_id.clone());
            }
            ("function_call" | "custom_tool_call" | "reasoning", _) => {
                if item.name.as_deref() == Some("spawn_agent") {
                    self.spawns.extend(item.call_id.clone());
                }
                self.agents.clear();
                self.history.reply();
            }
            _ => {}
        }
    }

    fn system(&mut self, text: &str) {
        self.has_system |= !text.is_empty();
        self.directory(text);
    }

    fn user(&mut self, text: &str) {
        if is_clis_own(text) {
            self.directory(text);
            self.history.between();
        } else {
            self.agents.clear();
            self.history.prompt(text);
        }
    }

    fn directory(&mut self, text: &str) {
        if let Some(cwd) = text.lines().find_map(working_directory) {
            self.cwd = Some(cwd.to_owned());
        }
    }

    fn result(&mut self, item: &Item) {
        let call = item.call_id.as_deref().unwrap_or_default();
        let texts = item.output.as_ref().map(Content::texts).unwrap_or_default();
        let text = texts.concat();
        if self.waits.iter().any(|wait| wait == call) {
            // It returns when one of them is done, and names that one.
            let left = self.agents.len();
            self.agents.retain(|agent| !text.contains(agent.as_str()));
            if self.agents.len() == left {
                self.agents.clear();
            }
            return;
        }
        self.history.between();
        if self.spawns.iter().any(|spawn| spawn == call) {
            let reply: Option<Value> = serde_json::from_str(&text).ok();
            let id = reply.as_ref().and_then(|reply| reply.get("agent_id"));
            let id = id.and_then(Value::as_str).map(str::to_owned);
            self.agents.extend(id);
        }
        self.results.push(text);
    }
}

#[cfg(test)]
mod tests;
