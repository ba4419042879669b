//! Tool calls as Claude Code 2.1.197 names them.

use serde_json::{Value, json};

use crate::scripted_model::script::Tool;

/// The tool's name and its arguments.
pub(super) fn native(tool: &Tool) -> (&str, Value) {
    match tool {
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
        Tool::Native { name, input } => (name, input.clone()),
    }
}
