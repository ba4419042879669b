use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::scripted_model::playback::End;
use crate::scripted_model::script::{Cut, CutKind, Pace, Usage};

fn performance() -> Performance<Call> {
    let call = |name: &str, namespace: Option<&str>, input| {
        let call = Call {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
            input,
        };
        Step::Call(call, Pace::default())
    };
    Performance {
        id: Uuid::nil(),
        delay: Duration::ZERO,
        steps: vec![
            Step::Think("hm".to_owned(), Pace::default()),
            Step::Say("I look.".to_owned(), Pace::default()),
            Step::Wait(Duration::from_secs(1)),
            call("echo", Some("mcp__s"), Input::Json(json!({"a": 1}))),
            call("apply_patch", None, Input::Text("*** Begin".to_owned())),
        ],
        cut: None,
        stop: Stop::ToolUse,
        usage: Usage {
            input: 5,
            output: 7,
            reasoning: 2,
            cache_read: 3,
            cache_write: 1,
        },
    }
}

fn events(playback: &Playback) -> Vec<Value> {
    let sent = playback.actions.iter().filter_map(|action| match action {
        Action::Send(data) | Action::SendContent(data) => Some(data),
        Action::Wait(_) => None,
    });
    sent.map(|data| {
        let text = std::str::from_utf8(data).unwrap();
        let (_, data) = text.split_once("\ndata: ").unwrap();
        serde_json::from_str(data).unwrap()
    })
    .collect()
}

#[test]
fn every_item_appears_empty_grows_and_is_repeated_whole() {
    let events = events(&stream(&performance(), "m"));
    let of = |kind: &str| -> Vec<Value> {
        let found = events.iter().filter(|event| event["type"] == kind);
        found.cloned().collect()
    };
    let done = of("response.output_item.done");
    let kinds: Vec<_> = done.iter().map(|event| &event["item"]["type"]).collect();
    assert_eq!(
        kinds,
        ["reasoning", "message", "function_call", "custom_tool_call"]
    );
    assert_eq!(done[2]["item"]["namespace"], "mcp__s");
    assert_eq!(done[2]["item"]["arguments"], "{\"a\":1}");
    assert_eq!(done[3]["item"]["input"], "*** Begin");
    let added = of("response.output_item.added");
    assert_eq!(added[1]["item"]["content"], json!([]));
    assert_eq!(of("response.output_text.delta")[0]["delta"], "I look.");
    assert_eq!(
        of("response.reasoning_summary_text.delta")[0]["delta"],
        "hm"
    );
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.completed");
    assert_eq!(last["response"]["output"].as_array().unwrap().len(), 4);
    let usage = &last["response"]["usage"];
    assert_eq!(usage["input_tokens"], 9);
    assert_eq!(usage["input_tokens_details"]["cached_tokens"], 3);
    assert_eq!(usage["output_tokens_details"]["reasoning_tokens"], 2);
}

#[test]
fn a_limit_or_a_refusal_ends_incomplete() {
    for (stop, reason) in [
        (Stop::MaxTokens, "max_output_tokens"),
        (Stop::Refusal, "content_filter"),
    ] {
        let mut performance = performance();
        performance.stop = stop;
        let events = events(&stream(&performance, "m"));
        let last = events.last().unwrap();
        assert_eq!(last["type"], "response.incomplete");
        assert_eq!(last["response"]["incomplete_details"]["reason"], reason);
    }
}

#[test]
fn a_cut_stream_never_says_that_it_is_whole() {
    let mut performance = performance();
    performance.cut = Some(Cut {
        after: 1,
        how: CutKind::Error,
        times: None,
    });
    let playback = stream(&performance, "m");
    assert_eq!(playback.end, End::Regular);
    let events = events(&playback);
    assert_eq!(events.last().unwrap()["type"], "response.failed");
    assert_eq!(
        events.last().unwrap()["response"]["error"]["message"],
        CUT_MESSAGE
    );
}
