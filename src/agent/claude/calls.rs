//! Tool calls: every start gets its end, by id, in whatever order the results come.
//!
//! Also what results say beyond their text: changed files and the to-do list.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::record::{Block, ToolOutcome, ToolResult};
use super::tools;
use crate::agent::diff;
use crate::agent::json::typed;
use crate::event::{Event, FileChangeKind, PlanItem};

/// Files that were read or written are remembered up to this many, to tell a new file from an
/// overwritten one.
const FILES_REMEMBERED: usize = 1024;

/// What is open, and what calls have done so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Calls {
    open: Vec<OpenCall>,
    files: BTreeSet<u64>,
    plan: Vec<Task>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct OpenCall {
    id: String,
    native: String,
    file: Option<String>,
    in_main: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Task {
    id: String,
    text: String,
    status: String,
}

impl Calls {
    /// The normalized input of a call that has not begun.
    pub(super) fn input(&self, native: &str, input: &Value) -> Value {
        let raw = serde_json::value::to_raw_value(input).ok();
        tools::input(native, raw.as_deref(), &self.files)
    }

    /// A `tool_use` block, whole.
    pub(super) fn start(&mut self, parent: Option<&str>, block: &Block<'_>, out: &mut Vec<Event>) {
        let (Some(id), Some(native)) = (&block.id, &block.name) else {
            return;
        };
        if self.open.iter().any(|call| call.id == **id) {
            return;
        }
        let input = tools::input(native, block.input, &self.files);
        self.open.push(OpenCall {
            id: id.to_string(),
            native: native.to_string(),
            file: tools::file(&input).map(str::to_owned),
            in_main: parent.is_none(),
        });
        out.push(Event::ToolStart {
            call_id: id.to_string(),
            name: tools::name(native).to_owned(),
            native_name: native.to_string(),
            input,
            parent_call_id: parent.map(str::to_owned),
        });
    }

    /// A `tool_result` block; `outcome` is the record's structured result, if it is this call's.
    /// Whether the call has work that goes on in the background.
    pub(super) fn end(
        &mut self,
        call_id: &str,
        block: &ToolResult<'_>,
        outcome: Option<&RawValue>,
        cwd: Option<&str>,
        out: &mut Vec<Event>,
    ) -> bool {
        let at = self.open.iter().position(|call| call.id == call_id);
        let call = at.map(|at| self.open.remove(at));
        let native = call.as_ref().map_or("", |call| call.native.as_str());
        let is_error = block.is_error == Some(true);
        let output = block.content.map(text);
        // reading it means a scan of all of it, and a file that was read is in there twice
        let outcome: ToolOutcome<'_> = match tools::name(native) {
            "read" => ToolOutcome::default(),
            _ => typed(outcome).unwrap_or_default(),
        };
        if let (Some(call), false) = (&call, is_error) {
            self.changed(call, &outcome, cwd, out);
        }
        out.push(Event::ToolEnd {
            call_id: call_id.to_owned(),
            // a call whose start was lost still gets its end
            name: call
                .as_ref()
                .map_or("unknown", |_| tools::name(native))
                .to_owned(),
            is_error,
            exit_code: output
                .as_deref()
                .filter(|_| is_error)
                .and_then(|output| tools::exit_code(native, output)),
            duration_ms: outcome.total_duration_ms.or(outcome.duration_ms).map(whole),
            output,
        });
        if call.is_some_and(|call| call.in_main) && !is_error {
            self.planned(&outcome, out);
        }
        let status = outcome.status.map(RawValue::get);
        outcome.background_task_id.is_some() || status == Some("\"async_launched\"")
    }

    /// The process is gone: what is open will not end by itself.
    pub(super) fn interrupt(&mut self, out: &mut Vec<Event>) {
        for call in self.open.drain(..) {
            out.push(Event::ToolEnd {
                call_id: call.id,
                name: tools::name(&call.native).to_owned(),
                output: None,
                is_error: true,
                exit_code: None,
                duration_ms: None,
            });
        }
    }

    fn changed(
        &mut self,
        call: &OpenCall,
        outcome: &ToolOutcome<'_>,
        cwd: Option<&str>,
        out: &mut Vec<Event>,
    ) {
        let path = outcome.file_path.as_deref().or(call.file.as_deref());
        let Some(path) = path else {
            return;
        };
        if self.files.len() < FILES_REMEMBERED {
            self.files.insert(tools::file_key(path));
        }
        if !matches!(tools::name(&call.native), "write" | "edit") {
            return;
        }
        let shown = cwd
            .and_then(|cwd| path.strip_prefix(cwd)?.strip_prefix('/'))
            .unwrap_or_else(|| path.trim_start_matches('/'));
        let created = outcome.kind.is_some_and(|kind| kind.get() == "\"create\"");
        let hunks = outcome.structured_patch.as_deref().unwrap_or_default();
        let diff = match typed::<String>(outcome.content) {
            Some(content) if created => Some(diff::created(shown, &content)),
            _ if hunks.is_empty() => None,
            _ => Some(diff::edited(shown, hunks)),
        };
        out.push(Event::FileChange {
            path: path.to_owned(),
            kind: if created {
                FileChangeKind::Create
            } else {
                FileChangeKind::Edit
            },
            diff,
            call_id: Some(call.id.clone()),
        });
    }

    fn planned(&mut self, outcome: &ToolOutcome<'_>, out: &mut Vec<Event>) {
        if let Some(todos) = &outcome.new_todos {
            let task = |todo: &super::record::Todo| Task {
                id: String::new(),
                text: todo.content.clone(),
                status: todo.status.clone(),
            };
            self.plan = todos.iter().map(task).collect();
        } else if let Some(task) = &outcome.task {
            self.plan.push(Task {
                id: task.id.clone(),
                text: task.subject.clone(),
                status: "pending".to_owned(),
            });
        } else if let (Some(id), Some(change)) = (&outcome.task_id, &outcome.status_change) {
            if change.to == "deleted" {
                self.plan.retain(|task| task.id != *id);
            } else if let Some(task) = self.plan.iter_mut().find(|task| task.id == *id) {
                task.status.clone_from(&change.to);
            }
        } else {
            return;
        }
        let item = |task: &Task| PlanItem {
            text: task.text.clone(),
            status: task.status.clone(),
        };
        out.push(Event::Plan {
            items: self.plan.iter().map(item).collect(),
        });
    }
}

/// A result's content as text: a string, or blocks whose texts stand on lines of their own.
fn text(content: &RawValue) -> String {
    if let Ok(text) = serde_json::from_str::<String>(content.get()) {
        return text;
    }
    let Ok(blocks) = serde_json::from_str::<Vec<Block<'_>>>(content.get()) else {
        return content.get().to_owned();
    };
    let shown = |block: Block<'_>| match (block.text, block.source) {
        (Some(text), _) => text.0.into_owned(),
        (None, Some(source)) => {
            let media = source.media_type.unwrap_or_default();
            format!("[{} {}]", &*block.kind, &*media)
        }
        (None, None) => format!("[{}]", &*block.kind),
    };
    blocks.into_iter().map(shown).collect::<Vec<_>>().join("\n")
}

/// Milliseconds that the CLI measured as a float.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates: what it should do
pub(super) fn whole(millis: f64) -> u64 {
    millis.round() as u64
}
