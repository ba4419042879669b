//! Replies and errors in the words of the Messages API.

use bytes::Bytes;
use serde_json::{Value, json};

use super::tools;
use crate::scripted_model::engine::Performance;
use crate::scripted_model::playback::{Action, End, Playback, chunks};
use crate::scripted_model::script::{CutKind, Pace, Step, Stop, Usage};

/// The reply as server-sent events.
pub(in crate::scripted_model) fn stream(performance: &Performance, model: &str) -> Playback {
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
    let mut playback = Playback {
        actions,
        end: End::Regular,
    };
    if let Some(cut) = performance.cut {
        playback.cut_after(cut.after);
        match cut.how {
            CutKind::End => {}
            CutKind::Reset => playback.end = End::Reset,
            CutKind::Error => {
                let error = json!({"type": error_kind(OVERLOADED), "message": CUT_MESSAGE});
                playback
                    .actions
                    .push(event("error", json!({"error": error})));
            }
        }
    }
    playback
}

/// The reply as one JSON object, in its time; a cut one ends in the middle.
pub(in crate::scripted_model) fn message(performance: &Performance, model: &str) -> Playback {
    let steps = performance.steps.iter().enumerate();
    let content = steps
        .filter_map(|(index, step)| whole_block(performance, step, index))
        .collect();
    let stop = Some(stop_reason(performance.stop));
    let message = envelope(performance, model, &content, stop, performance.usage);
    let mut body = Bytes::from(message.to_string());
    let mut end = End::Regular;
    if let Some(cut) = performance.cut {
        body.truncate(body.len() / 2);
        if cut.how == CutKind::Reset {
            end = End::Reset;
        }
    }
    let mut actions: Vec<_> = performance
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Wait(time) => Some(Action::Wait(*time)),
            _ => None,
        })
        .collect();
    actions.push(Action::SendContent(body));
    Playback { actions, end }
}

/// An error's body.
pub(in crate::scripted_model) fn error_body(kind: &str, message: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}})
}

/// The error type that belongs to a status.
pub(in crate::scripted_model) fn error_kind(status: u16) -> &'static str {
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
const CUT_MESSAGE: &str = "the script cuts this reply here";

fn envelope(
    performance: &Performance,
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

fn block_events(performance: &Performance, step: &Step, index: usize, actions: &mut Vec<Action>) {
    let open = |block: Value| json!({"index": index, "content_block": block});
    let delta = |delta: Value| json!({"index": index, "delta": delta});
    let start = |block| event("content_block_start", open(block));
    match step {
        Step::Wait(_) => {}
        Step::Say(text, pace) => {
            actions.push(start(json!({"type": "text", "text": ""})));
            push_chunks(text, *pace, actions, |chunk| {
                delta(json!({"type": "text_delta", "text": chunk}))
            });
        }
        Step::Think(text, pace) => {
            actions.push(start(
                json!({"type": "thinking", "thinking": "", "signature": ""}),
            ));
            push_chunks(text, *pace, actions, |chunk| {
                delta(json!({"type": "thinking_delta", "thinking": chunk}))
            });
            actions.push(event(
                "content_block_delta",
                delta(json!({"type": "signature_delta", "signature": SIGNATURE})),
            ));
        }
        Step::Call(tool, pace) => {
            let (name, input) = tools::native(tool);
            let id = call_id(performance, index);
            actions.push(start(
                json!({"type": "tool_use", "id": id, "name": name, "input": {}}),
            ));
            push_chunks(&input.to_string(), *pace, actions, |chunk| {
                delta(json!({"type": "input_json_delta", "partial_json": chunk}))
            });
        }
    }
    actions.push(event("content_block_stop", json!({"index": index})));
}

fn push_chunks(text: &str, pace: Pace, actions: &mut Vec<Action>, delta: impl Fn(&str) -> Value) {
    for (number, chunk) in chunks(text, pace).into_iter().enumerate() {
        if number > 0 && !pace.pause.is_zero() {
            actions.push(Action::Wait(pace.pause));
        }
        let data = frame("content_block_delta", delta(chunk));
        actions.push(Action::SendContent(data));
    }
}

fn whole_block(performance: &Performance, step: &Step, index: usize) -> Option<Value> {
    Some(match step {
        Step::Wait(_) => return None,
        Step::Say(text, _) => json!({"type": "text", "text": text}),
        Step::Think(text, _) => {
            json!({"type": "thinking", "thinking": text, "signature": SIGNATURE})
        }
        Step::Call(tool, _) => {
            let (name, input) = tools::native(tool);
            let id = call_id(performance, index);
            json!({"type": "tool_use", "id": id, "name": name, "input": input})
        }
    })
}

/// Unique in a conversation, as the API demands of tool calls.
fn call_id(performance: &Performance, index: usize) -> String {
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
    Action::Send(frame(name, data))
}

fn frame(name: &str, mut data: Value) -> Bytes {
    if let Some(fields) = data.as_object_mut() {
        fields.insert("type".to_owned(), Value::from(name));
    }
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// "scripted" in base64: nobody checks it, but clients decode it.
const SIGNATURE: &str = "c2NyaXB0ZWQ=";

#[cfg(test)]
mod tests;
