//! Gemini CLI's tools under their normalized names.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::agent::{hash, json};
use crate::event::PlanItem;

/// Native names and what they are called here; any other tool keeps its own name.
/// `search_file_content` is what older versions call `grep_search`.
const NAMES: &[(&str, &str)] = &[
    ("run_shell_command", "shell"),
    ("read_file", "read"),
    ("write_file", "write"),
    ("replace", "edit"),
    ("glob", "glob"),
    ("grep_search", "grep"),
    ("search_file_content", "grep"),
    ("invoke_agent", "task"),
];

/// The normalized name.
pub(super) fn name(native: &str) -> &str {
    let found = NAMES.iter().find(|(theirs, _)| *theirs == native);
    found.map_or(native, |(_, ours)| ours)
}

/// The normalized input.
pub(super) fn input(native: &str, raw: Option<&RawValue>, seen: &BTreeSet<u64>) -> Value {
    let mut value = json::tool_input(raw);
    let Value::Object(fields) = &mut value else {
        return value;
    };
    match name(native) {
        "glob" | "grep" => {
            if let Some(path) = fields.remove("dir_path") {
                fields.insert("path".to_owned(), path);
            }
        }
        "write" => {
            // Neither the call nor its result says whether the file was there: what was read or
            // written before was.
            let path = fields.get("file_path").and_then(Value::as_str);
            let known = path.is_some_and(|path| seen.contains(&file_key(path)));
            let kind = if known { "overwrite" } else { "create" };
            fields.insert("kind".to_owned(), kind.into());
        }
        _ => {}
    }
    value
}

/// What a file is remembered by: state is stored with every batch of events, so it stays small.
pub(super) fn file_key(path: &str) -> u64 {
    hash::more(hash::EMPTY, path)
}

/// The to-do list that a `write_todos` call sets (its input's shape: captured; the tool itself is
/// offered to some models only).
pub(super) fn plan(native: &str, raw: Option<&RawValue>) -> Option<Vec<PlanItem>> {
    #[derive(Deserialize)]
    struct Input {
        todos: Vec<Todo>,
    }
    #[derive(Deserialize)]
    struct Todo {
        description: String,
        status: String,
    }
    if native != "write_todos" {
        return None;
    }
    let input: Input = json::typed(raw)?;
    let item = |todo: Todo| PlanItem {
        text: todo.description,
        status: todo.status,
    };
    Some(input.todos.into_iter().map(item).collect())
}

/// Whether a result that says success tells of a command that was never run. 0.61.0 refuses
/// command substitution in whatever approval mode, and calls that a success.
pub(super) fn was_blocked(native: &str, output: Option<&str>) -> bool {
    native == "run_shell_command"
        && output == Some("Blocked: command substitution detected in shell command.")
}
