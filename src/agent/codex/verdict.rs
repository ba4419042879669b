//! What Codex's own words say about how a turn went.
//!
//! `turn.completed` is the only success and `turn.failed` gives a sentence, no code: an HTTP status
//! is read out of it where it holds one. A process that could not begin says why on stderr alone.

use serde::{Deserialize, Serialize};

use crate::agent::Evidence;
use crate::agent::signs::{self, Failure, Row, Sign, has_phrase};
use crate::event::{ErrorClass, Event, NoticeLevel, TurnError};
use crate::exit::Exit;

/// What the last terminal record said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Terminal {
    /// `turn.completed`
    Completed,
    /// `turn.failed`
    Failed(TurnError),
}

/// How many failed tool calls on stderr are told one by one: the rest is in its text.
const TOLD_TOOL_ERRORS: usize = 20;

const NO_CONVERSATION: &str = "no rollout found for thread id";

const TABLE: &[Row] = &[
    (
        Sign::Phrase("ran out of room in the model's context window"),
        ErrorClass::ContextOverflow,
        "failedctx",
    ),
    (
        Sign::Phrase("quota exceeded"),
        ErrorClass::Quota,
        "http429quota",
    ),
    (
        Sign::Phrase("you've hit your usage limit"),
        ErrorClass::Quota,
        "",
    ),
    (Sign::Phrase("insufficient_quota"), ErrorClass::Quota, ""),
    (
        Sign::Phrase("missing environment variable"),
        ErrorClass::Auth,
        "missing_env_key",
    ),
    (
        Sign::Phrase("access token could not be refreshed"),
        ErrorClass::Auth,
        "",
    ),
    (
        Sign::Phrase("log out and sign in again"),
        ErrorClass::Auth,
        "",
    ),
    (Sign::Status(401, 401), ErrorClass::Auth, "http401"),
    (Sign::Status(403, 403), ErrorClass::Auth, "http403"),
    (Sign::Status(404, 404), ErrorClass::ModelUnavailable, ""),
    (Sign::Status(429, 429), ErrorClass::RateLimit, "http429"),
    (Sign::Status(400, 499), ErrorClass::InvalidRequest, ""),
    (
        Sign::Status(500, 599),
        ErrorClass::ModelUnavailable,
        "http503",
    ),
    (
        Sign::Phrase("currently experiencing high demand"),
        ErrorClass::ModelUnavailable,
        "http500",
    ),
    (
        Sign::Phrase("invalid_request_error"),
        ErrorClass::InvalidRequest,
        "http400",
    ),
    (
        Sign::Phrase("incomplete response returned"),
        ErrorClass::InvalidRequest,
        "incomplete",
    ),
    (Sign::Phrase("network error"), ErrorClass::Network, "cut"),
    (
        Sign::Phrase("error sending request"),
        ErrorClass::Network,
        "drop",
    ),
    (
        Sign::Phrase("idle timeout waiting for SSE"),
        ErrorClass::Network,
        "hang_stream",
    ),
    (
        Sign::Phrase("stream closed before response.completed"),
        ErrorClass::Network,
        "",
    ),
    // what is left of it: the model's own `response.failed`
    (
        Sign::Phrase("stream disconnected before completion"),
        ErrorClass::ModelUnavailable,
        "failed",
    ),
    // before a thread: stderr only
    (
        Sign::Phrase(NO_CONVERSATION),
        ErrorClass::InvalidRequest,
        "resume_unknown_id",
    ),
    (
        Sign::Phrase("already has an active writer"),
        ErrorClass::Internal,
        "",
    ),
    (
        Sign::Phrase("unexpected argument"),
        ErrorClass::InvalidRequest,
        "bad_flag",
    ),
    (
        Sign::Phrase("error loading config.toml"),
        ErrorClass::InvalidRequest,
        "bad_value",
    ),
    (
        Sign::Phrase("model provider"),
        ErrorClass::InvalidRequest,
        "unknown_provider",
    ),
    (
        Sign::Phrase("required MCP servers failed to initialize"),
        ErrorClass::InvalidRequest,
        "mcp_required",
    ),
    (
        Sign::Phrase("no prompt provided"),
        ErrorClass::InvalidRequest,
        "no_prompt",
    ),
    (
        Sign::Phrase("error finding codex home"),
        ErrorClass::InvalidRequest,
        "",
    ),
    // the provider's own words: so general that they stand last
    (
        Sign::Phrase("does not exist"),
        ErrorClass::ModelUnavailable,
        "http404",
    ),
];

/// The error that a sentence of Codex stands for.
pub(super) fn error(message: &str) -> TurnError {
    let failure = Failure {
        status: status(message),
        message,
        ..Failure::default()
    };
    failure.error(TABLE, "the CLI reported a failure without a message")
}

/// The same in live form, where the error has a name (and a status) beside its sentence.
pub(super) fn live_error(name: Option<&str>, http: Option<u16>, message: &str) -> TurnError {
    let class = match name {
        Some("contextWindowExceeded") => Some(ErrorClass::ContextOverflow),
        Some("usageLimitExceeded" | "sessionBudgetExceeded") => Some(ErrorClass::Quota),
        Some("rateLimitExceeded") => Some(ErrorClass::RateLimit),
        Some("serverOverloaded" | "modelNotFound" | "internalServerError") => {
            Some(ErrorClass::ModelUnavailable)
        }
        Some("unauthorized") => Some(ErrorClass::Auth),
        Some("badRequest") => Some(ErrorClass::InvalidRequest),
        Some("sandboxError") => Some(ErrorClass::Sandbox),
        Some("tooManyDenials") => Some(ErrorClass::Permission),
        _ => None,
    };
    let failure = Failure {
        status: http.or_else(|| status(message)),
        message,
        ..Failure::default()
    };
    let mut error = failure.error(TABLE, "the CLI reported a failure without a message");
    if let Some(class) = class {
        error.class = class;
    }
    error
}

/// What stderr says of a process that wrote no record.
pub(super) fn of_stderr(exit: Option<Exit>, stderr: &[u8]) -> Evidence {
    match signs::of_stderr(TABLE, exit, stderr) {
        Evidence::Failed(error) if has_phrase(&error.message, NO_CONVERSATION) => {
            Evidence::ConversationMissing(error)
        }
        evidence => evidence,
    }
}

/// Calls that Codex refused or could not read have no item: only a line on stderr tells of them.
pub(super) fn tool_errors(stderr: &[u8], out: &mut Vec<Event>) {
    let stderr = String::from_utf8_lossy(stderr);
    let errors = stderr.lines().filter_map(|line| {
        let (_, error) = line.split_once("ERROR codex_core::tools::router: error=")?;
        Some(error)
    });
    for error in errors.take(TOLD_TOOL_ERRORS) {
        out.push(crate::agent::lines::notice(
            NoticeLevel::Warning,
            "tool_error",
            format!("a tool call failed: {error}"),
        ));
    }
}

/// The HTTP status in `unexpected status 401 Unauthorized` or `last status: 429`.
fn status(message: &str) -> Option<u16> {
    let marks = ["unexpected status ", "last status: "];
    let behind = marks.iter().find_map(|mark| message.split_once(mark))?.1;
    let number = behind.get(..3)?;
    let ends = !behind.get(3..)?.starts_with(|c: char| c.is_ascii_digit());
    number.parse().ok().filter(|_| ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_what_its_recording_shows() {
        signs::assert_rows_are_what_their_recordings_show(&super::super::KIND, TABLE);
    }

    #[test]
    fn the_status_is_read_out_of_the_sentence() {
        assert_eq!(status("unexpected status 401 Unauthorized: x"), Some(401));
        assert_eq!(
            status("exceeded retry limit, last status: 429 Too"),
            Some(429)
        );
        assert_eq!(status("unexpected status 4012"), None);
        assert_eq!(status("unexpected status x"), None);
        assert_eq!(status("401"), None);
    }

    #[test]
    fn calls_that_have_no_item_are_told_from_stderr() {
        let stderr = b"Reading additional input from stdin...\n\
            2026-11-21T00:03:55.154840Z ERROR codex_core::tools::router: error=unsupported call: x\n";
        let mut out = Vec::new();
        tool_errors(stderr, &mut out);
        let [Event::Notice { code, text, .. }] = out.as_slice() else {
            panic!("{out:?}")
        };
        assert_eq!(
            (code.as_str(), text.as_str()),
            ("tool_error", "a tool call failed: unsupported call: x")
        );
    }
}
