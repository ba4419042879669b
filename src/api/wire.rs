//! What goes over the wire, the same types for the server and for the commands.
//!
//! Consumers ignore fields that they do not know; an absent field is absent, never null.
#![allow(missing_docs)] // the fields are the contract's own words, explained in docs/openapi.json

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::config::Approve;
use crate::event::{Outcome, Usage};
use crate::ids::{SessionId, TurnId};
use crate::journal::Room;

/// Why a request was not honoured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub code: String,
    pub message: String,
    pub hint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seq: Option<u64>,
}

/// `GET /healthz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub status: String,
}

/// `GET /v1/daemon`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    pub version: String,
    pub pid: u32,
    pub started_at: Timestamp,
    pub uptime_ms: u64,
    pub state_dir: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// How many sessions there are of each state.
    pub sessions: BTreeMap<SessionState, usize>,
    #[serde(default)]
    pub room: RoomState,
}

/// `GET /v1/hub`. Shown by nothing: the key is one.
#[derive(Clone, Serialize, Deserialize)]
pub struct HubJoin {
    pub address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// How much room there is for events, as in `docs/durability.md`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomState {
    #[default]
    Enough,
    Tight,
    QuotaReached,
    DiskFull,
}

impl From<Room> for RoomState {
    fn from(room: Room) -> Self {
        match room {
            Room::Enough => Self::Enough,
            Room::Tight => Self::Tight,
            Room::QuotaReached => Self::QuotaReached,
            Room::DiskFull => Self::DiskFull,
        }
    }
}

impl From<RoomState> for Room {
    fn from(room: RoomState) -> Self {
        match room {
            RoomState::Enough => Self::Enough,
            RoomState::Tight => Self::Tight,
            RoomState::QuotaReached => Self::QuotaReached,
            RoomState::DiskFull => Self::DiskFull,
        }
    }
}

/// What a session is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    SettingUp,
    Idle,
    Running,
    Stopped,
    Failed,
    Ended,
}

/// A session in few words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSummary {
    pub id: SessionId,
    pub agent: String,
    pub state: SessionState,
    /// What is being set up, or why the session failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    pub cwd: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    pub created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<RunningTurn>,
    pub queued: usize,
    /// Requests of its agent that wait for an answer.
    #[serde(default)]
    pub requests: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

/// The turn that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningTurn {
    pub turn_id: TurnId,
    pub since: Timestamp,
    pub age_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doing: Option<AgentDoing>,
}

/// What the agent of a turn is doing; `state` as in `docs/watching.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentDoing {
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    pub since: Timestamp,
    pub age_ms: u64,
}

/// `GET /v1/sessions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionList {
    pub sessions: Vec<SessionSummary>,
}

/// `GET /v1/sessions/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionStatus {
    #[serde(flatten)]
    pub summary: SessionSummary,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_session_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The last turn that ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_turn: Option<TurnStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkState>,
    pub journal: JournalState,
    /// Of all its turns whose events are kept.
    pub usage: Usage,
}

/// How the link to the Hub stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkState {
    pub phase: String,
    pub since: Timestamp,
    pub age_ms: u64,
    pub in_flight: usize,
    pub unanswered: u64,
    pub losses: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Which events there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalState {
    /// The first that is kept; 0 where there is none.
    pub first_seq: u64,
    /// The last; 0 where there is none.
    pub last_seq: u64,
    /// The Hub has all up to here.
    pub acked_seq: u64,
}

/// Where a turn is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnPhase {
    Queued,
    Running,
    Ended,
}

/// A turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnStatus {
    pub turn_id: TurnId,
    pub state: TurnPhase,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    pub attempts: u32,
    /// At most 500 characters of what was asked.
    pub prompt: String,
    pub prompt_cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_id: Option<String>,
    pub created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_seq: Option<u64>,
}

/// `GET /v1/sessions/{id}/turns`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnList {
    pub turns: Vec<TurnStatus>,
}

/// The body of `POST /v1/sessions`. Its variables are shown by nothing: they may be secrets.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateRequest {
    #[serde(default)]
    pub settings: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    pub cwd: String,
    pub task: String,
    /// Images in base64 that go with the task: PNG, JPEG, GIF or WebP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
}

/// A session that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateAnswer {
    pub session_id: SessionId,
    pub turn_id: TurnId,
    /// The daemon's.
    pub pid: u32,
    pub output_file: String,
}

/// The body of `POST /v1/sessions/{id}/prompts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptRequest {
    pub text: String,
    /// `Name <address>`: on whose behalf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Images in base64: PNG, JPEG, GIF or WebP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_id: Option<String>,
}

/// A prompt that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptAnswer {
    pub session_id: SessionId,
    pub turn_id: TurnId,
}

/// The body of `POST /v1/sessions/{id}/cancel`; it may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// Without giving the CLI time to put its own session in order.
    #[serde(default)]
    pub at_once: bool,
}

/// What was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelAnswer {
    pub turns: Vec<TurnStatus>,
}

/// `GET /v1/sessions/{id}/settings`: what the agent works with. What is absent is its CLI's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsInForce {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    pub approve: Approve,
}

/// The body of `POST /v1/sessions/{id}/settings`; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingsRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<Approve>,
}

/// From when on changed settings count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountsFrom {
    /// The agent's CLI works with them.
    Now,
    /// The running turn goes on as it began.
    NextTurn,
}

/// The settings are changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsAnswer {
    pub settings: SettingsInForce,
    pub counts_from: CountsFrom,
}

/// `GET /v1/sessions/{id}/requests`, the oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestList {
    pub requests: Vec<RequestWaiting>,
}

/// A request of the agent that waits for an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestWaiting {
    pub request_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// As in `tool_start`.
    pub tool: String,
    pub input: Value,
    /// What the agent asks; empty for a call that needs consent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<QuestionAsked>,
    pub since: Timestamp,
    pub age_ms: u64,
    /// When it is denied for want of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// A question of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionAsked {
    pub question: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    pub options: Vec<QuestionOption>,
    /// Whether several may be chosen.
    pub multiple: bool,
}

/// What may be chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionOption {
    pub label: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// What is said to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Allow,
    Deny,
    Cancel,
}

/// The body of `POST /v1/sessions/{id}/requests/{request_id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerRequest {
    pub decision: Decision,
    /// What the agent is told that is denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Another input than the agent asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// To each question, in its order, what is chosen or said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<Vec<Vec<String>>>,
}

/// An answer that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerAccepted {
    pub request_id: String,
    pub decision: Decision,
}
