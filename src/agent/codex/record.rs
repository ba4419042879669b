//! The records of `codex exec --json` 0.169.0, borrowed from their line.
//!
//! Only fields that are used are named. What varies in shape stays raw until it is known what it
//! must be, so that one odd field never costs the whole record.

#![allow(clippy::struct_field_names)] // the names are the CLI's

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::agent::json::Text;
use crate::event::Usage;

/// What every record may have at its top.
#[derive(Debug, Deserialize)]
pub(super) struct Record<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    /// `thread.started`
    #[serde(borrow)]
    pub(super) thread_id: Option<&'a RawValue>,
    /// `item.started`, `item.updated`, `item.completed`
    #[serde(borrow)]
    pub(super) item: Option<&'a RawValue>,
    /// `turn.completed`
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    /// `error`
    #[serde(borrow)]
    pub(super) message: Option<&'a RawValue>,
    /// `turn.failed`
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

/// An item of any type: what the agent said or did.
#[derive(Debug, Deserialize)]
pub(super) struct Item<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    /// `agent_message`, `reasoning`
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
    /// `error`
    #[serde(borrow)]
    pub(super) message: Option<Text<'a>>,
    /// `command_execution`
    #[serde(borrow)]
    pub(super) command: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) aggregated_output: Option<Text<'a>>,
    pub(super) exit_code: Option<i32>,
    /// All calls: `in_progress`, `completed`, `failed`, `declined`
    #[serde(borrow)]
    pub(super) status: Option<Text<'a>>,
    /// `file_change`
    #[serde(borrow)]
    pub(super) changes: Option<Vec<Change<'a>>>,
    /// `mcp_tool_call`; `collab_tool_call` has `tool` as well
    #[serde(borrow)]
    pub(super) server: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) tool: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) result: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
    /// `collab_tool_call`
    #[serde(borrow)]
    pub(super) prompt: Option<Text<'a>>,
    pub(super) receiver_thread_ids: Option<Vec<String>>,
    pub(super) agents_states: Option<BTreeMap<String, AgentState>>,
    /// `web_search`: from the CLI's own schema, not seen
    #[serde(borrow)]
    pub(super) query: Option<Text<'a>>,
    /// `todo_list`
    pub(super) items: Option<Vec<Todo>>,
}

/// One file of a `file_change`.
#[derive(Debug, Deserialize)]
pub(super) struct Change<'a> {
    #[serde(borrow)]
    pub(super) path: Text<'a>,
    /// `add`, `update`, `delete`
    #[serde(borrow)]
    pub(super) kind: Text<'a>,
}

/// What a sub-agent is at.
#[derive(Debug, Deserialize)]
pub(super) struct AgentState {
    pub(super) message: Option<String>,
}

/// An entry of the `todo_list`.
#[derive(Debug, Deserialize)]
pub(super) struct Todo {
    pub(super) text: String,
    pub(super) completed: bool,
}

/// `turn.failed.error`, `mcp_tool_call.error`
#[derive(Debug, Deserialize)]
pub(super) struct Fault<'a> {
    #[serde(borrow)]
    pub(super) message: Text<'a>,
}

/// `mcp_tool_call.result`
#[derive(Debug, Deserialize)]
pub(super) struct McpResult<'a> {
    #[serde(borrow)]
    pub(super) content: Option<Vec<McpContent<'a>>>,
    #[serde(borrow)]
    pub(super) structured_content: Option<&'a RawValue>,
}

/// A block of an MCP tool's answer.
#[derive(Debug, Deserialize)]
pub(super) struct McpContent<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
    #[serde(borrow, rename = "mimeType")]
    pub(super) media_type: Option<Text<'a>>,
}

/// `turn.completed.usage`, and in live form `thread/tokenUsage/updated`: since the thread began, turns
/// of earlier processes included. The two forms write the names differently.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct TokenCounts {
    /// In live form only.
    #[serde(default, rename = "totalTokens")]
    pub(super) total: u64,
    #[serde(alias = "inputTokens")]
    input_tokens: u64,
    #[serde(default, alias = "cachedInputTokens")]
    cached_input_tokens: u64,
    #[serde(default, alias = "cacheWriteInputTokens")]
    cache_write_input_tokens: u64,
    #[serde(alias = "outputTokens")]
    output_tokens: u64,
}

impl From<TokenCounts> for Usage {
    fn from(counts: TokenCounts) -> Self {
        // what was read from and written to the cache is part of the input
        let cached = counts
            .cached_input_tokens
            .saturating_add(counts.cache_write_input_tokens);
        Self {
            input_tokens: counts.input_tokens.saturating_sub(cached),
            output_tokens: counts.output_tokens,
            cache_read_tokens: counts.cached_input_tokens,
            cache_write_tokens: counts.cache_write_input_tokens,
            cost_usd: None,
        }
    }
}

/// What came on top of `base`.
pub(super) fn since(base: &Usage, total: &Usage) -> Usage {
    Usage {
        input_tokens: total.input_tokens.saturating_sub(base.input_tokens),
        output_tokens: total.output_tokens.saturating_sub(base.output_tokens),
        cache_read_tokens: total
            .cache_read_tokens
            .saturating_sub(base.cache_read_tokens),
        cache_write_tokens: total
            .cache_write_tokens
            .saturating_sub(base.cache_write_tokens),
        cost_usd: None,
    }
}
