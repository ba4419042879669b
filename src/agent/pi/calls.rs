//! Pi's tool calls: told when they begin, as their output grows, and when they end.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::record::{Block, Record, ToolResult};
use super::tools;
use crate::agent::hash;
use crate::agent::json::typed;
use crate::event::{Event, FileChangeKind, ToolStream};

/// Files that were read or written are remembered up to this many, to tell a new file from an
/// overwritten one.
const FILES_REMEMBERED: usize = 1024;

/// The calls that are open, and the files that those before them named.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Calls {
    open: Vec<OpenCall>,
    files: BTreeSet<u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct OpenCall {
    id: String,
    native: String,
    file: Option<String>,
    /// How much of its output was given out, and the hash of that.
    shown: (usize, u64),
}

impl Calls {
    /// No call ends any more.
    pub(super) fn interrupt(&mut self, out: &mut Vec<Event>) {
        for call in self.open.drain(..) {
            out.push(Event::ToolEnd {
                name: tools::name(&call.native).to_owned(),
                call_id: call.id,
                output: None,
                is_error: true,
                exit_code: None,
                duration_ms: None,
            });
        }
    }

    pub(super) fn start(
        &mut self,
        record: &Record<'_>,
        out: &mut Vec<Event>,
    ) -> Option<&'static str> {
        let id = record.tool_call_id.as_deref()?;
        let native = record.tool_name.as_deref()?;
        if self.open.iter().any(|call| call.id == id) {
            return Some("start of a call that is open");
        }
        let input = tools::input(native, record.args, &self.files);
        let file = input.get("file_path").and_then(|path| path.as_str());
        self.open.push(OpenCall {
            id: id.to_owned(),
            native: native.to_owned(),
            file: file.map(str::to_owned),
            shown: (0, hash::EMPTY),
        });
        out.push(Event::ToolStart {
            call_id: id.to_owned(),
            name: tools::name(native).to_owned(),
            native_name: native.to_owned(),
            input,
            parent_call_id: None,
        });
        Some("")
    }

    /// The output so far comes whole each time, and once it is long only its end does: then it
    /// cannot be told what of it is new.
    pub(super) fn update(
        &mut self,
        record: &Record<'_>,
        out: &mut Vec<Event>,
    ) -> Option<&'static str> {
        const NOTHING: &str = "output without anything new";
        let id = record.tool_call_id.as_deref()?;
        let result: ToolResult<'_> = typed(record.partial_result)?;
        let Some(call) = self.open.iter_mut().find(|call| call.id == id) else {
            return Some("output of a call that is over");
        };
        let text = text_of(&result);
        let (length, seen) = call.shown;
        let Some((old, new)) = text.split_at_checked(length) else {
            return Some(NOTHING);
        };
        if new.is_empty() || hash::more(hash::EMPTY, old) != seen {
            return Some(NOTHING);
        }
        call.shown = (text.len(), hash::more(seen, new));
        out.push(Event::ToolDelta {
            call_id: id.to_owned(),
            stream: ToolStream::Output,
            text: new.to_owned(),
        });
        Some("")
    }

    pub(super) fn end(
        &mut self,
        record: &Record<'_>,
        out: &mut Vec<Event>,
    ) -> Option<&'static str> {
        let id = record.tool_call_id.as_deref()?;
        let is_error = record.is_error?;
        let output = match typed::<ToolResult<'_>>(record.result) {
            Some(result) => Some(text_of(&result)),
            None => record.result.map(|result| result.get().to_owned()),
        };
        let at = self.open.iter().position(|call| call.id == id);
        let call = at.map(|at| self.open.remove(at));
        if let (Some(call), false) = (&call, is_error) {
            self.changed(call, out);
        }
        let native = call.as_ref().map_or("", |call| call.native.as_str());
        out.push(Event::ToolEnd {
            call_id: id.to_owned(),
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
            duration_ms: None,
            output,
        });
        Some("")
    }

    fn changed(&mut self, call: &OpenCall, out: &mut Vec<Event>) {
        let Some(path) = &call.file else {
            return;
        };
        let key = tools::file_key(path);
        let known = self.files.contains(&key);
        if self.files.len() < FILES_REMEMBERED {
            self.files.insert(key);
        }
        let kind = match call.native.as_str() {
            "write" if !known => FileChangeKind::Create,
            "write" | "edit" => FileChangeKind::Edit,
            _ => return,
        };
        out.push(Event::FileChange {
            path: path.clone(),
            kind,
            diff: None,
            call_id: Some(call.id.clone()),
        });
    }
}

/// A result's text; what is no text is named.
fn text_of(result: &ToolResult<'_>) -> String {
    let shown = |block: &Block<'_>| match &block.text {
        Some(text) => text.to_string(),
        None => format!("[{}]", &*block.kind),
    };
    let texts: Vec<String> = result.content.iter().map(shown).collect();
    texts.join("\n")
}
