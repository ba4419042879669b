//! Replies in the words of the Chat Completions API.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::scripted_model::dialect::CUT_MESSAGE;
use crate::scripted_model::engine::Performance;
use crate::scripted_model::openai::usage;
use crate::scripted_model::playback::{Action, Playback, push_chunks, unnamed_event};
use crate::scripted_model::script::{Step, Stop};
use crate::scripted_model::toolset::Call;

/// The reply as server-sent events; with `counts` the last one tells the tokens.
pub(super) fn stream(performance: &Performance<Call>, model: &str, counts: bool) -> Playback {
    let chunk = |delta: Value, finish: Option<&str>| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        let mut chunk = envelope(performance, model, "chat.completion.chunk");
        set(&mut chunk, "choices", json!([choice]));
        unnamed_event(&chunk)
    };
    let role = json!({"role": "assistant", "content": ""});
    let mut actions = vec![Action::Send(chunk(role, None))];
    let mut calls = 0;
    for step in &performance.steps {
        match step {
            Step::Wait(time) => actions.push(Action::Wait(*time)),
            Step::Say(text, pace) => push_chunks(text, *pace, &mut actions, |piece| {
                chunk(json!({"content": piece}), None)
            }),
            Step::Think(text, pace) => push_chunks(text, *pace, &mut actions, |piece| {
                chunk(json!({"reasoning_content": piece}), None)
            }),
            Step::Call(call, pace) => {
                let first = json!({
                    "index": calls,
                    "id": call_id(performance, calls),
                    "type": "function",
                    "function": {"name": call.name, "arguments": ""},
                });
                actions.push(Action::Send(chunk(json!({"tool_calls": [first]}), None)));
                let arguments = call.arguments().to_string();
                push_chunks(&arguments, *pace, &mut actions, |piece| {
                    let more = json!({"index": calls, "function": {"arguments": piece}});
                    chunk(json!({"tool_calls": [more]}), None)
                });
                calls += 1;
            }
        }
    }
    let finish = finish_reason(performance.stop);
    actions.push(Action::Send(chunk(json!({}), Some(finish))));
    if counts {
        let mut last = envelope(performance, model, "chat.completion.chunk");
        set(&mut last, "choices", json!([]));
        set(&mut last, "usage", counted(performance));
        actions.push(Action::Send(unnamed_event(&last)));
    }
    actions.push(Action::Send(Bytes::from_static(b"data: [DONE]\n\n")));
    let error =
        json!({"message": CUT_MESSAGE, "type": "server_error", "param": null, "code": null});
    let error = unnamed_event(&json!({"error": error}));
    Playback::streamed(actions, performance.cut, error)
}

/// The reply as one JSON object.
pub(super) fn whole(performance: &Performance<Call>, model: &str) -> Playback {
    let (mut said, mut thought, mut calls) = (String::new(), String::new(), Vec::new());
    for step in &performance.steps {
        match step {
            Step::Wait(_) => {}
            Step::Say(text, _) => said.push_str(text),
            Step::Think(text, _) => thought.push_str(text),
            Step::Call(call, _) => calls.push(json!({
                "id": call_id(performance, calls.len()),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments().to_string()},
            })),
        }
    }
    let mut message = json!({"role": "assistant", "content": said});
    if !thought.is_empty() {
        set(&mut message, "reasoning_content", thought.into());
    }
    if !calls.is_empty() {
        set(&mut message, "tool_calls", calls.into());
    }
    let finish = finish_reason(performance.stop);
    let choice = json!({"index": 0, "message": message, "finish_reason": finish});
    let mut body = envelope(performance, model, "chat.completion");
    set(&mut body, "choices", json!([choice]));
    set(&mut body, "usage", counted(performance));
    Playback::whole(performance, &body)
}

fn envelope(performance: &Performance<Call>, model: &str, object: &str) -> Value {
    json!({
        "id": format!("chatcmpl-scripted-{}", performance.id.simple()),
        "object": object,
        "created": 0,
        "model": model,
    })
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
}

fn counted(performance: &Performance<Call>) -> Value {
    usage(performance.usage, "prompt_tokens", "completion_tokens")
}

/// Unique in a conversation, as clients expect of tool calls.
fn call_id(performance: &Performance<Call>, index: usize) -> String {
    format!("call_scripted_{}_{index}", performance.id.simple())
}

fn finish_reason(stop: Stop) -> &'static str {
    match stop {
        Stop::EndTurn => "stop",
        Stop::ToolUse => "tool_calls",
        Stop::MaxTokens => "length",
        Stop::Refusal => "content_filter",
    }
}

#[cfg(test)]
mod tests;
