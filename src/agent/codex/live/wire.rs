//! What the frames of `codex app-server` (0.169.0) have in them, borrowed from their line. Only
//! fields that are used are named.

#![allow(clippy::struct_field_names)] // the names are the CLI's

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::agent::codex::record::TokenCounts;
use crate::agent::json::Text;

/// Notifications that say nothing of the work, by the start of their names.
pub(super) const SILENT: &[&str] = &[
    "account/",
    "app/",
    "autoApprovalReview/",
    "configWarning",
    "deprecationNotice",
    "fs/",
    "hook/",
    "item/autoApprovalReview/",
    "item/commandExecution/terminalInteraction",
    "item/fileChange/",
    "item/mcpToolCall/progress",
    "mcpServer/",
    "model/",
    "modelProvider/",
    "project/",
    "remoteControl/",
    "skills/",
    "thread/compacted",
    "thread/environment/",
    "thread/goal/",
    "thread/name/",
    "thread/prediction/",
    "thread/project/",
    "thread/queue/",
    "thread/readState/",
    "thread/section/",
    "thread/settings/",
    "thread/started",
    "thread/status/",
    "turn/diff/",
    "turn/moderationMetadata",
];

/// What went wrong.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fault<'a> {
    #[serde(borrow)]
    pub(super) message: Text<'a>,
    #[serde(borrow)]
    pub(super) additional_details: Option<Text<'a>>,
    /// A name, or an object with one and an HTTP status in it.
    pub(super) codex_error_info: Option<Value>,
}

/// What notifications about the work may have.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Params<'a> {
    #[serde(borrow)]
    pub(super) thread_id: Option<Text<'a>>,
    /// Ours: the id of a message.
    #[serde(borrow)]
    pub(super) client_user_message_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) item_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) delta: Option<Text<'a>>,
    pub(super) summary_index: Option<u64>,
    #[serde(borrow)]
    pub(super) item: Option<Item<'a>>,
    #[serde(borrow)]
    pub(super) turn: Option<Turn<'a>>,
    pub(super) token_usage: Option<TokenUsage>,
    pub(super) plan: Option<Vec<Step>>,
    #[serde(borrow)]
    pub(super) error: Option<Fault<'a>>,
    pub(super) will_retry: Option<bool>,
    #[serde(borrow)]
    pub(super) message: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) request_id: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Turn<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    /// `inProgress`, `completed`, `interrupted`, `failed`
    #[serde(borrow)]
    pub(super) status: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) error: Option<Fault<'a>>,
}

/// `thread/start` and `thread/resume` answer with it.
#[derive(Debug, Deserialize)]
pub(super) struct Started<'a> {
    #[serde(borrow)]
    pub(super) thread: Thread<'a>,
    #[serde(borrow)]
    pub(super) model: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) cwd: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Thread<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
}

/// An item of any kind.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    #[serde(borrow)]
    pub(super) status: Option<Text<'a>>,
    /// `userMessage`
    #[serde(borrow)]
    pub(super) client_id: Option<Text<'a>>,
    /// `agentMessage`
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
    /// `reasoning`
    pub(super) summary: Option<Vec<String>>,
    /// `commandExecution`
    #[serde(borrow)]
    pub(super) command: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) aggregated_output: Option<Text<'a>>,
    pub(super) exit_code: Option<i32>,
    pub(super) duration_ms: Option<u64>,
    /// `fileChange`
    pub(super) changes: Option<Vec<Change>>,
    /// `mcpToolCall`, `collabAgentToolCall`, `dynamicToolCall`
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
    #[serde(borrow)]
    pub(super) prompt: Option<Text<'a>>,
    pub(super) receiver_thread_ids: Option<Vec<String>>,
    /// `subAgentActivity`
    #[serde(borrow, rename = "kind")]
    pub(super) activity: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) agent_thread_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) agent_path: Option<Text<'a>>,
    /// `webSearch`
    #[serde(borrow)]
    pub(super) query: Option<Text<'a>>,
}

/// One file of a `fileChange`.
#[derive(Debug, Deserialize)]
pub(super) struct Change {
    pub(super) path: String,
    pub(super) kind: ChangeKind,
    /// A new or deleted file's content, a changed one's hunks.
    #[serde(default)]
    pub(super) diff: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct ChangeKind {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) move_path: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Step {
    pub(super) step: String,
    pub(super) status: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenUsage {
    pub(super) total: TokenCounts,
    pub(super) last: TokenCounts,
    pub(super) model_context_window: Option<u64>,
}

impl Fault<'_> {
    /// Its message, with what stands behind it.
    pub(super) fn text(&self) -> String {
        match self.additional_details.as_deref() {
            Some(details) => format!("{}: {details}", &*self.message),
            None => self.message.to_string(),
        }
    }

    /// Its name and its HTTP status, as far as it has them.
    pub(super) fn info(&self) -> (Option<&str>, Option<u16>) {
        match &self.codex_error_info {
            Some(Value::String(name)) => (Some(name), None),
            Some(Value::Object(info)) => {
                let status = info.values().find_map(|details| {
                    u16::try_from(details.get("httpStatusCode")?.as_u64()?).ok()
                });
                (info.keys().next().map(String::as_str), status)
            }
            _ => (None, None),
        }
    }
}
