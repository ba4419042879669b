//! The records of Claude Code 2.1.197's stream-json, borrowed from their line.
//!
//! Only fields that are used are named. What varies in shape stays raw until it is known what it
//! must be, so that one odd field never costs the whole record.

#![allow(clippy::struct_field_names)] // the names are the CLI's

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::agent::diff::Hunk;
use crate::agent::json::Text;
use crate::event::Usage;

/// What every record may have at its top.
#[derive(Debug, Deserialize)]
pub(super) struct Record<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) subtype: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) session_id: Option<Text<'a>>,
}

/// `stream_event`, with what else is used of it.
#[derive(Debug, Deserialize)]
pub(super) struct StreamRecord<'a> {
    #[serde(borrow)]
    pub(super) parent_tool_use_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) event: StreamEvent<'a>,
}

/// `assistant`
#[derive(Debug, Deserialize)]
pub(super) struct AssistantRecord<'a> {
    #[serde(borrow)]
    pub(super) parent_tool_use_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) message: Message<'a>,
    /// The record stands in place of an answer.
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

/// `user`
#[derive(Debug, Deserialize)]
pub(super) struct UserRecord<'a> {
    #[serde(borrow)]
    pub(super) message: UserMessage<'a>,
    #[serde(borrow)]
    pub(super) tool_use_result: Option<&'a RawValue>,
}

/// `user.message`
#[derive(Debug, Deserialize)]
pub(super) struct UserMessage<'a> {
    #[serde(borrow)]
    pub(super) content: ToolResults<'a>,
}

/// What is used of a message to the model. The rest (all of it, where the content is one string)
/// is passed over.
#[derive(Debug)]
pub(super) struct ToolResults<'a>(pub(super) Vec<ToolResult<'a>>);

/// A content block of kind `tool_result`.
#[derive(Debug, Deserialize)]
pub(super) struct ToolResult<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    pub(super) tool_use_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    pub(super) is_error: Option<bool>,
}

impl<'de: 'a, 'a> Deserialize<'de> for ToolResults<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Blocks;
        impl<'de> Visitor<'de> for Blocks {
            type Value = ToolResults<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or content blocks")
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
                Ok(ToolResults(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut blocks: A) -> Result<Self::Value, A::Error> {
                let mut results = Vec::new();
                while let Some(block) = blocks.next_element::<ToolResult<'_>>()? {
                    if &*block.kind == "tool_result" {
                        results.push(block);
                    }
                }
                Ok(ToolResults(results))
            }
        }
        deserializer.deserialize_any(Blocks)
    }
}

/// `stream_event.event`: an event of the Messages API.
#[derive(Debug, Deserialize)]
pub(super) struct StreamEvent<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    pub(super) index: Option<u64>,
    #[serde(borrow)]
    pub(super) delta: Option<Delta<'a>>,
    #[serde(borrow)]
    pub(super) content_block: Option<Block<'a>>,
    #[serde(borrow)]
    pub(super) message: Option<Message<'a>>,
    pub(super) usage: Option<TokenCounts>,
}

/// `content_block_delta.delta`; of `message_delta.delta` nothing is used.
#[derive(Debug, Deserialize)]
pub(super) struct Delta<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) thinking: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) partial_json: Option<Text<'a>>,
}

/// A message of the model, or to it.
#[derive(Debug, Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    pub(super) usage: Option<TokenCounts>,
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
    /// `tool_use`
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
    /// `image`
    #[serde(borrow)]
    pub(super) source: Option<Source<'a>>,
}

/// Where an image comes from.
#[derive(Debug, Deserialize)]
pub(super) struct Source<'a> {
    #[serde(borrow)]
    pub(super) media_type: Option<Text<'a>>,
}

/// Tokens as the Messages API counts them: `input_tokens` is without cache reads and writes.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct TokenCounts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

impl From<TokenCounts> for Usage {
    fn from(counts: TokenCounts) -> Self {
        Self {
            input_tokens: counts.input_tokens.unwrap_or(0),
            output_tokens: counts.output_tokens.unwrap_or(0),
            cache_read_tokens: counts.cache_read_input_tokens.unwrap_or(0),
            cache_write_tokens: counts.cache_creation_input_tokens.unwrap_or(0),
            cost_usd: None,
        }
    }
}

/// `system/init`
#[derive(Debug, Deserialize)]
pub(super) struct Init<'a> {
    #[serde(borrow)]
    pub(super) session_id: Text<'a>,
    #[serde(borrow)]
    pub(super) model: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) cwd: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) tools: Option<&'a RawValue>,
}

/// `system/task_started`, `task_progress`, `task_updated`, `task_notification`
#[derive(Debug, Deserialize)]
pub(super) struct Task<'a> {
    #[serde(borrow)]
    pub(super) task_id: Text<'a>,
    #[serde(borrow)]
    pub(super) tool_use_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) description: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) patch: Option<TaskPatch<'a>>,
}

/// `system/task_updated.patch`
#[derive(Debug, Deserialize)]
pub(super) struct TaskPatch<'a> {
    #[serde(borrow)]
    pub(super) status: Option<Text<'a>>,
}

/// `system/api_retry`
#[derive(Debug, Deserialize)]
pub(super) struct Retry<'a> {
    pub(super) attempt: Option<u64>,
    pub(super) max_retries: Option<u64>,
    pub(super) retry_delay_ms: Option<f64>,
    pub(super) error_status: Option<u16>,
    #[serde(borrow)]
    pub(super) error: Option<Text<'a>>,
}

/// `system/compact_boundary`: from the CLI's own schema, not seen
#[derive(Debug, Deserialize)]
pub(super) struct CompactBoundary {
    pub(super) compact_metadata: CompactMetadata,
}

/// `system/compact_boundary.compact_metadata`
#[derive(Debug, Deserialize)]
pub(super) struct CompactMetadata {
    pub(super) trigger: Option<String>,
    pub(super) pre_tokens: Option<u64>,
    pub(super) post_tokens: Option<u64>,
}

/// `rate_limit_event`: written with an OAuth login only
#[derive(Debug, Deserialize)]
pub(super) struct RateLimitEvent {
    pub(super) rate_limit_info: RateLimitInfo,
}

/// `rate_limit_event.rate_limit_info`; `resetsAt` is in seconds.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RateLimitInfo {
    pub(super) status: String,
    pub(super) resets_at: Option<u64>,
    pub(super) rate_limit_type: Option<String>,
}

/// `result`
#[derive(Debug, Deserialize)]
pub(super) struct ResultRecord<'a> {
    #[serde(borrow)]
    pub(super) subtype: Option<Text<'a>>,
    pub(super) is_error: bool,
    #[serde(borrow)]
    pub(super) result: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) structured_output: Option<&'a RawValue>,
    pub(super) errors: Option<Vec<String>>,
    pub(super) api_error_status: Option<u16>,
    #[serde(borrow)]
    pub(super) terminal_reason: Option<Text<'a>>,
    pub(super) total_cost_usd: Option<f64>,
    pub(super) usage: Option<TokenCounts>,
    #[serde(rename = "modelUsage")]
    pub(super) model_usage: Option<BTreeMap<String, ModelUsage>>,
    #[serde(borrow)]
    pub(super) permission_denials: Option<Vec<Denial<'a>>>,
}

/// `result.modelUsage` of one model: since the process began, sub-agents included.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ModelUsage {
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) cache_read_input_tokens: u64,
    pub(super) cache_creation_input_tokens: u64,
    pub(super) context_window: Option<u64>,
}

impl From<ModelUsage> for Usage {
    fn from(model: ModelUsage) -> Self {
        Self {
            input_tokens: model.input_tokens,
            output_tokens: model.output_tokens,
            cache_read_tokens: model.cache_read_input_tokens,
            cache_write_tokens: model.cache_creation_input_tokens,
            cost_usd: None,
        }
    }
}

/// `result.permission_denials[]`
#[derive(Debug, Deserialize)]
pub(super) struct Denial<'a> {
    #[serde(borrow)]
    pub(super) tool_name: Text<'a>,
    #[serde(borrow)]
    pub(super) tool_use_id: Option<Text<'a>>,
}

/// `user.tool_use_result` where it is an object: the fields of all tools that matter.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ToolOutcome<'a> {
    /// Write: `create` or `update`
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) file_path: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    pub(super) structured_patch: Option<Vec<Hunk>>,
    /// `Agent` run in the background: `async_launched`
    #[serde(borrow)]
    pub(super) status: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) background_task_id: Option<&'a RawValue>,
    pub(super) duration_ms: Option<f64>,
    pub(super) total_duration_ms: Option<f64>,
    /// `TodoWrite`
    pub(super) new_todos: Option<Vec<Todo>>,
    /// `TaskCreate`
    pub(super) task: Option<CreatedTask>,
    /// `TaskUpdate`
    pub(super) task_id: Option<String>,
    pub(super) status_change: Option<StatusChange>,
}

/// An entry of `TodoWrite`.
#[derive(Debug, Deserialize)]
pub(super) struct Todo {
    pub(super) content: String,
    pub(super) status: String,
}

/// `TaskCreate`'s result.
#[derive(Debug, Deserialize)]
pub(super) struct CreatedTask {
    pub(super) id: String,
    pub(super) subject: String,
}

/// `TaskUpdate`'s result; `to` may be `deleted`.
#[derive(Debug, Deserialize)]
pub(super) struct StatusChange {
    pub(super) to: String,
}
