//! What reaches neither an adapter nor an event: secrets, wherever the output was cut.

use secrecy::SecretString;
use serde_json::json;

use super::*;
use crate::agent::by_name;
use crate::agent::live::{Heard, LiveReader, LiveSpec};
use crate::frame::{self, FrameLimits};

const SECRET: &str = "supersecretvalue";

fn redactor() -> Arc<Redactor> {
    Arc::new(Redactor::new(&[SecretString::from(SECRET)]).unwrap())
}

/// A line whose `text` is cut in the middle of the secret by the limit on strings.
fn cut_in_a_string() -> Vec<u8> {
    let before = "a".repeat(FrameLimits::default().string - SECRET.len() / 2);
    let text = format!("{before}{SECRET}");
    let content = json!([{ "type": "text", "text": text }]);
    let message = json!({ "id": "m", "role": "assistant", "content": content });
    let line = json!({ "type": "assistant", "message": message, "session_id": "s" });
    format!("{line}\n").into_bytes()
}

/// A line that is too long, so that only its head is kept, which ends in the middle of the secret.
fn cut_at_its_end() -> Vec<u8> {
    let before = "a".repeat(frame::HEAD - SECRET.len() / 2);
    let rest = "a".repeat(FrameLimits::default().line);
    format!("{before}{SECRET}{rest}\n").into_bytes()
}

#[track_caller]
fn assert_masked(shown: &[u8]) {
    let start = &SECRET.as_bytes()[..SECRET.len() / 2];
    let end = &SECRET.as_bytes()[SECRET.len() / 2..];
    for part in [start, end] {
        assert_eq!(memchr::memmem::find(shown, part), None, "a part is shown");
    }
    assert!(
        memchr::memmem::find(shown, b"***").is_some(),
        "it is masked"
    );
}

#[test]
fn a_secret_that_a_limit_cut_in_two_is_masked_in_exec_form() {
    for line in [cut_in_a_string(), cut_at_its_end()] {
        let mut shown = Vec::new();
        let mut reader = OutputReader::new(by_name("claude").unwrap(), redactor());
        reader.push(&line, &mut |read| shown.extend_from_slice(read.line.bytes));
        assert_masked(&shown);
    }
}

#[test]
fn a_secret_that_a_limit_cut_in_two_is_masked_in_live_form() {
    let form = by_name("claude").unwrap().live.as_ref().unwrap();
    for line in [cut_in_a_string(), cut_at_its_end()] {
        let mut shown = Vec::new();
        let mut reader = LiveReader::new(form, &LiveSpec::default(), redactor());
        reader.push(&line, &mut |heard: Heard<'_>| {
            shown.extend_from_slice(heard.line.unwrap().bytes);
        });
        assert_masked(&shown);
    }
}

#[test]
fn a_secret_that_is_spread_over_pieces_is_masked_in_exec_form() {
    let event = |event: serde_json::Value| {
        let line = json!({ "type": "stream_event", "event": event, "session_id": "s" });
        format!("{line}\n")
    };
    let piece = |text: &str| {
        let delta = json!({ "type": "text_delta", "text": text });
        event(json!({ "type": "content_block_delta", "index": 0, "delta": delta }))
    };
    let block = json!({ "type": "text", "text": "" });
    let (first, second) = SECRET.split_at(5);
    let lines = [
        event(json!({ "type": "message_start", "message": { "id": "m", "role": "assistant" } })),
        event(json!({ "type": "content_block_start", "index": 0, "content_block": block })),
        piece(&format!("It is {first}")),
        piece(&format!("{second}.")),
        event(json!({ "type": "content_block_stop", "index": 0 })),
    ];
    let mut reader = OutputReader::new(by_name("claude").unwrap(), redactor());
    let mut told = String::new();
    let mut tell = |events: &[Event]| {
        for event in events {
            if let Event::Token { text, .. } = event {
                told.push_str(text);
            }
        }
    };
    reader.push(lines.concat().as_bytes(), &mut |read| tell(read.events));
    let mut last = Vec::new();
    reader.finish(None, b"", &mut |read| tell(read.events), &mut last);
    tell(&last);
    assert_eq!(told, "It is ***.");
}

#[test]
fn a_secret_that_the_end_of_stderr_begins_in_is_masked() {
    let reader = OutputReader::new(by_name("claude").unwrap(), redactor());
    let stderr = format!("{SECRET}{}", "x".repeat(STDERR_TAIL - SECRET.len() / 2));
    let mut last = Vec::new();
    reader.finish(None, stderr.as_bytes(), &mut |_| {}, &mut last);
    let shown = serde_json::to_string(&last).unwrap();
    assert_masked(shown.as_bytes());
}
