//! What Claude Code's own words say about how a turn went.
//!
//! `subtype: "success"` says nothing and an exit code little: `is_error` of the last `result`
//! decides.

use serde::{Deserialize, Serialize};

use super::record::ResultRecord;
use crate::agent::Evidence;
use crate::agent::signs::{self, Failure, Row, Sign, has_phrase};
use crate::event::{ErrorClass, TurnError};
use crate::exit::Exit;

/// What the last `result` said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Terminal {
    /// Success; `empty` when the answer was.
    Success { empty: bool },
    /// Stopped by a signal or by the control protocol.
    Interrupted,
    /// The conversation to resume is not there.
    ConversationMissing(TurnError),
    /// Failure.
    Failed(TurnError),
}

/// `terminal_reason` and `subtype` are those of the `result`; `error` is that of the `assistant`
/// record that stands for the answer.
const TABLE: &[Row] = &[
    (
        Sign::Field("subtype", "error_max_turns"),
        ErrorClass::MaxTurns,
        "max_turns",
    ),
    (
        Sign::Field("subtype", "error_max_budget_usd"),
        ErrorClass::Quota,
        "",
    ),
    (
        Sign::Field("terminal_reason", "prompt_too_long"),
        ErrorClass::ContextOverflow,
        "prompt_too_long",
    ),
    (
        Sign::Field("terminal_reason", "blocking_limit"),
        ErrorClass::ContextOverflow,
        "",
    ),
    (
        Sign::Phrase("prompt is too long"),
        ErrorClass::ContextOverflow,
        "prompt_too_long",
    ),
    (
        Sign::Phrase("credit balance is too low"),
        ErrorClass::Quota,
        "",
    ),
    (Sign::Field("error", "billing_error"), ErrorClass::Quota, ""),
    (
        Sign::Field("error", "authentication_failed"),
        ErrorClass::Auth,
        "http_401",
    ),
    (
        Sign::Field("error", "oauth_org_not_allowed"),
        ErrorClass::Auth,
        "",
    ),
    (
        Sign::Field("error", "rate_limit"),
        ErrorClass::RateLimit,
        "http_429_forever",
    ),
    (
        Sign::Field("error", "model_not_found"),
        ErrorClass::ModelUnavailable,
        "http_404_model",
    ),
    (
        Sign::Field("error", "invalid_request"),
        ErrorClass::InvalidRequest,
        "http_413",
    ),
    (
        Sign::Field("error", "max_output_tokens"),
        ErrorClass::InvalidRequest,
        "max_tokens",
    ),
    (
        Sign::Phrase("ECONNRESET"),
        ErrorClass::Network,
        "stream_cut_forever",
    ),
    (Sign::Phrase("ECONNREFUSED"), ErrorClass::Network, ""),
    (Sign::Phrase("ENOTFOUND"), ErrorClass::Network, ""),
    (Sign::Phrase("ETIMEDOUT"), ErrorClass::Network, ""),
    (
        Sign::Phrase("unable to connect to API"),
        ErrorClass::Network,
        "stream_cut_after_tool",
    ),
    (
        Sign::Phrase("connection to the API was lost"),
        ErrorClass::Network,
        "stream_cut_no_fallback",
    ),
    (
        Sign::Field("error", "overloaded"),
        ErrorClass::ModelUnavailable,
        "",
    ),
    (Sign::Status(401, 401), ErrorClass::Auth, "http_401"),
    (Sign::Status(403, 403), ErrorClass::Auth, "http_403"),
    (
        Sign::Status(404, 404),
        ErrorClass::ModelUnavailable,
        "http_404_model",
    ),
    (
        Sign::Status(429, 429),
        ErrorClass::RateLimit,
        "http_429_forever",
    ),
    (
        Sign::Status(400, 499),
        ErrorClass::InvalidRequest,
        "http_400",
    ),
    (
        Sign::Status(500, 599),
        ErrorClass::ModelUnavailable,
        "http_529_forever",
    ),
    (
        Sign::Field("error", "server_error"),
        ErrorClass::ModelUnavailable,
        "",
    ),
    // before a session: the message only
    (Sign::Phrase("not logged in"), ErrorClass::Auth, "no_auth"),
    (
        Sign::Phrase("cannot be used with root/sudo privileges"),
        ErrorClass::Permission,
        "root_IS_SANDBOX_true",
    ),
    (
        Sign::Phrase("unknown option"),
        ErrorClass::InvalidRequest,
        "bad_flag",
    ),
    (
        Sign::Phrase("requires --verbose"),
        ErrorClass::InvalidRequest,
        "no_verbose",
    ),
    (
        Sign::Phrase("input must be provided"),
        ErrorClass::InvalidRequest,
        "no_prompt",
    ),
    (
        Sign::Phrase("invalid session ID"),
        ErrorClass::InvalidRequest,
        "session_id_not_uuid",
    ),
    (
        Sign::Phrase("requires a valid session ID"),
        ErrorClass::InvalidRequest,
        "resume_not_uuid",
    ),
    (
        Sign::Phrase("is already in use"),
        ErrorClass::InvalidRequest,
        "session_id_flag_reused",
    ),
    (
        Sign::Phrase(NO_CONVERSATION),
        ErrorClass::InvalidRequest,
        "resume_unknown_id",
    ),
    (
        Sign::Phrase("no deferred tool marker found"),
        ErrorClass::InvalidRequest,
        "resume_interrupted_turn_env",
    ),
    (
        Sign::Phrase("invalid MCP configuration"),
        ErrorClass::InvalidRequest,
        "",
    ),
];

const NO_CONVERSATION: &str = "no conversation found with session ID";

/// What a `result` says. `error` is that of the `assistant` record before it.
pub(super) fn of_result(
    result: &ResultRecord<'_>,
    subtype: Option<&str>,
    error: Option<&str>,
) -> Terminal {
    let text = result.result.as_deref().unwrap_or_default();
    if !result.is_error {
        return Terminal::Success {
            empty: text.trim().is_empty() && result.structured_output.is_none(),
        };
    }
    let reason = result.terminal_reason.as_deref();
    if matches!(reason, Some("aborted_streaming" | "aborted_tools")) {
        return Terminal::Interrupted;
    }
    let errors = result.errors.as_deref().unwrap_or_default().join("\n");
    let message = if text.is_empty() { &errors } else { text };
    let failure = Failure {
        fields: &[
            ("subtype", subtype),
            ("terminal_reason", reason),
            ("error", error),
        ],
        status: result.api_error_status,
        message,
    };
    let error = failure.error(TABLE, "the CLI reported a failure without a message");
    if has_phrase(message, NO_CONVERSATION) {
        Terminal::ConversationMissing(error)
    } else {
        Terminal::Failed(error)
    }
}

/// What stderr says of a process that wrote no record.
pub(super) fn of_stderr(exit: Option<Exit>, stderr: &[u8]) -> Evidence {
    signs::of_stderr(TABLE, exit, stderr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_what_its_recording_shows() {
        signs::assert_rows_are_what_their_recordings_show(&super::super::KIND, TABLE);
    }
}
