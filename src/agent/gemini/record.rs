//! The records of Gemini CLI 0.61.0's stream-json, borrowed from their line.
//!
//! Only fields that are used are named.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::agent::json::Text;
use crate::event::Usage;

/// The fields of all records.
#[derive(Debug, Deserialize)]
pub(super) struct Record<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    /// When it was written. Of no use as a clock, but no two messages begin with the same one
    /// and the same number.
    #[serde(borrow)]
    pub(super) timestamp: Option<Text<'a>>,
    /// `init`
    #[serde(borrow)]
    pub(super) session_id: Option<Text<'a>>,
    /// `init`
    #[serde(borrow)]
    pub(super) model: Option<Text<'a>>,
    /// `message`: `user` or `assistant`
    #[serde(borrow)]
    pub(super) role: Option<Text<'a>>,
    /// `message`: a piece of the text; read only where it is the agent's
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    /// `tool_use`
    #[serde(borrow)]
    pub(super) tool_name: Option<Text<'a>>,
    /// `tool_use`, `tool_result`
    #[serde(borrow)]
    pub(super) tool_id: Option<Text<'a>>,
    /// `tool_use`
    #[serde(borrow)]
    pub(super) parameters: Option<&'a RawValue>,
    /// `tool_result`, `result`: `success` or `error`
    #[serde(borrow)]
    pub(super) status: Option<Text<'a>>,
    /// `tool_result`: what a person is shown, not what the model was given
    #[serde(borrow)]
    pub(super) output: Option<Text<'a>>,
    /// `tool_result`, `result`
    #[serde(borrow)]
    pub(super) error: Option<Failure<'a>>,
    /// `error`: `warning` or `error`
    #[serde(borrow)]
    pub(super) severity: Option<Text<'a>>,
    /// `error`
    #[serde(borrow)]
    pub(super) message: Option<Text<'a>>,
    /// `result`
    pub(super) stats: Option<Stats>,
}

/// `tool_result.error`, `result.error`
#[derive(Debug, Deserialize)]
pub(super) struct Failure<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) message: Option<Text<'a>>,
}

/// `result.stats`: of the process from its start, sub-agents and side calls included.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Stats {
    total_tokens: u64,
    /// The whole prompt.
    input_tokens: u64,
    /// Without thoughts.
    output_tokens: u64,
    cached: u64,
}

impl From<Stats> for Usage {
    fn from(stats: Stats) -> Self {
        Self {
            input_tokens: stats.input_tokens.saturating_sub(stats.cached),
            // thoughts are in the total alone
            output_tokens: stats
                .total_tokens
                .saturating_sub(stats.input_tokens)
                .max(stats.output_tokens),
            cache_read_tokens: stats.cached,
            cache_write_tokens: 0,
            cost_usd: None,
        }
    }
}
