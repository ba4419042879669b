//! Tool calls. OpenCode tells of a call when it is over, whole: its start and its end come of one
//! record.

use serde_json::Value;
use serde_json::value::RawValue;

use super::record::{Metadata, PatchedFile, State, Time};
use crate::agent::diff;
use crate::agent::json::typed;
use crate::agent::lines::notice;
use crate::event::{Event, FileChangeKind, NoticeLevel, PlanItem};
use crate::frame::{MAX_DEPTH, nesting};

/// Native names and what they are called here; any other tool keeps its own name.
const NAMES: &[(&str, &str)] = &[
    ("bash", "shell"),
    ("read", "read"),
    ("write", "write"),
    ("edit", "edit"),
    ("glob", "glob"),
    ("grep", "grep"),
    ("task", "task"),
];

/// What a call is told with that its tool does not exist or does not take its input.
const INVALID: &str = "invalid";

const REJECTED: &str = "The user rejected permission to use this specific tool call";
const FORBIDDEN: &str =
    "The user has specified a rule which prevents you from using this specific tool call";

/// Whether a call was permitted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Permission {
    /// As far as is known.
    Given,
    /// Nobody gave the consent that it needs: OpenCode stops after that.
    Rejected,
}

/// The normalized name.
pub(super) fn name(native: &str) -> &str {
    let found = NAMES.iter().find(|(theirs, _)| *theirs == native);
    found.map_or(native, |(_, ours)| ours)
}

/// What a call is, before it is known what becomes of it.
pub(super) struct Begun {
    /// As the model asked for it.
    pub(super) native: String,
    pub(super) input: Value,
    /// The tool does not exist, or not with this input.
    is_invalid: bool,
}

/// What became of a call.
pub(super) struct Done<'a> {
    pub(super) is_failed: bool,
    /// Of tools for files: the path, relative to the work tree.
    pub(super) title: Option<&'a str>,
    pub(super) output: Option<&'a str>,
    pub(super) error: Option<&'a str>,
    pub(super) metadata: Metadata<'a>,
    pub(super) duration_ms: Option<u64>,
}

/// A call, from start to end.
pub(super) fn call(
    id: &str,
    tool: &str,
    state: &State<'_>,
    time: &Time,
    out: &mut Vec<Event>,
) -> Permission {
    let done = Done {
        is_failed: &*state.status != "completed",
        title: state.title.as_deref(),
        output: state.output.as_deref(),
        error: state.error.as_deref(),
        metadata: metadata(tool, state.metadata),
        duration_ms: time.start.and_then(|start| time.end?.checked_sub(start)),
    };
    let begun = begun(tool, state.input, done.metadata.exists == Some(true));
    out.push(Event::ToolStart {
        call_id: id.to_owned(),
        name: name(&begun.native).to_owned(),
        native_name: begun.native.clone(),
        input: begun.input.clone(),
        parent_call_id: None,
    });
    ended(id, &begun, done, out)
}

/// The fields of a call's metadata that matter for its tool.
pub(super) fn metadata<'a>(tool: &str, raw: Option<&'a RawValue>) -> Metadata<'a> {
    match tool {
        "bash" | "write" | "edit" | "apply_patch" | "todowrite" => typed(raw).unwrap_or_default(),
        _ => Metadata::default(),
    }
}

/// A call; `exists` says of the file that a `write` is about that it was there.
pub(super) fn begun(tool: &str, raw: Option<&RawValue>, exists: bool) -> Begun {
    let mut input = input(raw);
    let asked = invalid(tool, &input);
    if tool == "write"
        && let Value::Object(fields) = &mut input
    {
        let kind = if exists { "overwrite" } else { "create" };
        fields.insert("kind".to_owned(), kind.into());
    }
    Begun {
        is_invalid: asked.is_some(),
        native: asked.unwrap_or_else(|| tool.to_owned()),
        input,
    }
}

/// A call that was begun, as far as its end needs to know it.
pub(super) fn resumed(native: &str, input: &Value) -> Begun {
    Begun {
        native: native.to_owned(),
        is_invalid: input.get("tool").and_then(Value::as_str) == Some(native)
            && input.get("error").is_some(),
        input: input.clone(),
    }
}

/// What became of a call, and its end.
pub(super) fn ended(id: &str, begun: &Begun, done: Done<'_>, out: &mut Vec<Event>) -> Permission {
    let (native, failed) = (begun.native.as_str(), done.is_failed);
    let path = begun.input.get("file_path").and_then(Value::as_str);
    let path = done.metadata.filepath.as_deref().or(path);
    let content = begun.input.get("content").and_then(Value::as_str);
    let content = content.filter(|_| native == "write");
    if let (Some(path), false) = (path, failed) {
        let shown = relative(path, done.title);
        changed(id, native, path, shown, content, &done.metadata, out);
    }
    for file in done.metadata.files.iter().flatten().filter(|_| !failed) {
        out.push(patched(id, file));
    }
    let exit_code = done.metadata.exit;
    out.push(Event::ToolEnd {
        call_id: id.to_owned(),
        name: name(native).to_owned(),
        output: done.output.or(done.error).map(str::to_owned),
        // `bash` is "completed" whatever its exit code; without one the command was ended
        is_error: failed || begun.is_invalid || (native == "bash" && exit_code != Some(0)),
        exit_code,
        duration_ms: done.duration_ms,
    });
    if let Some(todos) = done.metadata.todos.filter(|_| !failed) {
        let item = |todo: super::record::Todo| PlanItem {
            text: todo.content,
            status: todo.status,
        };
        out.push(Event::Plan {
            items: todos.into_iter().map(item).collect(),
        });
    }
    permission(id, native, done.error.unwrap_or_default(), out)
}

fn permission(id: &str, native: &str, error: &str, out: &mut Vec<Event>) -> Permission {
    let is_rejected = error.starts_with(REJECTED);
    if is_rejected || error.starts_with(FORBIDDEN) {
        let text = format!("{native} was not permitted (call {id})");
        out.push(notice(NoticeLevel::Warning, "permission_denied", text));
    }
    if is_rejected {
        Permission::Rejected
    } else {
        Permission::Given
    }
}

/// The normalized input. What nests too deeply for consumers, or is no JSON, stays its text.
fn input(raw: Option<&RawValue>) -> Value {
    let Some(raw) = raw else {
        return Value::Object(serde_json::Map::new());
    };
    if nesting(raw.get().as_bytes()) > MAX_DEPTH {
        return Value::from(raw.get());
    }
    let Ok(mut value) = serde_json::from_str::<Value>(raw.get()) else {
        return Value::from(raw.get());
    };
    if let Value::Object(fields) = &mut value
        && let Some(path) = fields.remove("filePath")
    {
        fields.insert("file_path".to_owned(), path);
    }
    value
}

/// The tool that the model asked for where OpenCode calls it `invalid`.
fn invalid(tool: &str, input: &Value) -> Option<String> {
    let asked = input.get("tool").filter(|_| tool == INVALID)?;
    asked.as_str().map(str::to_owned)
}

/// A path for a diff: relative to the work tree, which OpenCode shows as the call's title.
fn relative<'p>(path: &'p str, title: Option<&'p str>) -> &'p str {
    match title {
        Some(title) if !title.is_empty() && path.ends_with(title) => title.trim_start_matches('/'),
        _ => path.trim_start_matches('/'),
    }
}

fn changed(
    call: &str,
    tool: &str,
    path: &str,
    shown: &str,
    content: Option<&str>,
    metadata: &Metadata<'_>,
    out: &mut Vec<Event>,
) {
    let hunks = metadata.diff.as_deref().unwrap_or_default();
    let is_new = match tool {
        "write" => metadata.exists == Some(false),
        "edit" => hunks.contains("\n@@ -0,0 "),
        _ => return,
    };
    let diff = match content {
        Some(content) if is_new => Some(diff::created(shown, content)),
        _ => diff::patched((!is_new).then_some(shown), Some(shown), hunks),
    };
    out.push(Event::FileChange {
        path: path.to_owned(),
        kind: if is_new {
            FileChangeKind::Create
        } else {
            FileChangeKind::Edit
        },
        diff,
        call_id: Some(call.to_owned()),
    });
}

fn patched(call: &str, file: &PatchedFile) -> Event {
    let target = file.move_path.as_ref().unwrap_or(&file.file_path);
    let shown = relative(target, file.relative_path.as_deref());
    // where the work tree begins shows in the path that is known in both forms
    let tree = target.strip_suffix(shown).unwrap_or("/");
    let old = file.file_path.strip_prefix(tree);
    let old = old.unwrap_or_else(|| file.file_path.trim_start_matches('/'));
    let (kind, from, to) = match file.kind.as_str() {
        "add" => (FileChangeKind::Create, None, Some(shown)),
        "delete" => (FileChangeKind::Delete, Some(shown), None),
        "move" => (FileChangeKind::Rename, Some(old), Some(shown)),
        _ => (FileChangeKind::Edit, Some(shown), Some(shown)),
    };
    let patch = file.patch.as_deref().unwrap_or_default();
    Event::FileChange {
        path: target.clone(),
        kind,
        diff: diff::patched(from, to, patch),
        call_id: Some(call.to_owned()),
    }
}
