//! Tool calls as OpenCode 1.18.33 names them.

use serde_json::json;

use super::{Call, Toolset, patch};
use crate::scripted_model::script::Tool;

/// For models whose name says GPT there is `apply_patch` in the place of `edit` and `write`.
pub(super) fn call(tool: &Tool, toolset: &Toolset) -> Option<Call> {
    let patches = toolset.offers("apply_patch");
    let (name, input) = match tool {
        Tool::Shell { command } => ("bash", json!({"command": command, "description": command})),
        Tool::Read { path } => ("read", json!({"filePath": path})),
        Tool::Write { path, content } if patches => (
            "apply_patch",
            json!({"patchText": patch::add(path, content)}),
        ),
        Tool::Write { path, content } => ("write", json!({"filePath": path, "content": content})),
        Tool::Edit { path, old, new } if patches => (
            "apply_patch",
            json!({"patchText": patch::update(path, old, new, &toolset.results)}),
        ),
        Tool::Edit { path, old, new } => (
            "edit",
            json!({"filePath": path, "oldString": old, "newString": new}),
        ),
        Tool::Fetch { url, .. } => ("webfetch", json!({"url": url, "format": "markdown"})),
        Tool::Agent { prompt, title } => (
            "task",
            json!({"description": title, "prompt": prompt, "subagent_type": "general"}),
        ),
        Tool::Mcp {
            server,
            tool,
            input,
        } => return Some(Call::json(&format!("{server}_{tool}"), input.clone())),
        Tool::Native { .. } => return None,
    };
    Some(Call::json(name, input))
}
