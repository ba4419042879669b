//! Replies and errors in the words of the Messages API.

use serde_json::{Value, json};

use crate::scripted_model::dialect::{CUT_MESSAGE, ErrorReply};
use crate::scripted_model::engine::Performance;
use crate::scripted_model::playback::{Action, Playback, push_chunks, typed_event};
use crate::scripted_model::script::{Cause, FailureKind, Step, Stop, Usage};
use crate::scripted_model::toolset::Call;

/// The reply as server-sent events.
pub(super) fn stream(performance: &Performance<Call>, model: &str) -> Playback {
    let first = Usage {
        // The API knows the output only at the end; its first figure is a token or none.
        output: performance.usage.output.min(1),
        ..performance.usage
    };
    let start = envelope(performance, model, &json!([]), None, first);
    let mut actions = vec![event("message_start", json!({"message": start}))];
    let mut index = 0;
    for step in &performance.steps {
        if let Step::Wait(time) = step {
            actions.push(Action::Wait(*time));
        } else {
            block_events(performance, step, index, &mut actions);
            index += 1;
        }
    }
    actions.push(event(
        "message_delta",
        json!({
            "delta": {"stop_reason": stop_reason(performance.stop), "stop_sequence": null},
            "usage": usage(performance.usage),
        }),
    ));
    actions.push(event("message_stop", json!({})));
    let error = json!({"type": error_kind(OVERLOADED), "message": CUT_MESSAGE});
    let error = typed_event("error", json!({"error": error}));
    Playback::streamed(actions, performance.cut, error)
}

/// The reply as one JSON object, in its time; a cut one ends in the middle.
pub(super) fn message(performance: &Performance<Call>, model: &str) -> Playback {
    let steps = performance.steps.iter().enumerate();
    let content = steps
        .filter_map(|(index, step)| whole_block(performance, step, index))
        .collect();
    let stop = Some(stop_reason(performance.stop));
    let message = envelope(performance, model, &content, stop, performance.usage);
    Playback::whole(performance, &message)
}

/// An error's status and body.
pub(super) fn error(error: &ErrorReply<'_>) -> (u16, Value) {
    let usual;
    let (status, kind, says) = match error.kind {
        FailureKind::Status { status, name } => {
            let kind = name.as_deref().unwrap_or_else(|| error_kind(*status));
            (*status, kind, error.fallback)
        }
        FailureKind::Cause(Cause::ContextOverflow) => (
            400,
            error_kind(400),
            "prompt is too long: 250000 tokens > 200000 maximum",
        ),
        FailureKind::Cause(Cause::Quota) => (
            400,
            error_kind(400),
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.",
        ),
        FailureKind::Cause(Cause::ModelNotFound) => {
            usual = format!("model: {}", error.model);
            (404, error_kind(404), usual.as_str())
        }
    };
    let message = error.message.unwrap_or(says);
    let body = json!({"type": "error", "error": {"type": kind, "message": message}});
    (status, body)
}

/// The error type that belongs to a status.
fn error_kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        OVERLOADED => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

const OVERLOADED: u16 = 529;

fn envelope(
    performance: &Performance<Call>,
    model: &str,
    content: &Value,
    stop_reason: Option<&str>,
    counts: Usage,
) -> Value {
    json!({
        "id": format!("msg_scripted_{}", performance.id.simple()),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": null,
        "usage": usage(counts),
    })
}

fn block_events(
    performance: &Performance<Call>,
    step: &Step<Call>,
    index: usize,
    actions: &mut Vec<Action>,
) {
    let open = |block: Value| json!({"index": index, "content_block": block});
    let delta = |delta: Value| json!({"index": index, "delta": delta});
    let piece = |data| typed_event("content_block_delta", delta(data));
    let start = |block| event("content_block_start", open(block));
    match step {
        Step::Wait(_) => {}
        Step::Say(text, pace) => {
            actions.push(start(json!({"type": "text", "text": ""})));
            push_chunks(text, *pace, actions, |chunk| {
                piece(json!({"type": "text_delta", "text": chunk}))
            });
        }
        Step::Think(text, pace) => {
            actions.push(start(
                json!({"type": "thinking", "thinking": "", "signature": ""}),
            ));
            push_chunks(text, *pace, actions, |chunk| {
                piece(json!({"type": "thinking_delta", "thinking": chunk}))
            });
            actions.push(event(
                "content_block_delta",
                delta(json!({"type": "signature_delta", "signature": SIGNATURE})),
            ));
        }
        Step::Call(call, pace) => {
            let id = call_id(performance, index);
            actions.push(start(
                json!({"type": "tool_use", "id": id, "name": call.name, "input": {}}),
            ));
            push_chunks(&call.arguments().to_string(), *pace, actions, |chunk| {
                piece(json!({"type": "input_json_delta", "partial_json": chunk}))
            });
        }
    }
    actions.push(event("content_block_stop", json!({"index": index})));
}

fn whole_block(performance: &Performance<Call>, step: &Step<Call>, index: usize) -> Option<Value> {
    Some(match step {
        Step::Wait(_) => return None,
        Step::Say(text, _) => json!({"type": "text", "text": text}),
        Step::Think(text, _) => {
            json!({"type": "thinking", "thinking": text, "signature": SIGNATURE})
        }
        Step::Call(call, _) => {
            let id = call_id(performance, index);
            json!({"type": "tool_use", "id": id, "name": call.name, "input": call.arguments()})
        }
    })
}

/// Unique in a conversation, as the API demands of tool calls.
fn call_id(performance: &Performance<Call>, index: usize) -> String {
    format!("toolu_scripted_{}_{index}", performance.id.simple())
}

fn stop_reason(stop: Stop) -> &'static str {
    match stop {
        Stop::EndTurn => "end_turn",
        Stop::ToolUse => "tool_use",
        Stop::MaxTokens => "max_tokens",
        Stop::Refusal => "refusal",
    }
}

fn usage(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    })
}

fn event(name: &str, data: Value) -> Action {
    Action::Send(typed_event(name, data))
}

/// "scripted" in base64: nobody checks it, but clients decode it.
const SIGNATURE: &str = "c2NyaXB0ZWQ=";

#[cfg(test)]
mod tests;
