//! Replies in the words of the Gemini API.

use serde_json::{Value, json};

use crate::scripted_model::dialect::CUT_MESSAGE;
use crate::scripted_model::engine::Performance;
use crate::scripted_model::playback::{Action, Playback, push_chunks, unnamed_event};
use crate::scripted_model::script::{Step, Stop, Usage};
use crate::scripted_model::toolset::Call;

/// The reply as server-sent events. The API sends a call in one piece.
pub(super) fn stream(performance: &Performance<Call>, model: &str) -> Playback {
    let chunk = |part: &Value| {
        unnamed_event(&response(
            performance,
            model,
            std::slice::from_ref(part),
            None,
        ))
    };
    let mut actions = Vec::new();
    for (index, step) in performance.steps.iter().enumerate() {
        match step {
            Step::Wait(time) => actions.push(Action::Wait(*time)),
            Step::Say(text, pace) => push_chunks(text, *pace, &mut actions, |piece| {
                chunk(&json!({"text": piece}))
            }),
            Step::Think(text, pace) => push_chunks(text, *pace, &mut actions, |piece| {
                chunk(&json!({"text": piece, "thought": true}))
            }),
            Step::Call(call, _) => {
                let part = function_call(performance, call, index);
                actions.push(Action::SendContent(chunk(&part)));
            }
        }
    }
    let last = response(
        performance,
        model,
        &[],
        Some(finish_reason(performance.stop)),
    );
    actions.push(Action::Send(unnamed_event(&last)));
    let error = json!({"code": 500, "message": CUT_MESSAGE, "status": "INTERNAL"});
    let error = unnamed_event(&json!({"error": error}));
    Playback::streamed(actions, performance.cut, error)
}

/// The reply as one JSON object.
pub(super) fn whole(performance: &Performance<Call>, model: &str) -> Playback {
    let steps = performance.steps.iter().enumerate();
    let parts: Vec<_> = steps
        .filter_map(|(index, step)| match step {
            Step::Wait(_) => None,
            Step::Say(text, _) => Some(json!({"text": text})),
            Step::Think(text, _) => Some(json!({"text": text, "thought": true})),
            Step::Call(call, _) => Some(function_call(performance, call, index)),
        })
        .collect();
    let finish = finish_reason(performance.stop);
    let body = response(performance, model, &parts, Some(finish));
    Playback::whole(performance, &body)
}

fn function_call(performance: &Performance<Call>, call: &Call, index: usize) -> Value {
    let id = format!("call_scripted_{}_{index}", performance.id.simple());
    json!({"functionCall": {"id": id, "name": call.name, "args": call.arguments()}})
}

/// A response, or a piece of a streamed one; only the last tells the token counts.
fn response(
    performance: &Performance<Call>,
    model: &str,
    parts: &[Value],
    finish: Option<&str>,
) -> Value {
    let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
    let mut response = json!({
        "modelVersion": model,
        "responseId": format!("scripted-{}", performance.id.simple()),
    });
    if let (Some(finish), Some(fields)) = (finish, candidate.as_object_mut()) {
        fields.insert("finishReason".to_owned(), finish.into());
    }
    if let Some(fields) = response.as_object_mut() {
        fields.insert("candidates".to_owned(), json!([candidate]));
        if finish.is_some() {
            fields.insert("usageMetadata".to_owned(), usage(performance.usage));
        }
    }
    response
}

/// The prompt's count includes what was cached; the candidates' leaves out reasoning.
fn usage(usage: Usage) -> Value {
    let prompt = usage.input + usage.cache_read + usage.cache_write;
    json!({
        "promptTokenCount": prompt,
        "cachedContentTokenCount": usage.cache_read,
        "candidatesTokenCount": usage.output.saturating_sub(usage.reasoning),
        "thoughtsTokenCount": usage.reasoning,
        "totalTokenCount": prompt + usage.output,
    })
}

fn finish_reason(stop: Stop) -> &'static str {
    match stop {
        Stop::EndTurn | Stop::ToolUse => "STOP",
        Stop::MaxTokens => "MAX_TOKENS",
        Stop::Refusal => "SAFETY",
    }
}

#[cfg(test)]
mod tests;
