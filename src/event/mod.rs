//! The normalized vocabulary: what any agent CLI does, in one set of typed events.
//!
//! The names and fields are a published contract (`docs/events.md`): consumers ignore types that
//! they do not know, and an absent field is absent, never null. This module is data only.

mod envelope;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::image::ImageNote;

pub use envelope::{Envelope, EnvelopeError, Header};

/// The code of the notice behind which the agent knows nothing of what was before.
pub const NEW_CONVERSATION: &str = "new_conversation";

/// The code of the notice that the agent has taken up what it was asked, although its output showed
/// nothing of it before it was cut off.
pub const TAKEN_UP: &str = "taken_up";

/// One normalized event, without its envelope.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(missing_docs)] // the fields are the contract's own words, explained in docs/events.md
pub enum Event {
    /// What the agent is asked: first event of every turn, and again for each message into it.
    /// `author` is on whose behalf, as `Name <address>`, where the asker says so; `images` says which
    /// images go with it, without their bytes.
    Prompt {
        text: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        prompt_id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        author: Option<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        images: Vec<ImageNote>,
    },
    /// The CLI says who it is; `id` is its own session id.
    Session {
        id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        model: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cwd: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tools: Option<Vec<String>>,
        /// Its model has begun to answer: what it was asked is in its conversation, and calls that
        /// the CLI tells only when they are over may have begun.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        at_work: bool,
    },
    /// A piece of the agent's answer; pieces of one message join to its text.
    Token {
        text: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        message_id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        parent_call_id: Option<String>,
    },
    /// A piece of the agent's reasoning.
    Thinking {
        text: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        message_id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        parent_call_id: Option<String>,
    },
    /// All text of that message so far was a draft that the CLI took back.
    TextRetracted { message_id: String },
    /// A tool call begins; `name` is normalized, `native_name` the CLI's own.
    ToolStart {
        call_id: String,
        name: String,
        native_name: String,
        input: Value,
        #[serde(skip_serializing_if = "Option::is_none")]
        parent_call_id: Option<String>,
    },
    /// More of a running call's input or output.
    ToolDelta {
        call_id: String,
        stream: ToolStream,
        text: String,
    },
    /// A tool call is over.
    ToolEnd {
        call_id: String,
        name: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        output: Option<String>,
        is_error: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// The agent changed a file; `diff` is unified.
    FileChange {
        path: String,
        kind: FileChangeKind,
        #[serde(skip_serializing_if = "Option::is_none")]
        diff: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        call_id: Option<String>,
    },
    /// The agent's to-do list, whole.
    Plan { items: Vec<PlanItem> },
    /// A tool call waits for consent.
    PermissionRequest {
        request_id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        call_id: Option<String>,
        tool: String,
        input: Value,
        options: Vec<String>,
    },
    /// The answer to a permission request.
    PermissionResponse {
        request_id: String,
        decision: String,
        by: String,
    },
    /// The vendor's rate limit, as the CLI reports it.
    RateLimit {
        status: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        resets_at: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        window: Option<String>,
    },
    /// How full the model's context is.
    Context {
        used_tokens: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        max_tokens: Option<u64>,
    },
    /// The CLI shortened its context.
    Compaction {
        #[serde(skip_serializing_if = "Option::is_none")]
        trigger: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        before_tokens: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        after_tokens: Option<u64>,
    },
    /// Tokens and cost; the last one of a turn holds its totals.
    Usage(Usage),
    /// Output of preparing the workspace.
    Setup {
        step: String,
        stream: String,
        text: String,
    },
    /// The workspace's state was kept under a hidden ref.
    Checkpoint {
        r#ref: String,
        files: u64,
        insertions: u64,
        deletions: u64,
    },
    /// An expected report file, checked.
    Report {
        path: String,
        ok: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// Absent where it is false.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unchanged: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        content: Option<String>,
    },
    /// Something a person should know; `code` is stable.
    Notice {
        level: NoticeLevel,
        code: String,
        text: String,
    },
    /// Events `from_seq..=to_seq` cannot be had; `why` says so.
    Gap {
        from_seq: u64,
        to_seq: u64,
        why: String,
    },
    /// Output that is no record of the CLI's protocol (or none that is known).
    Raw {
        stream: RawStream,
        text: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        span: Option<[u64; 2]>,
    },
    /// An attempt's process died without its terminal record.
    AgentCrashed {
        message: String,
        cause: CrashCause,
        #[serde(skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
        output: String,
        will_resume: bool,
    },
    /// The turn is over: exactly one a turn, its last event.
    End {
        outcome: Outcome,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<TurnError>,
        #[serde(skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
}

/// Which side of a tool call a delta belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ToolStream {
    Input,
    Output,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum FileChangeKind {
    Create,
    Edit,
    Delete,
    Rename,
}

/// One line of the agent's plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PlanItem {
    pub text: String,
    pub status: String,
}

/// Token counts; `input_tokens` counts cache reads out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum NoticeLevel {
    Info,
    Warning,
    Error,
}

/// Where raw output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum RawStream {
    Stdout,
    Stderr,
}

/// Why an attempt died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum CrashCause {
    Exit,
    Signal,
    Oom,
    Hang,
    Lost,
}

/// How a turn ended. `Completed` needs the CLI's own terminal record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Outcome {
    Completed,
    Failed,
    Cancelled,
    TimedOut,
    Crashed,
    Incomplete,
    Unkillable,
    Unknown,
}

/// Why a turn did not complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct TurnError {
    pub class: ErrorClass,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// The closed list of error classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ErrorClass {
    Auth,
    Quota,
    RateLimit,
    ContextOverflow,
    ModelUnavailable,
    Network,
    Permission,
    InvalidRequest,
    MaxTurns,
    Sandbox,
    Internal,
    Unknown,
}
