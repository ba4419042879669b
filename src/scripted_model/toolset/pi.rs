//! Tool calls as Pi 0.74.2 names them. It has no subagents and no MCP.

use serde_json::json;

use super::{Call, download};
use crate::scripted_model::script::Tool;

pub(super) fn call(tool: &Tool) -> Option<Call> {
    let (name, input) = match tool {
        Tool::Shell { command } => ("bash", json!({"command": command})),
        Tool::Read { path } => ("read", json!({"path": path})),
        Tool::Write { path, content } => ("write", json!({"path": path, "content": content})),
        Tool::Edit { path, old, new } => (
            "edit",
            json!({"path": path, "edits": [{"oldText": old, "newText": new}]}),
        ),
        Tool::Fetch { url, .. } => ("bash", json!({"command": download(url)})),
        Tool::Agent { .. } | Tool::Mcp { .. } | Tool::Native { .. } => return None,
    };
    Some(Call::json(name, input))
}
