//! Replies in the words of the Responses API.

use serde_json::{Value, json};

use crate::scripted_model::dialect::CUT_MESSAGE;
use crate::scripted_model::engine::Performance;
use crate::scripted_model::openai::usage;
use crate::scripted_model::playback::{Action, Playback, push_chunks, typed_event};
use crate::scripted_model::script::{Step, Stop};
use crate::scripted_model::toolset::{Call, Input};

/// The reply as server-sent events.
pub(super) fn stream(performance: &Performance<Call>, model: &str) -> Playback {
    let started = || json!({"response": envelope(performance, model, "in_progress", &[])});
    let mut actions = vec![
        event("response.created", started()),
        event("response.in_progress", started()),
    ];
    let mut output = Vec::new();
    for step in &performance.steps {
        if let Step::Wait(time) = step {
            actions.push(Action::Wait(*time));
        } else if let Some(item) = item(performance, step, output.len()) {
            item_events(step, &item, output.len(), &mut actions);
            output.push(item);
        }
    }
    let (name, status) = ending(performance.stop);
    let response = envelope(performance, model, status, &output);
    actions.push(event(name, json!({"response": response})));
    Playback::streamed(actions, performance.cut, failed(performance, model))
}

/// The reply as one JSON object.
pub(super) fn whole(performance: &Performance<Call>, model: &str) -> Playback {
    let steps = performance.steps.iter();
    let steps = steps.filter(|step| !matches!(step, Step::Wait(_)));
    let output: Vec<_> = steps
        .enumerate()
        .filter_map(|(index, step)| item(performance, step, index))
        .collect();
    let (_, status) = ending(performance.stop);
    Playback::whole(performance, &envelope(performance, model, status, &output))
}

fn failed(performance: &Performance<Call>, model: &str) -> bytes::Bytes {
    let mut response = envelope(performance, model, "failed", &[]);
    if let Some(fields) = response.as_object_mut() {
        let error = json!({"code": "server_error", "message": CUT_MESSAGE});
        fields.insert("error".to_owned(), error);
    }
    typed_event("response.failed", json!({"response": response}))
}

fn ending(stop: Stop) -> (&'static str, &'static str) {
    match stop {
        Stop::EndTurn | Stop::ToolUse => ("response.completed", "completed"),
        Stop::MaxTokens | Stop::Refusal => ("response.incomplete", "incomplete"),
    }
}

fn envelope(performance: &Performance<Call>, model: &str, status: &str, output: &[Value]) -> Value {
    let incomplete = match performance.stop {
        Stop::MaxTokens if status == "incomplete" => json!({"reason": "max_output_tokens"}),
        Stop::Refusal if status == "incomplete" => json!({"reason": "content_filter"}),
        _ => Value::Null,
    };
    let counts = match status {
        "in_progress" | "failed" => Value::Null,
        _ => usage(performance.usage, "input_tokens", "output_tokens"),
    };
    json!({
        "id": format!("resp_scripted_{}", performance.id.simple()),
        "object": "response",
        "created_at": 0,
        "status": status,
        "error": null,
        "incomplete_details": incomplete,
        "model": model,
        "output": output,
        "usage": counts,
    })
}

/// A step as a whole item of the output.
fn item(performance: &Performance<Call>, step: &Step<Call>, index: usize) -> Option<Value> {
    let id = |kind: &str| format!("{kind}_scripted_{}_{index}", performance.id.simple());
    Some(match step {
        Step::Wait(_) => return None,
        Step::Say(text, _) => json!({
            "id": id("msg"),
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": []}],
        }),
        Step::Think(text, _) => json!({
            "id": id("rs"),
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": text}],
            "encrypted_content": ENCRYPTED,
        }),
        Step::Call(call, _) => {
            let mut item = json!({
                "id": id("fc"),
                "call_id": id("call"),
                "name": call.name,
                "status": "completed",
            });
            if let Some(fields) = item.as_object_mut() {
                let (kind, key, input) = match &call.input {
                    Input::Json(input) => ("function_call", "arguments", input.to_string()),
                    Input::Text(text) => ("custom_tool_call", "input", text.clone()),
                };
                fields.insert("type".to_owned(), kind.into());
                fields.insert(key.to_owned(), input.into());
                if let Some(namespace) = &call.namespace {
                    fields.insert("namespace".to_owned(), namespace.as_str().into());
                }
            }
            item
        }
    })
}

/// The item's events: it appears empty, grows, and is repeated whole.
fn item_events(step: &Step<Call>, item: &Value, index: usize, actions: &mut Vec<Action>) {
    let at = |mut data: Value| {
        if let Some(fields) = data.as_object_mut() {
            fields.insert("output_index".to_owned(), index.into());
            fields.insert("item_id".to_owned(), field(item, "id"));
        }
        data
    };
    let added = json!({"output_index": index, "item": empty(item)});
    actions.push(event("response.output_item.added", added));
    match step {
        Step::Wait(_) => {}
        Step::Say(text, pace) => {
            let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": []});
            let data = at(json!({"content_index": 0, "part": part("")}));
            actions.push(event("response.content_part.added", data));
            push_chunks(text, *pace, actions, |chunk| {
                let data = at(json!({"content_index": 0, "delta": chunk}));
                typed_event("response.output_text.delta", data)
            });
            let data = at(json!({"content_index": 0, "text": text}));
            actions.push(event("response.output_text.done", data));
            let data = at(json!({"content_index": 0, "part": part(text)}));
            actions.push(event("response.content_part.done", data));
        }
        Step::Think(text, pace) => {
            let part = |text: &str| json!({"type": "summary_text", "text": text});
            let data = at(json!({"summary_index": 0, "part": part("")}));
            actions.push(event("response.reasoning_summary_part.added", data));
            push_chunks(text, *pace, actions, |chunk| {
                let data = at(json!({"summary_index": 0, "delta": chunk}));
                typed_event("response.reasoning_summary_text.delta", data)
            });
            let data = at(json!({"summary_index": 0, "text": text}));
            actions.push(event("response.reasoning_summary_text.done", data));
            let data = at(json!({"summary_index": 0, "part": part(text)}));
            actions.push(event("response.reasoning_summary_part.done", data));
        }
        Step::Call(call, pace) => {
            let (name, key, text) = match &call.input {
                Input::Json(input) => (
                    "response.function_call_arguments",
                    "arguments",
                    input.to_string(),
                ),
                Input::Text(text) => ("response.custom_tool_call_input", "input", text.clone()),
            };
            push_chunks(&text, *pace, actions, |chunk| {
                typed_event(&format!("{name}.delta"), at(json!({"delta": chunk})))
            });
            actions.push(event(&format!("{name}.done"), at(json!({key: text}))));
        }
    }
    let done = json!({"output_index": index, "item": item});
    actions.push(event("response.output_item.done", done));
}

/// An item before its content.
fn empty(item: &Value) -> Value {
    let mut item = item.clone();
    if let Some(fields) = item.as_object_mut() {
        for (key, value) in fields.iter_mut() {
            match key.as_str() {
                "content" | "summary" => *value = json!([]),
                "arguments" | "input" => *value = json!(""),
                "status" => *value = json!("in_progress"),
                _ => {}
            }
        }
    }
    item
}

fn field(value: &Value, name: &str) -> Value {
    value.get(name).cloned().unwrap_or_default()
}

fn event(name: &str, data: Value) -> Action {
    Action::Send(typed_event(name, data))
}

/// "scripted" in base64: nobody decrypts it, but clients send it back.
const ENCRYPTED: &str = "c2NyaXB0ZWQ=";

#[cfg(test)]
mod tests;
