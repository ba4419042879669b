//! What others have written into a session file, as events: for an agent that is to know of it.

use std::io;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{folder, for_each_line, known, local, own};
use crate::event::Event;
use crate::ids::SessionId;

#[derive(Deserialize)]
struct Line {
    message: Message,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    role: String,
    content: Value,
    id: Option<String>,
    tool_call_id: Option<String>,
    tool_name: Option<String>,
    #[serde(default)]
    is_error: bool,
    details: Option<Value>,
}

/// Gives `visit` what happened in a session before it came to this state dir.
pub fn earlier(
    state_dir: &Path,
    session: &SessionId,
    mut visit: impl FnMut(&Event),
) -> io::Result<()> {
    let folder = folder(state_dir);
    let file = local(&folder, session);
    if !file.exists() {
        return Ok(());
    }
    let own = own(&folder)?;
    let mut ours = false;
    for_each_line(&file, &mut |line| {
        let Some(known) = known(line) else { return };
        if let Some(writer) = known.writer() {
            ours = writer == own;
        }
        if !ours && known.r#type == "message" {
            for event in events(line) {
                visit(&event);
            }
        }
    })
    .map(drop)
}

/// The events that a message tells of.
fn events(line: &str) -> Vec<Event> {
    let Ok(Line { message }) = serde_json::from_str(line) else {
        return Vec::new();
    };
    let text = text(&message.content);
    match message.role.as_str() {
        "user" => vec![Event::Prompt {
            text,
            prompt_id: None,
            author: None,
            images: Vec::new(),
        }],
        "toolResult" => {
            let details = message.details.unwrap_or_default();
            let code = details.get("exitCode").and_then(Value::as_i64);
            vec![Event::ToolEnd {
                call_id: message.tool_call_id.unwrap_or_default(),
                name: native(message.tool_name.as_deref().unwrap_or_default()).to_owned(),
                output: Some(text),
                is_error: message.is_error,
                exit_code: code.and_then(|code| i32::try_from(code).ok()),
                duration_ms: None,
            }]
        }
        "assistant" => {
            let said = Event::Token {
                text,
                message_id: message.id,
                parent_call_id: None,
            };
            let blocks = message.content.as_array().into_iter().flatten();
            let calls = blocks.filter_map(call);
            std::iter::once(said)
                .filter(|said| !matches!(said, Event::Token { text, .. } if text.is_empty()))
                .chain(calls)
                .collect()
        }
        _ => Vec::new(),
    }
}

fn text(content: &Value) -> String {
    let blocks = content.as_array().into_iter().flatten();
    let said = blocks.filter_map(|block| block.get("text").and_then(Value::as_str));
    content.as_str().into_iter().chain(said).collect()
}

fn call(block: &Value) -> Option<Event> {
    let field = |name: &str| block.get(name).and_then(Value::as_str);
    if field("type") != Some("toolCall") {
        return None;
    }
    let name = field("name")?;
    Some(Event::ToolStart {
        call_id: field("id")?.to_owned(),
        name: native(name).to_owned(),
        native_name: name.to_owned(),
        input: block.get("arguments").cloned().unwrap_or_default(),
        parent_call_id: None,
    })
}

/// A tool by the name that our events have for it.
fn native(name: &str) -> &str {
    match name {
        "bash" => "shell",
        "find" => "glob",
        "ls" => "list",
        other => other,
    }
}
