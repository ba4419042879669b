//! The records of Pi 0.74.2's `--mode json`, borrowed from their line.
//!
//! Every delta comes with the whole message so far, twice. Only fields that are used are named,
//! so that the rest is skipped.

#![allow(clippy::struct_field_names)] // the names are the CLI's

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::agent::json::Text;

/// The fields of all records.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    /// `session`
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    /// `session`
    #[serde(borrow)]
    pub(super) cwd: Option<Text<'a>>,
    /// `message_start`, `message_end`
    #[serde(borrow)]
    pub(super) message: Option<&'a RawValue>,
    /// `message_update`
    #[serde(borrow)]
    pub(super) assistant_message_event: Option<Delta<'a>>,
    /// `tool_execution_*`
    #[serde(borrow)]
    pub(super) tool_call_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) tool_name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) args: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) partial_result: Option<&'a RawValue>,
    /// `tool_execution_end`, `compaction_end`
    #[serde(borrow)]
    pub(super) result: Option<&'a RawValue>,
    pub(super) is_error: Option<bool>,
    /// `auto_retry_start`
    pub(super) attempt: Option<u64>,
    pub(super) max_attempts: Option<u64>,
    pub(super) delay_ms: Option<u64>,
    #[serde(borrow)]
    pub(super) error_message: Option<Text<'a>>,
    /// `auto_retry_end`
    pub(super) success: Option<bool>,
    /// `compaction_start`, `compaction_end`
    #[serde(borrow)]
    pub(super) reason: Option<Text<'a>>,
}

/// `message_update.assistantMessageEvent`
#[derive(Debug, Deserialize)]
pub(super) struct Delta<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) delta: Option<Text<'a>>,
}

/// A message of the conversation.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) role: Text<'a>,
    /// Milliseconds since the epoch.
    pub(super) timestamp: Option<u64>,
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    /// `stop`, `length`, `toolUse`, `error`, `aborted`
    #[serde(borrow)]
    pub(super) stop_reason: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) error_message: Option<Text<'a>>,
    pub(super) usage: Option<TokenCounts>,
    /// Of the model: whose it is, and which.
    #[serde(borrow)]
    pub(super) provider: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) model: Option<Text<'a>>,
}

/// `tool_execution_update.partialResult`, `tool_execution_end.result`
#[derive(Debug, Deserialize)]
pub(super) struct ToolResult<'a> {
    #[serde(borrow)]
    pub(super) content: Vec<Block<'a>>,
}

/// A content block of any kind.
#[derive(Debug, Deserialize)]
pub(super) struct Block<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) thinking: Option<Text<'a>>,
}

/// `compaction_end.result`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Compacted {
    pub(super) tokens_before: Option<u64>,
}

/// `message.usage`: `input` is without cache reads and writes.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct TokenCounts {
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) cache_read: u64,
    pub(super) cache_write: u64,
    pub(super) total_tokens: u64,
    pub(super) cost: Cost,
}

/// `message.usage.cost`, in US dollars.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct Cost {
    pub(super) total: f64,
}
