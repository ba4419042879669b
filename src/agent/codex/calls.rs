//! Tool calls: every start gets its end, also where the CLI prints only one of the two.
//!
//! One item may be several calls (a patch of several files), so what is open is kept by item.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::command;
use super::record::{Fault, Item, McpResult};
use crate::agent::json::typed;
use crate::event::{Event, FileChangeKind};
use crate::frame::{MAX_DEPTH, nesting};

/// Calls that have begun and not ended.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Calls {
    open: Vec<OpenCall>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct OpenCall {
    item: String,
    id: String,
    name: String,
}

/// A call as an item tells it.
struct Call {
    id: String,
    name: String,
    native: String,
    input: Value,
    change: Option<(String, FileChangeKind)>,
}

impl Calls {
    /// `item.started` of a call, the item's id being `id` here; false where the item's shape is not known.
    pub(super) fn start(&mut self, item: &Item<'_>, id: &str, out: &mut Vec<Event>) -> bool {
        let Some(calls) = calls(item, id) else {
            return false;
        };
        for call in calls {
            self.begin(id, call, out);
        }
        true
    }

    /// `item.completed` of a call, whether or not its start was seen; false where the item's shape
    /// is not known.
    pub(super) fn end(&mut self, item: &Item<'_>, id: &str, out: &mut Vec<Event>) -> bool {
        let Some(calls) = calls(item, id) else {
            return false;
        };
        let is_error = item
            .status
            .as_deref()
            .is_some_and(|status| status != "completed");
        let output = output(item);
        for call in calls {
            let (call_id, name, change) = (call.id.clone(), call.name.clone(), call.change.clone());
            self.begin(id, call, out);
            self.open.retain(|open| open.id != call_id);
            if let (Some((path, kind)), false) = (change, is_error) {
                out.push(Event::FileChange {
                    path,
                    kind,
                    diff: None,
                    call_id: Some(call_id.clone()),
                });
            }
            out.push(Event::ToolEnd {
                call_id,
                name,
                output: output.clone(),
                is_error,
                exit_code: item.exit_code,
                duration_ms: None,
            });
        }
        // files that the patch began with and did not come to
        self.interrupt_where(|open| open.item == id, out);
        true
    }

    /// The process is gone: what is open will not end by itself. Codex takes commands that it
    /// left running with it. Whether anything was.
    pub(super) fn interrupt(&mut self, out: &mut Vec<Event>) -> bool {
        let left_open = !self.open.is_empty();
        self.interrupt_where(|_| true, out);
        left_open
    }

    fn begin(&mut self, item: &str, call: Call, out: &mut Vec<Event>) {
        if self.open.iter().any(|open| open.id == call.id) {
            return;
        }
        self.open.push(OpenCall {
            item: item.to_owned(),
            id: call.id.clone(),
            name: call.name.clone(),
        });
        out.push(Event::ToolStart {
            call_id: call.id,
            name: call.name,
            native_name: call.native,
            input: call.input,
            parent_call_id: None,
        });
    }

    fn interrupt_where(&mut self, which: impl Fn(&OpenCall) -> bool, out: &mut Vec<Event>) {
        for call in self.open.extract_if(.., |open| which(open)) {
            out.push(Event::ToolEnd {
                call_id: call.id,
                name: call.name,
                output: None,
                is_error: true,
                exit_code: None,
                duration_ms: None,
            });
        }
    }
}

/// Whether items of that type are calls.
pub(super) fn is_call(kind: &str) -> bool {
    matches!(
        kind,
        "command_execution" | "file_change" | "mcp_tool_call" | "collab_tool_call" | "web_search"
    )
}

/// The calls that an item stands for.
fn calls(item: &Item<'_>, id: &str) -> Option<Vec<Call>> {
    if &*item.kind == "file_change" {
        return Some(changes(item, id));
    }
    let (name, input) = match &*item.kind {
        "command_execution" => {
            let (name, input) = command::call(item.command.as_deref()?);
            (name.to_owned(), input)
        }
        "mcp_tool_call" => {
            let (server, tool) = (item.server.as_deref()?, item.tool.as_deref()?);
            (format!("mcp__{server}__{tool}"), arguments(item.arguments))
        }
        "collab_tool_call" => collaboration(item)?,
        "web_search" => (
            "web_search".to_owned(),
            json!({ "query": item.query.as_deref() }),
        ),
        _ => return None,
    };
    Some(vec![Call {
        id: id.to_owned(),
        name,
        native: native(item),
        input,
        change: None,
    }])
}

/// A patch: one call for each file. `kind` does not tell a move from an edit.
fn changes(item: &Item<'_>, id: &str) -> Vec<Call> {
    let changes = item.changes.as_deref().unwrap_or_default();
    let call = |(index, change): (usize, &super::record::Change<'_>)| {
        let path = change.path.to_string();
        let (name, input, kind) = match &*change.kind {
            "add" => (
                "write",
                json!({ "file_path": path, "kind": "create" }),
                FileChangeKind::Create,
            ),
            "delete" => (
                "write",
                json!({ "file_path": path, "kind": "delete" }),
                FileChangeKind::Delete,
            ),
            _ => ("edit", json!({ "file_path": path }), FileChangeKind::Edit),
        };
        let id = match changes.len() {
            1 => id.to_owned(),
            _ => format!("{id}.{}", index + 1),
        };
        Call {
            id,
            name: name.to_owned(),
            native: native(item),
            input,
            change: Some((path, kind)),
        }
    };
    changes.iter().enumerate().map(call).collect()
}

/// Sub-agents: `spawn_agent` is the task; `wait` and the like keep their names.
fn collaboration(item: &Item<'_>) -> Option<(String, Value)> {
    let tool = item.tool.as_deref()?;
    let mut input = serde_json::Map::new();
    if let Some(prompt) = item.prompt.as_deref() {
        input.insert("prompt".to_owned(), prompt.into());
    }
    let agents = item.receiver_thread_ids.as_deref().unwrap_or_default();
    if !agents.is_empty() {
        input.insert("agents".to_owned(), agents.into());
    }
    let name = if tool == "spawn_agent" { "task" } else { tool };
    Some((name.to_owned(), Value::Object(input)))
}

fn native(item: &Item<'_>) -> String {
    match (&*item.kind, item.tool.as_deref()) {
        ("collab_tool_call", Some(tool)) => tool.to_owned(),
        (kind, _) => kind.to_owned(),
    }
}

/// What nests too deeply for consumers stays its text.
pub(super) fn arguments(raw: Option<&RawValue>) -> Value {
    let Some(raw) = raw else {
        return json!({});
    };
    if nesting(raw.get().as_bytes()) > MAX_DEPTH {
        return Value::from(raw.get());
    }
    serde_json::from_str(raw.get()).unwrap_or_else(|_| Value::from(raw.get()))
}

/// What a call gave the model, as far as the CLI tells.
fn output(item: &Item<'_>) -> Option<String> {
    if let Some(fault) = typed::<Fault<'_>>(item.error) {
        return Some(fault.message.0.into_owned());
    }
    match &*item.kind {
        "command_execution" => item.aggregated_output.as_deref().map(str::to_owned),
        "mcp_tool_call" => item.result.map(mcp_text),
        "collab_tool_call" => {
            let states = item.agents_states.as_ref()?.values();
            let messages: Vec<&str> = states
                .filter_map(|state| state.message.as_deref())
                .collect();
            (!messages.is_empty()).then(|| messages.join("\n"))
        }
        _ => None,
    }
}

/// An MCP tool's answer as text: its blocks on lines of their own.
pub(super) fn mcp_text(raw: &RawValue) -> String {
    let Some(result) = typed::<McpResult<'_>>(Some(raw)) else {
        return raw.get().to_owned();
    };
    let blocks = result.content.unwrap_or_default();
    if let (true, Some(structured)) = (blocks.is_empty(), result.structured_content) {
        return structured.get().to_owned();
    }
    let shown = blocks
        .into_iter()
        .map(|block| match (block.text, block.media_type) {
            (Some(text), _) => text.0.into_owned(),
            (None, Some(media)) => format!("[{} {}]", &*block.kind, &*media),
            (None, None) => format!("[{}]", &*block.kind),
        });
    shown.collect::<Vec<_>>().join("\n")
}
