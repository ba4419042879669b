//! The items of Codex's server in our words: the calls that they stand for, and what those gave.

use serde_json::{Value, json};

use super::wire::{Change, Fault, Item};
use crate::agent::codex::calls::{arguments, mcp_text};
use crate::agent::codex::command;
use crate::agent::diff;
use crate::event::{Event, FileChangeKind};

/// A call, as it is told.
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) native: String,
    pub(super) input: Value,
    pub(super) change: Option<Event>,
}

/// The calls that an item stands for; none for a kind that is not known.
pub(super) fn calls(item: &Item<'_>, cwd: Option<&str>) -> Option<Vec<Call>> {
    let (name, input) = match &*item.kind {
        "fileChange" => return Some(changes(item, cwd)),
        "commandExecution" => {
            let (name, input) = command::call(item.command.as_deref()?);
            (name.to_owned(), input)
        }
        "mcpToolCall" => {
            let (server, tool) = (item.server.as_deref()?, item.tool.as_deref()?);
            (format!("mcp__{server}__{tool}"), arguments(item.arguments))
        }
        "dynamicToolCall" => (item.tool.as_deref()?.to_owned(), arguments(item.arguments)),
        "collabAgentToolCall" => {
            let name = match item.tool.as_deref()? {
                "spawnAgent" => "task",
                other => other,
            };
            let prompt = item.prompt.as_deref();
            let input = prompt.map_or_else(|| json!({}), |prompt| json!({ "prompt": prompt }));
            (name.to_owned(), input)
        }
        "subAgentActivity" => match item.activity.as_deref() {
            Some("started") => {
                let agent = item.agent_path.as_deref();
                ("task".to_owned(), json!({ "agent": agent }))
            }
            _ => return Some(Vec::new()),
        },
        "webSearch" => (
            "web_search".to_owned(),
            json!({ "query": item.query.as_deref() }),
        ),
        "imageView" | "imageGeneration" | "sleep" => (item.kind.to_string(), json!({})),
        _ => return None,
    };
    Some(vec![Call {
        id: item.id.to_string(),
        name,
        native: item.tool.as_deref().unwrap_or(&item.kind).to_owned(),
        input,
        change: None,
    }])
}

/// A patch: one call for each file.
fn changes(item: &Item<'_>, cwd: Option<&str>) -> Vec<Call> {
    let changes = item.changes.as_deref().unwrap_or_default();
    let call = |(index, change): (usize, &Change)| {
        let id = match changes.len() {
            1 => item.id.to_string(),
            _ => format!("{}.{}", &*item.id, index + 1),
        };
        changed(change, id, cwd)
    };
    changes.iter().enumerate().map(call).collect()
}

fn changed(change: &Change, id: String, cwd: Option<&str>) -> Call {
    let (path, content) = (change.path.as_str(), change.diff.as_str());
    let moved = change.kind.move_path.as_deref();
    // a diff names files from the folder that the agent works in
    let short = |path: &str| -> String {
        let within = cwd.and_then(|cwd| path.strip_prefix(cwd)?.strip_prefix('/'));
        within.unwrap_or(path).to_owned()
    };
    let (name, input, kind, diff) = match change.kind.kind.as_str() {
        "add" => (
            "write",
            json!({ "file_path": path, "content": content, "kind": "create" }),
            FileChangeKind::Create,
            Some(diff::created(&short(path), content)),
        ),
        "delete" => (
            "write",
            json!({ "file_path": path, "kind": "delete" }),
            FileChangeKind::Delete,
            None,
        ),
        _ => {
            let input = match moved {
                Some(to) => json!({ "file_path": path, "diff": content, "move_path": to }),
                None => json!({ "file_path": path, "diff": content }),
            };
            let kind = match moved {
                Some(_) => FileChangeKind::Rename,
                None => FileChangeKind::Edit,
            };
            let hunks = content.split("\n\nMoved to: ").next().unwrap_or_default();
            let diff = diff::patched(
                Some(&short(path)),
                Some(&short(moved.unwrap_or(path))),
                hunks,
            );
            ("edit", input, kind, diff)
        }
    };
    Call {
        name: name.to_owned(),
        native: "fileChange".to_owned(),
        input,
        change: Some(Event::FileChange {
            path: moved.unwrap_or(path).to_owned(),
            kind,
            diff,
            call_id: Some(id.clone()),
        }),
        id,
    }
}

/// What a call gave the model, as far as the CLI tells.
pub(super) fn output(item: &Item<'_>) -> Option<String> {
    if let Some(text) = item.aggregated_output.as_deref() {
        return Some(text.to_owned());
    }
    if let Some(error) = item.error.filter(|error| error.get() != "null") {
        let fault: Option<Fault<'_>> = serde_json::from_str(error.get()).ok();
        return fault.map(|fault| fault.message.to_string());
    }
    let result = item.result.filter(|result| result.get() != "null")?;
    Some(mcp_text(result))
}
