//! What a request of the Messages API asks for.
//!
//! The quirks handled here are those of Claude Code 2.1.197; a client without them is served as
//! well.

use serde::Deserialize;
use serde_json::Value;

use crate::scripted_model::dialect::{
    Ask, SIDE_TEXT, estimated_tokens, fitting, is_clis_own, working_directory,
};
use crate::scripted_model::engine::{Conversation, Turn};
use crate::scripted_model::toolset::{Cli, Toolset};

/// A body of `POST /v1/messages`; what no script depends on is skipped.
#[derive(Debug, Deserialize)]
pub(super) struct Request {
    /// Echoed in the response.
    pub(super) model: String,
    /// Whether the response is a stream of events.
    #[serde(default)]
    pub(super) stream: bool,
    messages: Vec<Message>,
    system: Option<Content>,
    #[serde(default)]
    tools: Vec<Offer>,
    metadata: Option<Metadata>,
    output_config: Option<OutputConfig>,
}

impl Request {
    /// Who asks, and how their conversation went so far.
    pub(super) fn ask(&self) -> Ask {
        let cwd = self.system_lines().find_map(working_directory);
        if self.tools.is_empty() && self.system.is_some() && cwd.is_none() {
            return Ask::Side(self.side_text());
        }
        Ask::Conversation(Conversation {
            id: self
                .metadata
                .as_ref()
                .and_then(|metadata| metadata.user_id.clone())
                .unwrap_or_default(),
            turns: self.messages.iter().flat_map(Message::turns).collect(),
            cwd: cwd.map(str::to_owned),
            // Claude Code marks subagents in the billing line that leads the system prompt.
            subagent: self
                .system_lines()
                .any(|line| line.contains("cc_is_subagent=true")),
        })
    }

    /// About how many tokens the prompt has.
    pub(super) fn estimated_tokens(&self) -> u64 {
        let system = self.system.iter().flat_map(Content::texts);
        let messages = self.messages.iter().flat_map(|m| m.content.texts());
        estimated_tokens(system.chain(messages))
    }

    /// The tools that it offers.
    pub(super) fn toolset(&self) -> Toolset {
        let names = self.tools.iter().filter_map(|offer| offer.name.clone());
        Toolset::new(names.collect(), Vec::new(), Cli::Claude)
    }

    fn system_lines(&self) -> impl Iterator<Item = &str> {
        let texts = self.system.iter().flat_map(Content::texts);
        texts.flat_map(str::lines)
    }

    /// Claude Code asks for titles by JSON schema and reads nothing that does not fit it.
    fn side_text(&self) -> String {
        let schema = self
            .output_config
            .as_ref()
            .and_then(|config| config.format.as_ref())
            .and_then(|format| format.schema.as_ref());
        schema.map_or_else(
            || SIDE_TEXT.to_owned(),
            |schema| fitting(schema).to_string(),
        )
    }
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Content,
}

impl Message {
    fn turns(&self) -> Vec<Turn> {
        match self.role.as_str() {
            // On resume Claude Code puts this reply of its own after an unanswered prompt.
            "assistant" if self.content.is_just("No response requested.") => Vec::new(),
            "assistant" => vec![Turn::Reply],
            "user" => self
                .content
                .texts()
                .filter(|text| !is_clis_own(text))
                .map(|text| Turn::Prompt(text.to_owned()))
                .collect(),
            // `system` in mid-conversation: lists of skills and agents.
            _ => Vec::new(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Blocks(Vec<Block>),
}

impl Content {
    fn texts(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Self::Text(text) => (Some(text.as_str()), None),
            Self::Blocks(blocks) => (None, Some(blocks)),
        };
        let many = many.into_iter().flatten();
        one.into_iter().chain(many.filter_map(Block::text))
    }

    fn is_just(&self, text: &str) -> bool {
        let blocks = match self {
            Self::Text(_) => 1,
            Self::Blocks(blocks) => blocks.len(),
        };
        blocks == 1 && self.texts().all(|found| found == text) && self.texts().count() == 1
    }
}

#[derive(Debug, Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

impl Block {
    fn text(&self) -> Option<&str> {
        self.text.as_deref().filter(|_| self.kind == "text")
    }
}

#[derive(Debug, Deserialize)]
struct Offer {
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    user_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct OutputConfig {
    format: Option<Format>,
}

#[derive(Debug, Deserialize)]
struct Format {
    schema: Option<Value>,
}

#[cfg(test)]
mod tests;
