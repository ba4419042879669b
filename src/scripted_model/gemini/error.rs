//! Errors as Google's APIs word them.

use serde_json::{Value, json};

use crate::scripted_model::dialect::ErrorReply;
use crate::scripted_model::script::{Cause, FailureKind};

/// An error's status and body.
pub(super) fn error(error: &ErrorReply<'_>) -> (u16, Value) {
    let mut details = Vec::new();
    let (code, status, usual) = match error.kind {
        FailureKind::Status { status, name } => {
            // 529 is Anthropic's alone.
            let code = if *status == 529 { 503 } else { *status };
            let status = name.as_deref().unwrap_or_else(|| status_name(code));
            (code, status.to_owned(), error.fallback.to_owned())
        }
        FailureKind::Cause(Cause::ContextOverflow) => (
            400,
            status_name(400).to_owned(),
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).".to_owned(),
        ),
        FailureKind::Cause(Cause::Quota) => {
            details.push(json!({
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{
                    "quotaMetric": "generativelanguage.googleapis.com/generate_requests_per_model_per_day",
                    "quotaId": "GenerateRequestsPerDayPerProjectPerModel",
                }],
            }));
            (
                429,
                status_name(429).to_owned(),
                "You exceeded your current quota, please check your plan and billing details.".to_owned(),
            )
        }
        FailureKind::Cause(Cause::ModelNotFound) => (
            404,
            status_name(404).to_owned(),
            format!(
                "models/{} is not found for API version v1beta, or is not supported for generateContent.",
                error.model
            ),
        ),
    };
    if let Some(seconds) = error.retry_after {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": format!("{seconds}s"),
        }));
    }
    let message = error.message.unwrap_or(&usual);
    let mut body = json!({"code": code, "message": message, "status": status});
    if !details.is_empty()
        && let Some(fields) = body.as_object_mut()
    {
        fields.insert("details".to_owned(), details.into());
    }
    (code, json!({"error": body}))
}

/// The name that belongs to a status.
fn status_name(status: u16) -> &'static str {
    match status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        501 => "UNIMPLEMENTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_limit_tells_when_to_retry() {
        let kind = FailureKind::Status {
            status: 429,
            name: None,
        };
        let (status, body) = error(&ErrorReply {
            kind: &kind,
            message: Some("slow down"),
            fallback: "f",
            retry_after: Some(2),
            model: "m",
        });
        assert_eq!(status, 429);
        let retry =
            json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2s"});
        let wanted = json!({"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED", "details": [retry]});
        assert_eq!(body, json!({"error": wanted}));
    }
}
