//! Pi's tools under their normalized names.

use std::collections::BTreeSet;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::agent::{hash, json};

/// Native names and what they are called here; any other tool keeps its own name.
const NAMES: &[(&str, &str)] = &[("bash", "shell"), ("find", "glob")];

/// The normalized name.
pub(super) fn name(native: &str) -> &str {
    let found = NAMES.iter().find(|(theirs, _)| *theirs == native);
    found.map_or(native, |(_, ours)| ours)
}

/// The normalized input.
pub(super) fn input(native: &str, raw: Option<&RawValue>, seen: &BTreeSet<u64>) -> Value {
    let mut value = json::tool_input(raw);
    if let Value::Object(fields) = &mut value
        && matches!(native, "read" | "write" | "edit")
    {
        if let Some(path) = fields.remove("path") {
            fields.insert("file_path".to_owned(), path);
        }
        if native == "write" {
            // Pi does not say whether the file was there: what was read or written before was
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

/// The exit code that the output of a failed command ends with: `Command exited with code 3`.
pub(super) fn exit_code(native: &str, output: &str) -> Option<i32> {
    if native != "bash" {
        return None;
    }
    let last = output.lines().next_back()?;
    last.strip_prefix("Command exited with code ")?.parse().ok()
}
