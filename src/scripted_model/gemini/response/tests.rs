use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::scripted_model::script::Pace;
use crate::scripted_model::toolset::Input;

fn performance() -> Performance<Call> {
    let call = Call {
        namespace: None,
        name: "read_file".to_owned(),
        input: Input::Json(json!({"file_path": "/f"})),
    };
    Performance {
        id: Uuid::nil(),
        delay: Duration::ZERO,
        steps: vec![
            Step::Think("hm".to_owned(), Pace::default()),
            Step::Say("I look.".to_owned(), Pace::default()),
            Step::Call(call, Pace::default()),
        ],
        cut: None,
        stop: Stop::ToolUse,
        usage: Usage {
            input: 5,
            output: 7,
            reasoning: 2,
            cache_read: 3,
            cache_write: 0,
        },
    }
}

fn sent(playback: &Playback) -> Vec<&str> {
    let data = playback.actions.iter().filter_map(|action| match action {
        Action::Send(data) | Action::SendContent(data) => std::str::from_utf8(data).ok(),
        Action::Wait(_) => None,
    });
    data.collect()
}

#[test]
fn a_stream_has_a_chunk_for_each_piece_and_counts_at_its_end() {
    let playback = stream(&performance(), "m");
    let chunks: Vec<Value> = sent(&playback)
        .iter()
        .map(|chunk| serde_json::from_str(chunk.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    let part = |index: usize| &chunks[index]["candidates"][0]["content"]["parts"][0];
    assert_eq!(*part(0), json!({"text": "hm", "thought": true}));
    assert_eq!(part(1)["text"], "I look.");
    assert_eq!(part(2)["functionCall"]["args"]["file_path"], "/f");
    let last = chunks.last().unwrap();
    assert_eq!(last["candidates"][0]["finishReason"], "STOP");
    let wanted = json!({
        "promptTokenCount": 8,
        "cachedContentTokenCount": 3,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 2,
        "totalTokenCount": 15,
    });
    assert_eq!(last["usageMetadata"], wanted);
}

#[test]
fn the_whole_response_says_what_the_stream_says() {
    let playback = whole(&performance(), "m");
    let response: Value = serde_json::from_str(sent(&playback)[0]).unwrap();
    let parts = response["candidates"][0]["content"]["parts"].as_array();
    assert_eq!(parts.unwrap().len(), 3);
    assert_eq!(response["usageMetadata"]["totalTokenCount"], 15);
}
