//! The records of OpenCode 1.18.33's `run --format json`, borrowed from their line.
//!
//! Only fields that are used are named. What varies in shape stays raw until it is known what it
//! must be, so that one odd field never costs the whole record.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::agent::json::Text;
use crate::event::Usage;

/// What every record has at its top.
#[derive(Debug, Deserialize)]
pub(super) struct Record<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow, rename = "sessionID")]
    pub(super) session: Text<'a>,
    /// All types but `error`
    #[serde(borrow)]
    pub(super) part: Option<&'a RawValue>,
    /// `error`
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

/// A part of a message, of any type.
#[derive(Debug, Deserialize)]
pub(super) struct Part<'a> {
    /// Ids of parts sort by the time of their making.
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow, rename = "messageID")]
    pub(super) message: Text<'a>,
    /// Known from the record's own type, where there is one.
    #[serde(borrow, rename = "type", default)]
    pub(super) kind: Text<'a>,
    /// `text`, `reasoning`
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
    /// `text` that OpenCode itself says to the model
    pub(super) synthetic: Option<bool>,
    /// `text`
    #[serde(borrow)]
    pub(super) metadata: Option<&'a RawValue>,
    /// `tool_use`
    #[serde(borrow)]
    pub(super) tool: Option<Text<'a>>,
    #[serde(borrow, rename = "callID")]
    pub(super) call: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) state: Option<State<'a>>,
    /// `step_finish`
    #[serde(borrow)]
    pub(super) reason: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) cost: Option<&'a RawValue>,
}

/// `tool_use.part.state`
#[derive(Debug, Deserialize)]
pub(super) struct State<'a> {
    #[serde(borrow)]
    pub(super) status: Text<'a>,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) output: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) error: Option<Text<'a>>,
    /// Of tools for files: the path, relative to the work tree.
    #[serde(borrow)]
    pub(super) title: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) time: Option<&'a RawValue>,
}

/// `tool_use.part.state.time`, in milliseconds since the epoch.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Time {
    pub(super) start: Option<u64>,
    pub(super) end: Option<u64>,
    /// When OpenCode dropped an old call's output from the context: then the record is said again,
    /// possibly in a later turn. From its source, not seen.
    pub(super) compacted: Option<u64>,
}

/// `tool_use.part.state.metadata`: the fields of all tools that matter.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Metadata<'a> {
    /// `bash`; null for a command that was ended
    pub(super) exit: Option<i32>,
    /// `bash`: all so far, while that is not much
    #[serde(borrow)]
    pub(super) output: Option<Text<'a>>,
    /// `write`: whether the file was there
    pub(super) exists: Option<bool>,
    #[serde(borrow)]
    pub(super) filepath: Option<Text<'a>>,
    /// `edit`
    #[serde(borrow)]
    pub(super) diff: Option<Text<'a>>,
    /// `todowrite`
    pub(super) todos: Option<Vec<Todo>>,
    /// `apply_patch`
    pub(super) files: Option<Vec<PatchedFile>>,
}

/// An entry of the to-do list.
#[derive(Debug, Deserialize)]
pub(super) struct Todo {
    pub(super) content: String,
    pub(super) status: String,
}

/// A file that `apply_patch` changed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PatchedFile {
    pub(super) file_path: String,
    pub(super) relative_path: Option<String>,
    /// `add`, `update`, `delete` or `move`
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) patch: Option<String>,
    pub(super) move_path: Option<String>,
}

/// `text.part.metadata`
#[derive(Debug, Default, Deserialize)]
pub(super) struct TextMetadata {
    /// OpenCode has put a summary in place of the conversation and asks the model to go on.
    pub(super) compaction_continue: Option<bool>,
}

/// `step_finish.part.tokens`: of one request. `input` is without cache reads and writes, `output`
/// without reasoning.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tokens {
    input: u64,
    output: u64,
    reasoning: u64,
    cache: CacheTokens,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CacheTokens {
    read: u64,
    write: u64,
}

impl From<Tokens> for Usage {
    fn from(tokens: Tokens) -> Self {
        Self {
            input_tokens: tokens.input,
            output_tokens: tokens.output.saturating_add(tokens.reasoning),
            cache_read_tokens: tokens.cache.read,
            cache_write_tokens: tokens.cache.write,
            cost_usd: None,
        }
    }
}

/// `error.error`
#[derive(Debug, Deserialize)]
pub(super) struct ErrorRecord<'a> {
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) data: Option<&'a RawValue>,
}

/// `error.error.data`
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ErrorData<'a> {
    #[serde(borrow)]
    pub(super) message: Option<Text<'a>>,
    pub(super) status_code: Option<u16>,
    pub(super) response_headers: Option<BTreeMap<String, String>>,
    #[serde(borrow)]
    pub(super) response_body: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) metadata: Option<&'a RawValue>,
    /// By which the log on stderr names the same error.
    #[serde(borrow, rename = "ref")]
    pub(super) reference: Option<Text<'a>>,
}
