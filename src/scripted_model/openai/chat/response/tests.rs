use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::scripted_model::script::{Pace, Usage};
use crate::scripted_model::toolset::Input;

fn performance() -> Performance<Call> {
    let call = |name: &str| {
        let call = Call {
            namespace: None,
            name: name.to_owned(),
            input: Input::Json(json!({"command": "ls"})),
        };
        Step::Call(call, Pace::default())
    };
    Performance {
        id: Uuid::nil(),
        delay: Duration::ZERO,
        steps: vec![
            Step::Think("hm".to_owned(), Pace::default()),
            Step::Say("I look.".to_owned(), Pace::default()),
            call("bash"),
            call("read"),
        ],
        cut: None,
        stop: Stop::ToolUse,
        usage: Usage {
            input: 5,
            output: 7,
            cache_read: 3,
            ..Usage::default()
        },
    }
}

fn sent(playback: &Playback) -> String {
    let data = playback.actions.iter().filter_map(|action| match action {
        Action::Send(data) | Action::SendContent(data) => std::str::from_utf8(data).ok(),
        Action::Wait(_) => None,
    });
    data.collect()
}

#[test]
fn a_stream_has_text_reasoning_calls_and_counts_and_says_that_it_is_done() {
    let text = sent(&stream(&performance(), "m", true));
    let chunks: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: {"))
        .map(|data| serde_json::from_str(&format!("{{{data}")).unwrap())
        .collect();
    let deltas: Vec<_> = chunks
        .iter()
        .map(|chunk| &chunk["choices"][0]["delta"])
        .collect();
    assert_eq!(deltas[1]["reasoning_content"], "hm");
    assert_eq!(deltas[2]["content"], "I look.");
    let second = &deltas[5]["tool_calls"][0];
    assert_eq!(second["index"], 1);
    assert_eq!(second["function"]["name"], "read");
    assert_eq!(chunks[7]["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(chunks[8]["usage"]["prompt_tokens"], 8);
    assert!(text.ends_with("data: [DONE]\n\n"));
    assert!(!sent(&stream(&performance(), "m", false)).contains("usage"));
}

#[test]
fn the_whole_message_says_what_the_stream_says() {
    let message: Value = serde_json::from_str(&sent(&whole(&performance(), "m"))).unwrap();
    let choice = &message["choices"][0];
    assert_eq!(choice["message"]["content"], "I look.");
    assert_eq!(
        choice["message"]["tool_calls"][1]["function"]["name"],
        "read"
    );
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(message["usage"]["total_tokens"], 15);
}
