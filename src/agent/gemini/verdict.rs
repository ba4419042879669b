//! What Gemini CLI's own words say about how a turn went.
//!
//! The last `result` decides, never the exit code: 0 also stands for an interrupted and for a
//! failed turn. And `result` with `success` is no success when the CLI had to stop the agent: an
//! `error` record before it says so. The classes come from one table, read from the top, in which
//! every row names the capture that shows it (or says that it is from the CLI's own text).

use serde::{Deserialize, Serialize};

use super::record::Record;
use crate::agent::Evidence;
use crate::agent::signs::{Failure, Row, Sign, has_phrase, of_stderr};
use crate::event::{ErrorClass, TurnError};
use crate::exit::Exit;

/// What a `result` said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Terminal {
    /// Success.
    Success,
    /// Stopped by the terminal's Ctrl-C.
    Interrupted,
    /// Failure.
    Failed(TurnError),
}

const TABLE: &[Row] = &[
    (
        Sign::Field("type", "FatalTurnLimitedError"),
        ErrorClass::MaxTurns,
        "max_turns",
    ),
    (
        Sign::Phrase("maximum session turns exceeded"),
        ErrorClass::MaxTurns,
        "",
    ),
    (
        Sign::Field("type", "FatalAuthenticationError"),
        ErrorClass::Auth,
        "",
    ),
    (
        Sign::Field("type", "FatalSandboxError"),
        ErrorClass::Sandbox,
        "",
    ),
    (
        Sign::Field("type", "FatalInputError"),
        ErrorClass::InvalidRequest,
        "",
    ),
    (
        Sign::Field("type", "FatalConfigError"),
        ErrorClass::InvalidRequest,
        "",
    ),
    (Sign::Phrase("API key not valid"), ErrorClass::Auth, ""),
    (
        Sign::Phrase("API_KEY_INVALID"),
        ErrorClass::Auth,
        "http_401",
    ),
    (
        Sign::Phrase("exceeds the maximum number of tokens"),
        ErrorClass::ContextOverflow,
        "",
    ),
    (
        Sign::Phrase("exceed the remaining context window"),
        ErrorClass::ContextOverflow,
        "",
    ),
    (
        Sign::Phrase("exhausted your daily quota"),
        ErrorClass::Quota,
        "",
    ),
    (
        Sign::Phrase("exceeded your current quota"),
        ErrorClass::Quota,
        "",
    ),
    (
        Sign::Phrase("ended without a finish reason"),
        ErrorClass::Network,
        "stream_cut_clean_forever",
    ),
    (
        Sign::Phrase("API Error: terminated"),
        ErrorClass::Network,
        "stream_cut_forever",
    ),
    // the same in live form, where nothing stands around it
    (Sign::Field("thrown", "terminated"), ErrorClass::Network, ""),
    (Sign::Phrase("fetch failed"), ErrorClass::Network, ""),
    (Sign::Phrase("ECONNRESET"), ErrorClass::Network, ""),
    (Sign::Phrase("ECONNREFUSED"), ErrorClass::Network, ""),
    (Sign::Phrase("ENOTFOUND"), ErrorClass::Network, ""),
    (Sign::Phrase("ETIMEDOUT"), ErrorClass::Network, ""),
    (
        Sign::Phrase("returned an empty response"),
        ErrorClass::ModelUnavailable,
        "empty_response",
    ),
    (
        Sign::Phrase("no final response text"),
        ErrorClass::ModelUnavailable,
        "",
    ),
    (
        Sign::Phrase("exceeded the token limit"),
        ErrorClass::InvalidRequest,
        "",
    ),
    (
        Sign::Phrase("the model response was blocked"),
        ErrorClass::InvalidRequest,
        "",
    ),
    (
        Sign::Phrase("agent execution blocked"),
        ErrorClass::Permission,
        "",
    ),
    (
        Sign::Phrase("loop detected, stopping execution"),
        ErrorClass::Unknown,
        "long_text",
    ),
    (Sign::Status(401, 401), ErrorClass::Auth, "http_401"),
    (Sign::Status(403, 403), ErrorClass::Auth, "http_403"),
    (Sign::Status(404, 404), ErrorClass::ModelUnavailable, ""),
    (Sign::Status(429, 429), ErrorClass::RateLimit, ""),
    (
        Sign::Status(400, 499),
        ErrorClass::InvalidRequest,
        "http_400",
    ),
    (Sign::Status(500, 599), ErrorClass::ModelUnavailable, ""),
    // before a session: stderr only
    (
        Sign::Phrase("you must specify the GEMINI_API_KEY"),
        ErrorClass::Auth,
        "no_auth",
    ),
    (
        Sign::Phrase("invalid auth method selected"),
        ErrorClass::Auth,
        "auth_gateway_bug",
    ),
    (
        Sign::Phrase("please set an auth method"),
        ErrorClass::Auth,
        "",
    ),
    (
        Sign::Phrase("not running in a trusted directory"),
        ErrorClass::Permission,
        "no_trust",
    ),
    (
        Sign::Phrase(UNKNOWN_SESSION),
        ErrorClass::InvalidRequest,
        "resume_unknown_id",
    ),
    (
        Sign::Phrase(NO_SESSIONS),
        ErrorClass::InvalidRequest,
        "resume_other_cwd",
    ),
    (
        Sign::Phrase("error starting session"),
        ErrorClass::InvalidRequest,
        "session_id_flag_reused",
    ),
    (
        Sign::Phrase("no input provided via stdin"),
        ErrorClass::InvalidRequest,
        "",
    ),
    (
        Sign::Phrase("not enough arguments following"),
        ErrorClass::InvalidRequest,
        "readme_argv_form",
    ),
    (
        Sign::Phrase("unknown argument"),
        ErrorClass::InvalidRequest,
        "",
    ),
    (
        Sign::Phrase("please fix the configuration file"),
        ErrorClass::InvalidRequest,
        "",
    ),
];

const UNKNOWN_SESSION: &str = "invalid session identifier";
const NO_SESSIONS: &str = "no previous sessions found for this project";

/// How the lines begin that the CLI writes to stderr at every start.
const CHATTER: &[&str] = &[
    "YOLO mode is enabled",
    "Warning: True color",
    "Ripgrep is not available",
    "Approval mode overridden to",
];

/// What a `result` says; `complaint` is what an `error` record before it said.
pub(super) fn of_result(record: &Record<'_>, complaint: Option<&TurnError>) -> Terminal {
    if record.status.as_deref() == Some("success") {
        return match complaint {
            Some(complaint) => Terminal::Failed(complaint.clone()),
            None => Terminal::Success,
        };
    }
    let error = record.error.as_ref();
    let kind = error.and_then(|error| error.kind.as_deref());
    if kind == Some("FatalCancellationError") {
        return Terminal::Interrupted;
    }
    let message = error.and_then(|error| error.message.as_deref());
    match (message, complaint) {
        // the `result` of a broken stream says that it failed, and the record before it why
        (None, Some(complaint)) => Terminal::Failed(complaint.clone()),
        (message, _) => Terminal::Failed(failure(kind, message.unwrap_or_default())),
    }
}

/// What an `error` record says, if it means that the turn cannot be a success.
pub(super) fn of_complaint(severity: Option<&str>, message: &str) -> Option<TurnError> {
    let failure = with_status(message);
    let ends = severity == Some("error") || failure.class(TABLE).is_some();
    ends.then(|| self::failure(None, message))
}

/// An error of the live form: its code is the HTTP status, and 500 where there was none.
pub(super) fn live_error(code: Option<u16>, message: &str) -> TurnError {
    let told = with_status(message);
    let fields = [("thrown", Some(message))];
    let failure = Failure {
        fields: &fields,
        status: told.status.or(code.filter(|code| *code != 500)),
        ..told
    };
    failure.error(TABLE, "the CLI reported an error without a message")
}

/// Why a turn of the live form stopped that the model did not end.
pub(super) fn of_stop(reason: &str) -> Option<TurnError> {
    let (class, message) = match reason {
        "max_tokens" => (
            ErrorClass::ContextOverflow,
            "the conversation is longer than the model's context",
        ),
        "max_turn_requests" => (
            ErrorClass::MaxTurns,
            "the CLI stopped the agent: too many rounds with the model, or always the same",
        ),
        "refusal" => (ErrorClass::InvalidRequest, "the model refused to answer"),
        _ => return None,
    };
    Some(TurnError::new(class, message))
}

/// What stderr says of a process that wrote no record.
pub(super) fn of_silence(exit: Option<Exit>, stderr: &[u8]) -> Evidence {
    let stderr = String::from_utf8_lossy(stderr);
    let telling = |line: &&str| !CHATTER.iter().any(|start| line.starts_with(start));
    let told: Vec<&str> = stderr.lines().filter(telling).collect();
    match of_stderr(TABLE, exit, told.join("\n").as_bytes()) {
        Evidence::Failed(error)
            if has_phrase(&error.message, UNKNOWN_SESSION)
                || has_phrase(&error.message, NO_SESSIONS) =>
        {
            Evidence::ConversationMissing(error)
        }
        evidence => evidence,
    }
}

fn failure(kind: Option<&str>, message: &str) -> TurnError {
    let fields = [("type", kind)];
    let failure = Failure {
        fields: &fields,
        ..with_status(message)
    };
    let mut error = failure.error(TABLE, "the CLI reported a failure without a message");
    error.retry_after_ms = retry_delay(message);
    error
}

/// `[API Error: {"error":{"code":401,…}}]`: the status stands in the API's own words.
fn with_status(message: &str) -> Failure<'_> {
    Failure {
        fields: &[],
        status: after(message, "\"code\":").and_then(|digits| digits.parse().ok()),
        message,
    }
}

/// The API's `RetryInfo`: `"retryDelay":"2s"`, whole or with a fraction.
fn retry_delay(message: &str) -> Option<u64> {
    let (_, rest) = message.split_once("\"retryDelay\":")?;
    let (seconds, _) = rest.trim_start().strip_prefix('"')?.split_once("s\"")?;
    let delay = std::time::Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?;
    u64::try_from(delay.as_millis()).ok()
}

/// The digits that follow `mark`.
fn after<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(mark)?;
    let rest = rest.trim_start();
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::signs::assert_rows_are_what_their_recordings_show;

    #[test]
    fn every_row_is_what_its_recording_shows() {
        assert_rows_are_what_their_recordings_show(&super::super::KIND, TABLE);
    }

    #[test]
    fn a_cut_stream_is_the_network_in_live_form_too() {
        let class = |message| live_error(Some(500), message).class;
        assert_eq!(class("terminated"), ErrorClass::Network);
        assert_eq!(class("the contract was terminated"), ErrorClass::Unknown);
    }

    #[test]
    fn the_api_says_when_to_come_back() {
        let error = failure(
            Some("unknown"),
            r#"[API Error: {"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"2.5s"}]}}]"#,
        );
        assert_eq!(error.class, ErrorClass::RateLimit);
        assert_eq!(error.retry_after_ms, Some(2500));
        assert_eq!(
            failure(None, "[API Error: terminated]").retry_after_ms,
            None
        );
    }
}
