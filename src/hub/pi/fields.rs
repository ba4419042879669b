//! The fields of the frequent frames: borrowed, so that a large output is not copied for each.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// `message_start` and `message_end`.
#[derive(Serialize)]
pub(super) struct Shown<'a, M: Serialize> {
    pub(super) message: &'a M,
}

/// `tool_result`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResultFields<'a> {
    pub(super) tool_call_id: &'a str,
    pub(super) tool_name: &'a str,
    pub(super) input: &'a Value,
    pub(super) content: &'a RawValue,
    pub(super) is_error: bool,
    pub(super) details: &'a Value,
}

/// `tool_execution_end`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EndFields<'a> {
    pub(super) tool_call_id: &'a str,
    pub(super) tool_name: &'a str,
    pub(super) is_error: bool,
    pub(super) result: Outcome<'a>,
}

/// What a tool call came to.
#[derive(Serialize)]
pub(super) struct Outcome<'a> {
    pub(super) content: &'a RawValue,
    pub(super) details: &'a Value,
}

/// `turn_end`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TurnEndFields<'a> {
    pub(super) turn_index: u64,
    pub(super) message: &'a Value,
    pub(super) tool_results: &'a VecDeque<Box<RawValue>>,
}

/// `agent_end`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AgentEndFields<'a> {
    pub(super) agent_name: &'static str,
    pub(super) messages: &'a VecDeque<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) omitted_messages: Option<u64>,
}
