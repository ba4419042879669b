//! What OpenCode's own words say about how a turn went.
//!
//! An `error` record tells a class by its name, an HTTP status or a phrase; "Unexpected server
//! error" has its reason in the log on stderr. Every row of the table names the recording that
//! shows it (or says that it is from OpenCode's own text).

use serde::{Deserialize, Serialize};

use super::log::Stderr;
use super::record::{ErrorData, ErrorRecord};
use crate::agent::Evidence;
use crate::agent::json::typed;
use crate::agent::signs::{self, Failure, Row, Sign, has_phrase};
use crate::event::{ErrorClass, TurnError};
use crate::exit::Exit;

/// `name` is that of the `error` record or of the log's error, `reason` why the last step finished.
const TABLE: &[Row] = &[
    (
        Sign::Field("name", "ContextOverflowError"),
        ErrorClass::ContextOverflow,
        "http400ctx",
    ),
    (
        Sign::Field("name", "ProviderAuthError"),
        ErrorClass::Auth,
        "no_auth",
    ),
    (
        Sign::Field("name", "ContentFilterError"),
        ErrorClass::InvalidRequest,
        "refusal",
    ),
    (
        Sign::Field("name", "MessageOutputLengthError"),
        ErrorClass::InvalidRequest,
        "",
    ),
    (
        Sign::Field("name", "StructuredOutputError"),
        ErrorClass::InvalidRequest,
        "",
    ),
    (
        Sign::Field("name", "ProviderModelNotFoundError"),
        ErrorClass::ModelUnavailable,
        "model_unknown",
    ),
    (
        Sign::Field("reason", "length"),
        ErrorClass::InvalidRequest,
        "incomplete",
    ),
    (
        Sign::Field("reason", "content-filter"),
        ErrorClass::InvalidRequest,
        "",
    ),
    (
        Sign::Field("reason", "rejected"),
        ErrorClass::Permission,
        "permission_rejected",
    ),
    (
        Sign::Phrase("credit balance is too low"),
        ErrorClass::Quota,
        "quota",
    ),
    (Sign::Phrase("insufficient_quota"), ErrorClass::Quota, ""),
    (
        Sign::Phrase("exceeded your current quota"),
        ErrorClass::Quota,
        "",
    ),
    (Sign::Phrase("usage limit reached"), ErrorClass::Quota, ""),
    (
        Sign::Phrase("context_length_exceeded"),
        ErrorClass::ContextOverflow,
        "http400ctx",
    ),
    (
        Sign::Phrase("prompt is too long"),
        ErrorClass::ContextOverflow,
        "",
    ),
    (Sign::Phrase("ECONNRESET"), ErrorClass::Network, "cut"),
    (Sign::Phrase("ECONNREFUSED"), ErrorClass::Network, ""),
    (Sign::Phrase("ENOTFOUND"), ErrorClass::Network, ""),
    (Sign::Phrase("ETIMEDOUT"), ErrorClass::Network, ""),
    (
        Sign::Phrase("cannot connect to API"),
        ErrorClass::Network,
        "connect_refused",
    ),
    (Sign::Status(401, 401), ErrorClass::Auth, "http401"),
    (Sign::Status(403, 403), ErrorClass::Auth, ""),
    (
        Sign::Status(404, 404),
        ErrorClass::ModelUnavailable,
        "http404",
    ),
    (Sign::Status(429, 429), ErrorClass::RateLimit, "http429"),
    (
        Sign::Status(400, 499),
        ErrorClass::InvalidRequest,
        "http400",
    ),
    (
        Sign::Status(500, 599),
        ErrorClass::ModelUnavailable,
        "http500",
    ),
    (
        Sign::Phrase("server_error"),
        ErrorClass::ModelUnavailable,
        "failed",
    ),
    (
        Sign::Phrase("overloaded_error"),
        ErrorClass::ModelUnavailable,
        "",
    ),
    (Sign::Phrase("rate_limit_error"), ErrorClass::RateLimit, ""),
    // in live form errors have no status
    (
        Sign::Phrase("Incorrect API key provided"),
        ErrorClass::Auth,
        "",
    ),
    (Sign::Phrase("invalid x-api-key"), ErrorClass::Auth, ""),
    (
        Sign::Phrase("API key is missing"),
        ErrorClass::Auth,
        "no_auth",
    ),
    (
        Sign::Phrase("session not found"),
        ErrorClass::InvalidRequest,
        "session_missing",
    ),
    (
        Sign::Phrase("you must provide a message"),
        ErrorClass::InvalidRequest,
        "no_prompt",
    ),
    (
        Sign::Phrase("configuration is invalid"),
        ErrorClass::InvalidRequest,
        "bad_config",
    ),
    (Sign::Phrase(HELP), ErrorClass::InvalidRequest, "bad_flag"),
];

/// Of what it prints in place of an error when it does not know a flag.
const HELP: &str = "run opencode with a message";
const NO_CONVERSATION: &str = "session not found";

/// What an `error` record said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failed {
    error: TurnError,
    /// By which the log names it, where the record says no reason.
    reference: Option<String>,
    is_interrupt: bool,
}

/// What some providers' errors become: JSON in place of a message.
#[derive(Deserialize)]
struct Inner {
    message: String,
}

impl Failed {
    /// Reads a record.
    pub(super) fn new(record: &ErrorRecord<'_>) -> Self {
        let data: ErrorData<'_> = typed(record.data).unwrap_or_default();
        let name = record.name.as_deref();
        let message = data.message.as_deref().unwrap_or_default();
        let inner: Option<Inner> = serde_json::from_str(message).ok();
        let shown = inner.as_ref().map_or(message, |inner| &inner.message);
        let parts = [
            Some(message),
            data.response_body.as_deref(),
            data.metadata.map(serde_json::value::RawValue::get),
        ];
        let all: Vec<&str> = parts.into_iter().flatten().collect();
        let fields = [("name", name)];
        let failure = |message| Failure {
            fields: &fields,
            status: data.status_code,
            message,
        };
        let otherwise = name.unwrap_or("the CLI reported an error without a message");
        let mut error = failure(shown).error(TABLE, otherwise);
        error.class = failure(&all.join("\n"))
            .class(TABLE)
            .unwrap_or(ErrorClass::Unknown);
        error.retry_after_ms = retry_after(&data);
        Self {
            error,
            reference: data.reference.map(|reference| reference.to_string()),
            is_interrupt: name == Some("MessageAbortedError"),
        }
    }

    /// It is no error: somebody has ended the turn.
    pub(super) fn is_interrupt(&self) -> bool {
        self.is_interrupt
    }

    /// The error as it stands on stdout.
    pub(super) fn error(&self) -> &TurnError {
        &self.error
    }

    /// The error as a verdict, with its reason from the log.
    pub(super) fn evidence(&self, stderr: &Stderr<'_>) -> Evidence {
        if self.is_interrupt {
            return Evidence::Interrupted;
        }
        let reference = self.reference.as_deref();
        match reference.and_then(|reference| stderr.referred(reference)) {
            Some(reason) => Evidence::Failed(logged(reason)),
            None => Evidence::Failed(self.error.clone()),
        }
    }
}

/// An error as the log words it: `Name: message`.
fn logged(reason: &str) -> TurnError {
    let name = reason.split_once(": ").map(|(name, _)| name);
    let fields = [("name", name)];
    let failure = Failure {
        fields: &fields,
        status: None,
        message: reason,
    };
    failure.error(TABLE, "the CLI logged an error without a message")
}

fn retry_after(data: &ErrorData<'_>) -> Option<u64> {
    let headers = data.response_headers.as_ref()?;
    let number = |name: &str| headers.get(name)?.trim().parse::<u64>().ok();
    number("retry-after-ms").or_else(|| number("retry-after")?.checked_mul(1000))
}

/// An error of the live form: its name and its message, but no status.
pub(super) fn live_error(name: Option<&str>, message: &str) -> TurnError {
    let fields = [("name", name)];
    let failure = Failure {
        fields: &fields,
        status: None,
        message,
    };
    failure.error(
        TABLE,
        name.unwrap_or("the CLI reported an error without a message"),
    )
}

/// What it means that nothing came after a step that finished for `reason`.
pub(super) fn of_reason(reason: &str, rejected: bool) -> Evidence {
    let (reason, message) = match reason {
        "length" => (
            "length",
            "the answer reached the model's limit of output tokens",
        ),
        "content-filter" => (
            "content-filter",
            "the answer was blocked by the provider's content filter",
        ),
        "tool-calls" if rejected => (
            "rejected",
            "a tool call needed a consent that nobody could give; the CLI stopped there",
        ),
        _ => return Evidence::None,
    };
    let fields = [("reason", Some(reason))];
    let failure = Failure {
        fields: &fields,
        status: None,
        message,
    };
    Evidence::Failed(failure.error(TABLE, message))
}

/// What stderr says of a turn whose end no record tells.
pub(super) fn of_stderr(exit: Option<Exit>, stderr: &Stderr<'_>, seen_record: bool) -> Evidence {
    if !seen_record && has_phrase(&stderr.told, NO_CONVERSATION) {
        // other versions exit with 0 then
        let failure = Failure {
            message: &stderr.told,
            ..Failure::default()
        };
        return Evidence::ConversationMissing(failure.error(TABLE, ""));
    }
    if has_phrase(&stderr.told, HELP) && exit.is_some_and(|exit| exit.code == Some(1)) {
        // it prints its help and does not say which argument it is about
        let message = "OpenCode refused its arguments and printed its help; check `--agent-arg`";
        let class = ErrorClass::InvalidRequest;
        return Evidence::Failed(TurnError::new(class, message));
    }
    let mut logged_last = stderr.log.iter().filter_map(super::log::LogLine::error);
    match signs::of_stderr(TABLE, exit, stderr.told.as_bytes()) {
        Evidence::None if exit.is_some_and(|exit| exit.code.is_some_and(|code| code != 0)) => {
            let last = logged_last.next_back();
            last.map_or(Evidence::None, |reason| Evidence::Failed(logged(reason)))
        }
        evidence => evidence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_what_its_recording_shows() {
        signs::assert_rows_are_what_their_recordings_show(&super::super::KIND, TABLE);
    }
}
