//! What a `generateContent` request asks for. The quirks handled here are those of Gemini CLI 0.61.0.

use serde::Deserialize;
use serde_json::Value;

use crate::scripted_model::dialect::{
    Ask, History, SIDE_TEXT, estimated_tokens, fitting, is_clis_own, working_directory,
};
use crate::scripted_model::engine::Conversation;
use crate::scripted_model::toolset::{Cli, Toolset};

/// A body; what no script depends on is skipped.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    contents: Vec<Content>,
    system_instruction: Option<Content>,
    #[serde(default)]
    tools: Vec<Tools>,
    generation_config: Option<GenerationConfig>,
}

#[derive(Debug, Deserialize)]
struct Content {
    role: Option<String>,
    #[serde(default)]
    parts: Vec<Part>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    text: Option<String>,
    function_response: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tools {
    #[serde(default)]
    function_declarations: Vec<Declaration>,
}

#[derive(Debug, Deserialize)]
struct Declaration {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig {
    response_json_schema: Option<Value>,
    response_schema: Option<Value>,
}

impl Content {
    fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| part.text.as_deref())
    }
}

impl Body {
    fn names(&self) -> Vec<String> {
        let declared = self
            .tools
            .iter()
            .flat_map(|tools| &tools.function_declarations);
        declared.map(|declared| declared.name.clone()).collect()
    }

    fn turns(&self) -> History {
        let mut history = History::default();
        for content in &self.contents {
            if content.role.as_deref() == Some("model") {
                history.reply();
                continue;
            }
            for part in &content.parts {
                match &part.text {
                    Some(text) if !is_clis_own(text) => history.prompt(text),
                    _ if part.function_response.is_some() => history.between(),
                    _ => {}
                }
            }
        }
        history
    }

    /// The CLI asks by JSON schema which model to take, and reads nothing that does not fit it.
    fn side_text(&self) -> String {
        let config = self.generation_config.as_ref();
        let schema = config.and_then(|config| {
            let newer = config.response_json_schema.as_ref();
            newer.or(config.response_schema.as_ref())
        });
        schema.map_or_else(
            || SIDE_TEXT.to_owned(),
            |schema| fitting(schema).to_string(),
        )
    }
}

/// A request, as far as scripts care.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) toolset: Toolset,
    pub(super) ask: Ask,
}

impl Parsed {
    /// Reads a body; the model and whether it streams stand in the path.
    pub(super) fn read(model: &str, stream: bool, body: &[u8]) -> serde_json::Result<Self> {
        let body: Body = serde_json::from_slice(body)?;
        let names = body.names();
        let mut context = body.contents.iter().flat_map(Content::texts);
        let system = body.system_instruction.iter().flat_map(Content::texts);
        let cwd = context
            .find_map(workspace)
            .or_else(|| system.flat_map(str::lines).find_map(working_directory))
            .map(str::to_owned);
        let own_account = body.system_instruction.is_some() || !body.tools.is_empty();
        let ask = if names.is_empty() && own_account {
            Ask::Side(body.side_text())
        } else {
            Ask::Conversation(Conversation {
                // The CLI does not tell its session.
                id: cwd.clone().unwrap_or_default(),
                turns: body.turns().turns(),
                cwd,
                subagent: names.iter().any(|name| name == "complete_task"),
            })
        };
        Ok(Self {
            model: model.to_owned(),
            stream,
            toolset: Toolset::new(names, Vec::new(), Cli::Gemini),
            ask,
        })
    }
}

/// About how many tokens a prompt has.
pub(super) fn tokens(body: &[u8]) -> serde_json::Result<u64> {
    let body: Body = serde_json::from_slice(body)?;
    let texts = body.contents.iter().flat_map(Content::texts);
    Ok(estimated_tokens(texts))
}

/// The first workspace directory in the context that leads the conversation.
fn workspace(text: &str) -> Option<&str> {
    let (_, list) = text.split_once("**Workspace Directories:**")?;
    let line = list.lines().map(str::trim).find(|line| !line.is_empty())?;
    line.strip_prefix("- ").filter(|path| path.starts_with('/'))
}

#[cfg(test)]
mod tests;
