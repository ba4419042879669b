//! What Pi's own words say about how a turn went.
//!
//! The exit code says nothing: it is 0 whatever the model's server answered. The last message of
//! the model decides, once `agent_end` says that there is no more to come.

use serde::{Deserialize, Serialize};

use super::record::Message;
use crate::agent::Evidence;
use crate::agent::signs::{Failure, Row, Sign, has_phrase, of_stderr};
use crate::event::{ErrorClass, TurnError};
use crate::exit::Exit;

/// How the model's last message ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Terminal {
    /// By itself.
    Success,
    /// Stopped by a signal or by the user.
    Interrupted,
    /// It failed.
    Failed(TurnError),
}

const TABLE: &[Row] = &[
    (
        Sign::Field("stopReason", "length"),
        ErrorClass::InvalidRequest,
        "max_tokens",
    ),
    (
        Sign::Phrase("prompt is too long"),
        ErrorClass::ContextOverflow,
        "context_overflow",
    ),
    (
        Sign::Phrase("context_length_exceeded"),
        ErrorClass::ContextOverflow,
        "",
    ),
    (
        // OpenAI's words; Pi leaves their code out
        Sign::Phrase("exceeds the context window"),
        ErrorClass::ContextOverflow,
        "",
    ),
    (
        Sign::Phrase("maximum context length"),
        ErrorClass::ContextOverflow,
        "",
    ),
    (
        Sign::Phrase("credit balance is too low"),
        ErrorClass::Quota,
        "quota",
    ),
    (
        Sign::Phrase("exceeded your current quota"),
        ErrorClass::Quota,
        "",
    ),
    (Sign::Phrase("insufficient_quota"), ErrorClass::Quota, ""),
    (
        Sign::Phrase("finish_reason: content_filter"),
        ErrorClass::InvalidRequest,
        "openai_refusal",
    ),
    (Sign::Status(401, 401), ErrorClass::Auth, "http_401"),
    (Sign::Status(403, 403), ErrorClass::Auth, "http_403"),
    (
        Sign::Status(404, 404),
        ErrorClass::ModelUnavailable,
        "http_404_model",
    ),
    (Sign::Status(429, 429), ErrorClass::RateLimit, ""),
    (Sign::Status(400, 499), ErrorClass::InvalidRequest, ""),
    (
        Sign::Status(500, 599),
        ErrorClass::ModelUnavailable,
        "http_500_forever",
    ),
    (
        Sign::Phrase("overloaded_error"),
        ErrorClass::ModelUnavailable,
        "",
    ),
    (
        Sign::Phrase("terminated"),
        ErrorClass::Network,
        "stream_reset_forever",
    ),
    (Sign::Phrase("stream ended"), ErrorClass::Network, ""),
    (Sign::Phrase("connection error"), ErrorClass::Network, ""),
    (Sign::Phrase("fetch failed"), ErrorClass::Network, ""),
    (Sign::Phrase("ECONNRESET"), ErrorClass::Network, ""),
    (Sign::Phrase("ECONNREFUSED"), ErrorClass::Network, ""),
    // before the model is asked: stderr only
    (Sign::Phrase("no API key found"), ErrorClass::Auth, "no_key"),
    (Sign::Phrase("no models available"), ErrorClass::Auth, ""),
    (
        Sign::Phrase("unknown provider"),
        ErrorClass::ModelUnavailable,
        "unknown_provider",
    ),
    (
        Sign::Phrase(NO_SESSION),
        ErrorClass::InvalidRequest,
        "resume_unknown_id",
    ),
    (
        Sign::Phrase("unknown option"),
        ErrorClass::InvalidRequest,
        "bad_flag",
    ),
];

const NO_SESSION: &str = "no session found matching";

/// What a message of the model says, if it is its last.
pub(super) fn of_message(message: &Message<'_>) -> Option<Terminal> {
    let reason = message.stop_reason.as_deref()?;
    match reason {
        "stop" => Some(Terminal::Success),
        "aborted" => Some(Terminal::Interrupted),
        "error" | "length" => {
            let text = message.error_message.as_deref().unwrap_or_default();
            let fields = [("stopReason", Some(reason))];
            let failure = Failure {
                fields: &fields,
                status: status(text),
                message: text,
            };
            let otherwise = match reason {
                "length" => "the model's answer reached its output limit",
                _ => "the CLI reported a failure without a message",
            };
            Some(Terminal::Failed(failure.error(TABLE, otherwise)))
        }
        _ => None,
    }
}

/// What stderr says of a process that never asked the model.
pub(super) fn of_silence(exit: Option<Exit>, stderr: &[u8]) -> Evidence {
    match of_stderr(TABLE, exit, stderr) {
        Evidence::Failed(error) if has_phrase(&error.message, NO_SESSION) => {
            Evidence::ConversationMissing(error)
        }
        evidence => evidence,
    }
}

/// `401 {"error":…}`: the HTTP status stands in front.
fn status(message: &str) -> Option<u16> {
    let (status, _) = message.split_once(' ')?;
    (status.len() == 3).then(|| status.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::signs::assert_rows_are_what_their_recordings_show;

    #[test]
    fn every_row_is_what_its_recording_shows() {
        assert_rows_are_what_their_recordings_show(&super::super::KIND, TABLE);
    }
}
