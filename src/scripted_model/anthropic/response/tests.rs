use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::scripted_model::playback::End;
use crate::scripted_model::script::{Cut, CutKind, Pace};
use crate::scripted_model::toolset::Input;

fn performance() -> Performance<Call> {
    let shell = Call {
        namespace: None,
        name: "Bash".to_owned(),
        input: Input::Json(json!({"command": "ls"})),
    };
    Performance {
        id: Uuid::nil(),
        delay: Duration::ZERO,
        steps: vec![
            Step::Think("hm".to_owned(), Pace::default()),
            Step::Wait(Duration::from_secs(1)),
            Step::Call(shell, Pace::default()),
        ],
        stop: Stop::ToolUse,
        usage: Usage {
            input: 5,
            output: 7,
            ..Usage::default()
        },
        cut: None,
    }
}

/// The events of a stream: name and data.
fn events(playback: &Playback) -> Vec<(String, Value)> {
    let sent = playback.actions.iter().filter_map(|action| match action {
        Action::Send(data) | Action::SendContent(data) => Some(data),
        Action::Wait(_) => None,
    });
    sent.map(|data| {
        let text = std::str::from_utf8(data).unwrap();
        let (name, rest) = text
            .strip_prefix("event: ")
            .unwrap()
            .split_once('\n')
            .unwrap();
        let data = rest.strip_prefix("data: ").unwrap();
        (name.to_owned(), serde_json::from_str(data).unwrap())
    })
    .collect()
}

#[test]
fn a_stream_has_the_events_of_the_api_in_their_order() {
    let events = events(&stream(&performance(), "claude-x"));
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    for (name, data) in &events {
        assert_eq!(data["type"], *name.as_str());
    }
    assert_eq!(events[0].1["message"]["model"], "claude-x");
    assert_eq!(events[0].1["message"]["usage"]["output_tokens"], 1);
    assert_eq!(events[3].1["delta"]["type"], "signature_delta");
    assert_eq!(events[5].1["content_block"]["name"], "Bash");
    assert_eq!(events[6].1["delta"]["partial_json"], r#"{"command":"ls"}"#);
    assert_eq!(events[6].1["index"], 1);
    assert_eq!(events[8].1["delta"]["stop_reason"], "tool_use");
    assert_eq!(events[8].1["usage"]["output_tokens"], 7);
}

#[test]
fn the_whole_message_says_what_the_stream_says() {
    let playback = message(&performance(), "claude-x");
    let wait = Action::Wait(Duration::from_secs(1));
    let [first, Action::SendContent(body)] = &playback.actions[..] else {
        panic!("{playback:?}")
    };
    assert_eq!(*first, wait);
    let message: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(message["content"][0]["thinking"], "hm");
    assert_eq!(message["content"][1]["input"]["command"], "ls");
    assert_eq!(message["stop_reason"], "tool_use");
    assert_eq!(message["usage"]["output_tokens"], 7);
}

#[test]
fn a_cut_stream_never_says_that_it_is_whole() {
    for (how, end) in [
        (CutKind::Reset, End::Reset),
        (CutKind::End, End::Regular),
        (CutKind::Error, End::Regular),
    ] {
        let mut performance = performance();
        performance.cut = Some(Cut {
            after: 1,
            how,
            times: None,
        });
        let playback = stream(&performance, "m");
        let events = events(&playback);
        assert_eq!(playback.end, end);
        assert!(events.iter().all(|(name, _)| name != "message_stop"));
        let error = events.last().filter(|(name, _)| name == "error");
        assert_eq!(error.is_some(), how == CutKind::Error);
    }
}

#[test]
fn error_types_follow_the_status() {
    assert_eq!(error_kind(401), "authentication_error");
    assert_eq!(error_kind(429), "rate_limit_error");
    assert_eq!(error_kind(503), "api_error");
    assert_eq!(error_kind(529), "overloaded_error");
    assert_eq!(error_kind(418), "invalid_request_error");
}
