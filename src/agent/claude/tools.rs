//! Claude Code's tools under their normalized names.

use std::collections::BTreeSet;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::agent::{hash, json};

/// Native names and what they are called here; any other tool keeps its own name. `Task` is
/// listed in `init`, `Agent` is what the call says; `MultiEdit` and `NotebookRead` are of older
/// versions.
const NAMES: &[(&str, &str)] = &[
    ("Bash", "shell"),
    ("Read", "read"),
    ("NotebookRead", "read"),
    ("Write", "write"),
    ("Edit", "edit"),
    ("MultiEdit", "edit"),
    ("NotebookEdit", "edit"),
    ("Glob", "glob"),
    ("Grep", "grep"),
    ("Agent", "task"),
    ("Task", "task"),
];

/// The normalized name.
pub(super) fn name(native: &str) -> &str {
    let found = NAMES.iter().find(|(theirs, _)| *theirs == native);
    found.map_or(native, |(_, ours)| ours)
}

/// The normalized input.
pub(super) fn input(native: &str, raw: Option<&RawValue>, seen: &BTreeSet<u64>) -> Value {
    let mut value = json::tool_input(raw);
    if let Value::Object(fields) = &mut value {
        if let Some(path) = fields.remove("notebook_path") {
            fields.insert("file_path".to_owned(), path);
        }
        if native == "Write" {
            // The input does not say it, but the CLI refuses to overwrite what was not read.
            let path = fields.get("file_path").and_then(Value::as_str);
            let known = path.is_some_and(|path| seen.contains(&file_key(path)));
            let kind = if known { "overwrite" } else { "create" };
            fields.insert("kind".to_owned(), kind.into());
        }
    }
    value
}

/// What a file is remembered by: state is stored with every batch of events, so it stays small.
pub(super) fn file_key(path: &str) -> u64 {
    hash::more(hash::EMPTY, path)
}

/// The file that a call is about.
pub(super) fn file(input: &Value) -> Option<&str> {
    input.get("file_path").and_then(Value::as_str)
}

/// The exit code that the output of a failed command begins with: `Exit code 3`.
pub(super) fn exit_code(native: &str, output: &str) -> Option<i32> {
    if native != "Bash" {
        return None;
    }
    let first = output.lines().next()?;
    first.strip_prefix("Exit code ")?.trim().parse().ok()
}
