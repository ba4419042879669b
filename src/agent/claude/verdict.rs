//! What Claude Code's own words say about how a turn went.
//!
//! `subtype: "success"` says nothing and an exit code little: `is_error` of the last `result`
//! decides. The classes come from one table, read from the top, in which every row names the
//! capture that shows it (or says that it is from the CLI's own schema).

use serde::{Deserialize, Serialize};

use super::record::ResultRecord;
use crate::agent::{Evidence, Exit};
use crate::event::{ErrorClass, TurnError};

/// How much of a message becomes the error's message.
const MESSAGE_LIMIT: usize = 2000;

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

/// Where a row of the table looks.
enum Sign {
    /// `result.terminal_reason`
    Reason(&'static str),
    /// `error` of the `assistant` record that stands for the answer
    Error(&'static str),
    /// `result.subtype`
    Subtype(&'static str),
    /// `result.api_error_status`, a range
    Status(u16, u16),
    /// A phrase in the message or on stderr, between word borders, whatever its case
    Phrase(&'static str),
}

/// One row: the sign, the class, and the capture that shows it.
struct Row(Sign, ErrorClass, &'static str);

const TABLE: &[Row] = &[
    Row(
        Sign::Subtype("error_max_turns"),
        ErrorClass::MaxTurns,
        "max_turns",
    ),
    Row(Sign::Subtype("error_max_budget_usd"), ErrorClass::Quota, ""),
    Row(
        Sign::Reason("prompt_too_long"),
        ErrorClass::ContextOverflow,
        "prompt_too_long",
    ),
    Row(
        Sign::Reason("blocking_limit"),
        ErrorClass::ContextOverflow,
        "",
    ),
    Row(
        Sign::Phrase("prompt is too long"),
        ErrorClass::ContextOverflow,
        "prompt_too_long",
    ),
    Row(
        Sign::Phrase("credit balance is too low"),
        ErrorClass::Quota,
        "",
    ),
    Row(Sign::Error("billing_error"), ErrorClass::Quota, ""),
    Row(
        Sign::Error("authentication_failed"),
        ErrorClass::Auth,
        "http_401",
    ),
    Row(Sign::Error("oauth_org_not_allowed"), ErrorClass::Auth, ""),
    Row(
        Sign::Error("rate_limit"),
        ErrorClass::RateLimit,
        "http_429_forever",
    ),
    Row(
        Sign::Error("model_not_found"),
        ErrorClass::ModelUnavailable,
        "http_404_model",
    ),
    Row(
        Sign::Error("invalid_request"),
        ErrorClass::InvalidRequest,
        "http_413",
    ),
    Row(
        Sign::Error("max_output_tokens"),
        ErrorClass::InvalidRequest,
        "max_tokens",
    ),
    Row(
        Sign::Phrase("ECONNRESET"),
        ErrorClass::Network,
        "stream_cut_forever",
    ),
    Row(Sign::Phrase("ECONNREFUSED"), ErrorClass::Network, ""),
    Row(Sign::Phrase("ENOTFOUND"), ErrorClass::Network, ""),
    Row(Sign::Phrase("ETIMEDOUT"), ErrorClass::Network, ""),
    Row(
        Sign::Phrase("unable to connect to API"),
        ErrorClass::Network,
        "stream_cut_after_tool",
    ),
    Row(
        Sign::Phrase("connection to the API was lost"),
        ErrorClass::Network,
        "stream_cut_no_fallback",
    ),
    Row(Sign::Error("overloaded"), ErrorClass::ModelUnavailable, ""),
    Row(Sign::Status(401, 401), ErrorClass::Auth, "http_401"),
    Row(Sign::Status(403, 403), ErrorClass::Auth, "http_403"),
    Row(
        Sign::Status(404, 404),
        ErrorClass::ModelUnavailable,
        "http_404_model",
    ),
    Row(
        Sign::Status(429, 429),
        ErrorClass::RateLimit,
        "http_429_forever",
    ),
    Row(
        Sign::Status(400, 499),
        ErrorClass::InvalidRequest,
        "http_400",
    ),
    Row(
        Sign::Status(500, 599),
        ErrorClass::ModelUnavailable,
        "http_529_forever",
    ),
    Row(
        Sign::Error("server_error"),
        ErrorClass::ModelUnavailable,
        "",
    ),
    // before a session: the message only
    Row(Sign::Phrase("not logged in"), ErrorClass::Auth, "no_auth"),
    Row(
        Sign::Phrase("cannot be used with root/sudo privileges"),
        ErrorClass::Permission,
        "root_IS_SANDBOX_true",
    ),
    Row(
        Sign::Phrase("unknown option"),
        ErrorClass::InvalidRequest,
        "bad_flag",
    ),
    Row(
        Sign::Phrase("requires --verbose"),
        ErrorClass::InvalidRequest,
        "no_verbose",
    ),
    Row(
        Sign::Phrase("input must be provided"),
        ErrorClass::InvalidRequest,
        "no_prompt",
    ),
    Row(
        Sign::Phrase("invalid session ID"),
        ErrorClass::InvalidRequest,
        "session_id_not_uuid",
    ),
    Row(
        Sign::Phrase("requires a valid session ID"),
        ErrorClass::InvalidRequest,
        "resume_not_uuid",
    ),
    Row(
        Sign::Phrase("is already in use"),
        ErrorClass::InvalidRequest,
        "session_id_flag_reused",
    ),
    Row(
        Sign::Phrase(NO_CONVERSATION),
        ErrorClass::InvalidRequest,
        "resume_unknown_id",
    ),
    Row(
        Sign::Phrase("no deferred tool marker found"),
        ErrorClass::InvalidRequest,
        "resume_interrupted_turn_env",
    ),
    Row(
        Sign::Phrase("invalid MCP configuration"),
        ErrorClass::InvalidRequest,
        "",
    ),
];

const NO_CONVERSATION: &str = "no conversation found with session ID";

/// What is known of a failure.
#[derive(Default)]
struct Failure<'a> {
    subtype: Option<&'a str>,
    reason: Option<&'a str>,
    error: Option<&'a str>,
    status: Option<u16>,
    message: &'a str,
}

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
        subtype,
        reason,
        error,
        status: result.api_error_status,
        message,
    };
    let error = TurnError::new(
        class(&failure).unwrap_or(ErrorClass::Unknown),
        shortened(message, "the CLI reported a failure without a message"),
    );
    if has_phrase(message, NO_CONVERSATION) {
        Terminal::ConversationMissing(error)
    } else {
        Terminal::Failed(error)
    }
}

/// What stderr says of a process that wrote no record and exited by itself, not with 0.
pub(super) fn of_stderr(exit: Option<Exit>, stderr: &[u8]) -> Evidence {
    if exit.is_none_or(|exit| exit.code.is_none_or(|code| code == 0)) {
        return Evidence::None;
    }
    let stderr = String::from_utf8_lossy(stderr);
    let message = stderr.trim();
    let failure = Failure {
        message,
        ..Failure::default()
    };
    let says_error = message.lines().any(|line| {
        line.get(..6)
            .is_some_and(|start| start.eq_ignore_ascii_case("error:"))
    });
    match class(&failure) {
        Some(class) => Evidence::Failed(TurnError::new(class, shortened(message, ""))),
        None if says_error => {
            Evidence::Failed(TurnError::new(ErrorClass::Unknown, shortened(message, "")))
        }
        None => Evidence::None,
    }
}

fn class(failure: &Failure<'_>) -> Option<ErrorClass> {
    let row = TABLE.iter().find(|Row(sign, ..)| match sign {
        Sign::Subtype(subtype) => failure.subtype == Some(subtype),
        Sign::Reason(reason) => failure.reason == Some(reason),
        Sign::Error(error) => failure.error == Some(error),
        Sign::Status(from, to) => failure.status.is_some_and(|s| (*from..=*to).contains(&s)),
        Sign::Phrase(phrase) => has_phrase(failure.message, phrase),
    });
    row.map(|Row(_, class, _)| *class)
}

/// Whether `phrase` stands in `text` with no letter or digit right before or after it.
fn has_phrase(text: &str, phrase: &str) -> bool {
    let text = text.as_bytes();
    let word = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    text.windows(phrase.len()).enumerate().any(|(at, window)| {
        window.eq_ignore_ascii_case(phrase.as_bytes())
            && !at
                .checked_sub(1)
                .is_some_and(|before| word(text.get(before)))
            && !word(text.get(at + phrase.len()))
    })
}

fn shortened(message: &str, otherwise: &str) -> String {
    let message = message.trim();
    if message.is_empty() {
        return otherwise.to_owned();
    }
    let mut end = message.len().min(MESSAGE_LIMIT);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_names_a_capture_that_is_in_the_corpus() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/claude");
        for Row(_, class, seen) in TABLE.iter().filter(|row| !row.2.is_empty()) {
            let meta = corpus.join(format!("{seen}.pipe.meta.json"));
            assert!(meta.exists(), "{class:?}: no capture {seen}");
        }
    }

    #[test]
    fn a_phrase_is_found_as_whole_words_only() {
        assert!(has_phrase("API Error (ECONNRESET)", "econnreset"));
        assert!(!has_phrase("XECONNRESET", "ECONNRESET"));
        assert!(!has_phrase("ECONNRESETS", "ECONNRESET"));
        assert!(!has_phrase("short", "a much longer phrase"));
    }

    #[test]
    fn stderr_counts_only_when_the_process_failed_by_itself() {
        let exit = |code, signal| {
            Some(Exit {
                code,
                signal,
                oom: false,
            })
        };
        let stderr = b"error: unknown option '--x'";
        assert_eq!(of_stderr(exit(Some(0), None), stderr), Evidence::None);
        assert_eq!(of_stderr(exit(None, Some(9)), stderr), Evidence::None);
        assert!(matches!(
            of_stderr(exit(Some(1), None), stderr),
            Evidence::Failed(_)
        ));
        assert_eq!(
            of_stderr(exit(Some(1), None), b"panic: oh no"),
            Evidence::None
        );
    }
}
