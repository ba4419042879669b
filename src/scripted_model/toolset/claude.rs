//! Tool calls as Claude Code 2.1.197 names them.

use serde_json::json;

use super::Call;
use crate::scripted_model::script::Tool;

pub(super) fn call(tool: &Tool) -> Option<Call> {
    let (name, input) = match tool {
        Tool::Shell { command } => ("Bash", json!({"command": command})),
        Tool::Read { path } => ("Read", json!({"file_path": path})),
        Tool::Write { path, content } => ("Write", json!({"file_path": path, "content": content})),
        Tool::Edit { path, old, new } => (
            "Edit",
            json!({"file_path": path, "old_string": old, "new_string": new}),
        ),
        Tool::Fetch { url, question } => ("WebFetch", json!({"url": url, "prompt": question})),
        Tool::Agent { prompt, title } => (
            "Agent",
            json!({"description": title, "prompt": prompt, "subagent_type": "general-purpose"}),
        ),
        Tool::Mcp {
            server,
            tool,
            input,
        } => {
            return Some(Call::json(&format!("mcp__{server}__{tool}"), input.clone()));
        }
        Tool::Native { .. } => return None,
    };
    Some(Call::json(name, input))
}
