//! What a request of the Chat Completions API asks for.

use serde::Deserialize;
use serde_json::Value;

use crate::scripted_model::dialect::{
    Ask, History, Incoming, SIDE_TEXT, fitting, is_clis_own, working_directory,
};
use crate::scripted_model::engine::Conversation;
use crate::scripted_model::toolset::{Cli, Toolset};

/// A body of `POST /v1/chat/completions`; what no script depends on is skipped.
#[derive(Debug, Deserialize)]
struct Body {
    model: String,
    #[serde(default)]
    stream: bool,
    stream_options: Option<StreamOptions>,
    messages: Vec<Message>,
    #[serde(default)]
    tools: Vec<Offer>,
    prompt_cache_key: Option<String>,
    response_format: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Option<Content>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    text: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Offer {
    function: Option<Function>,
}

#[derive(Debug, Deserialize)]
struct Function {
    name: String,
}

impl Message {
    fn texts(&self) -> Vec<&str> {
        match &self.content {
            Some(Content::Text(text)) => vec![text],
            Some(Content::Parts(parts)) => parts
                .iter()
                .filter_map(|part| part.text.as_deref())
                .collect(),
            None => Vec::new(),
        }
    }
}

/// A request, as far as scripts care.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) model: String,
    pub(super) stream: bool,
    /// Whether the stream tells the token counts.
    pub(super) counts: bool,
    pub(super) toolset: Toolset,
    pub(super) ask: Ask,
}

impl Parsed {
    /// Reads a body.
    pub(super) fn read(incoming: &Incoming<'_>) -> serde_json::Result<Self> {
        let body: Body = serde_json::from_slice(incoming.body)?;
        let mut history = History::default();
        let (mut cwd, mut has_system, mut results) = (None, false, Vec::new());
        for message in &body.messages {
            match message.role.as_str() {
                "assistant" => history.reply(),
                "tool" => {
                    history.between();
                    results.push(message.texts().concat());
                }
                "user" => {
                    let texts = message.texts().into_iter();
                    texts
                        .filter(|text| !is_clis_own(text))
                        .for_each(|text| history.prompt(text));
                }
                _ => {
                    has_system = true;
                    let texts = message.texts();
                    let mut lines = texts.iter().flat_map(|text| text.lines());
                    cwd = lines.find_map(working_directory).map(str::to_owned).or(cwd);
                }
            }
        }
        let offered = body.tools.into_iter().filter_map(|offer| offer.function);
        let names: Vec<_> = offered.map(|function| function.name).collect();
        let ask = if names.is_empty() && has_system && cwd.is_none() {
            Ask::Side(side_text(body.response_format.as_ref()))
        } else {
            let session = body.prompt_cache_key.as_deref().or(incoming.session);
            Ask::Conversation(Conversation {
                // Pi does not tell its session.
                id: session.or(cwd.as_deref()).unwrap_or_default().to_owned(),
                turns: history.turns(),
                cwd,
                subagent: incoming.subagent,
            })
        };
        Ok(Self {
            model: body.model,
            stream: body.stream,
            counts: body
                .stream_options
                .is_some_and(|stream| stream.include_usage),
            toolset: Toolset::new(names, results, Cli::OpenCode),
            ask,
        })
    }
}

fn side_text(format: Option<&Value>) -> String {
    let schema = format.and_then(|format| format.pointer("/json_schema/schema"));
    schema.map_or_else(
        || SIDE_TEXT.to_owned(),
        |schema| fitting(schema).to_string(),
    )
}

#[cfg(test)]
mod tests;
