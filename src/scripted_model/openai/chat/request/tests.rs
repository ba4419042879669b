//! The request shapes are those that OpenCode 1.18.33 and Pi 0.74.2 send.

use serde_json::json;

use super::*;
use crate::scripted_model::engine::Turn;

fn ask(body: &Value) -> Ask {
    let body = body.to_string();
    let incoming = Incoming {
        path_end: "completions",
        session: Some("ses_1"),
        subagent: false,
        body: body.as_bytes(),
    };
    Parsed::read(&incoming).unwrap().ask
}

#[test]
fn turns_session_and_working_directory_are_found() {
    let asked = ask(&json!({
        "model": "m",
        "stream": true,
        "tools": [{"type": "function", "function": {"name": "bash"}}],
        "messages": [
            {"role": "system", "content": "You are\n<env>\n  Working directory: /tmp/my repo\n</env>"},
            {"role": "user", "content": "fix it"},
            {"role": "assistant", "content": null, "tool_calls": []},
            {"role": "tool", "tool_call_id": "a", "content": "x"},
            {"role": "assistant", "content": "Done."},
            {"role": "user", "content": [{"type": "text", "text": "more"}]},
        ],
    }));
    let prompt = |text: &str| Turn::Prompt(text.to_owned());
    let turns = vec![prompt("fix it"), Turn::Reply, Turn::Reply, prompt("more")];
    let conversation = Conversation {
        id: "ses_1".to_owned(),
        turns,
        cwd: Some("/tmp/my repo".to_owned()),
        subagent: false,
    };
    assert_eq!(asked, Ask::Conversation(conversation));
}

#[test]
fn a_title_call_plays_nothing() {
    let asked = ask(&json!({
        "model": "m",
        "messages": [
            {"role": "system", "content": "You are a title generator."},
            {"role": "user", "content": "fix it"},
        ],
    }));
    assert_eq!(asked, Ask::Side(SIDE_TEXT.to_owned()));
}
