//! Errors as `OpenAI`'s API words them.

use serde_json::{Value, json};

use crate::scripted_model::dialect::ErrorReply;
use crate::scripted_model::script::{Cause, FailureKind};

/// An error's status and body.
pub(super) fn error(error: &ErrorReply<'_>) -> (u16, Value) {
    let (status, kind, code, usual) = match error.kind {
        FailureKind::Status { status, name } => {
            let (kind, code) = names(*status);
            let code = name.as_deref().or(code).map(str::to_owned);
            (overloaded(*status), kind, code, error.fallback.to_owned())
        }
        FailureKind::Cause(cause) => {
            let (status, kind, code, usual) = words(*cause, error.model);
            (status, kind, Some(code.to_owned()), usual)
        }
    };
    let message = error.message.unwrap_or(&usual);
    let body = json!({"message": message, "type": kind, "param": null, "code": code});
    (status, json!({"error": body}))
}

/// 529 is Anthropic's alone.
fn overloaded(status: u16) -> u16 {
    if status == 529 { 503 } else { status }
}

fn names(status: u16) -> (&'static str, Option<&'static str>) {
    match status {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        403 => ("permission_error", Some("insufficient_permissions")),
        429 => ("requests", Some("rate_limit_exceeded")),
        500.. => ("server_error", None),
        _ => ("invalid_request_error", None),
    }
}

fn words(cause: Cause, model: &str) -> (u16, &'static str, &'static str, String) {
    match cause {
        Cause::ContextOverflow => (
            400,
            "invalid_request_error",
            "context_length_exceeded",
            "Your input exceeds the context window of this model. Please adjust your input and try again.".to_owned(),
        ),
        Cause::Quota => (
            429,
            "insufficient_quota",
            "insufficient_quota",
            "You exceeded your current quota, please check your plan and billing details.".to_owned(),
        ),
        Cause::ModelNotFound => (
            404,
            "invalid_request_error",
            "model_not_found",
            format!("The model `{model}` does not exist or you do not have access to it."),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kind: &FailureKind, message: Option<&str>) -> (u16, Value) {
        error(&ErrorReply {
            kind,
            message,
            fallback: "f",
            retry_after: None,
            model: "m",
        })
    }

    #[test]
    fn an_error_has_the_shape_and_the_code_of_the_api() {
        let kind = FailureKind::Status {
            status: 429,
            name: None,
        };
        let (status, body) = said(&kind, Some("slow down"));
        assert_eq!(status, 429);
        assert_eq!(body["error"]["code"], "rate_limit_exceeded");
        assert_eq!(body["error"]["message"], "slow down");
        let kind = FailureKind::Cause(Cause::ContextOverflow);
        let (status, body) = said(&kind, None);
        assert_eq!(status, 400);
        assert_eq!(body["error"]["code"], "context_length_exceeded");
        let kind = FailureKind::Status {
            status: 529,
            name: None,
        };
        assert_eq!(said(&kind, None).0, 503);
    }
}
