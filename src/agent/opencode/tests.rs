//! What the recordings do not show: records from OpenCode's own source, broken lines, forgeries.

use serde_json::{Value, json};

use super::*;
use crate::event::FileChangeKind;
use crate::frame::{FrameLimits, LineFramer};
use crate::ids::SpoolOffset;

fn line(kind: &str, part: &Value) -> String {
    format!(r#"{{"type":"{kind}","timestamp":1,"sessionID":"ses_1","part":{part}}}"#)
}

fn start(message: &str, part: &str) -> String {
    line("step_start", &json!({"id": part, "messageID": message}))
}

fn text(message: &str, part: &str, text: &str) -> String {
    line(
        "text",
        &json!({"id": part, "messageID": message, "text": text}),
    )
}

fn finish(message: &str, reason: &str) -> String {
    line(
        "step_finish",
        &json!({"id": "prt_9", "messageID": message, "reason": reason}),
    )
}

fn tool(tool: &str, state: &Value) -> String {
    let part =
        json!({"id": "prt_2", "messageID": "msg_1", "tool": tool, "callID": "c", "state": state});
    line("tool_use", &part)
}

fn error(name: &str, message: &str) -> String {
    let error = json!({"name": name, "data": {"message": message}});
    format!(r#"{{"type":"error","sessionID":"ses_1","error":{error}}}"#)
}

fn read(adapter: &mut OpenCode, lines: &[String]) -> Vec<Event> {
    let mut out = Vec::new();
    let mut framer = LineFramer::new(FrameLimits::default(), SpoolOffset::START);
    let mut sink = |line: Line<'_>| {
        adapter.line(&line, &mut out);
    };
    framer.push(lines.join("\n").as_bytes(), &mut sink);
    framer.finish(&mut sink);
    out
}

fn events(lines: &[String]) -> Vec<Event> {
    read(&mut OpenCode::default(), lines)
}

fn evidence(lines: &[String], code: Option<i32>, stderr: &str) -> Evidence {
    let mut adapter = OpenCode::default();
    read(&mut adapter, lines);
    let exit = Exit {
        code,
        signal: code.is_none().then_some(15),
        oom: false,
    };
    adapter.end(Some(exit), stderr.as_bytes(), &mut Vec::new())
}

fn main_text(events: &[Event]) -> String {
    let mut pieces: Vec<(&str, &str)> = Vec::new();
    for event in events {
        match event {
            Event::Token {
                text, message_id, ..
            } => {
                pieces.push((message_id.as_deref().unwrap_or_default(), text));
            }
            Event::TextRetracted { message_id } => pieces.retain(|(id, _)| id != message_id),
            _ => {}
        }
    }
    pieces.into_iter().map(|(_, text)| text).collect()
}

#[test]
fn a_stop_completes_the_turn_only_when_the_process_ended_well_by_itself() {
    let lines = [text("msg_1", "prt_1", "hi"), finish("msg_1", "stop")];
    assert_eq!(evidence(&lines, Some(0), ""), Evidence::Completed);
    assert_eq!(evidence(&lines, None, ""), Evidence::None);
    assert_eq!(evidence(&lines, Some(1), ""), Evidence::None);
}

#[test]
fn a_stop_is_taken_back_by_whatever_comes_after_it() {
    let mut adapter = OpenCode::default();
    read(
        &mut adapter,
        &[text("msg_1", "prt_1", "hi"), finish("msg_1", "stop")],
    );
    assert!(adapter.finished());
    read(&mut adapter, &[start("msg_2", "prt_2")]);
    assert!(!adapter.finished());
    assert_eq!(adapter.end(None, b"", &mut Vec::new()), Evidence::None);
}

#[test]
fn a_success_without_a_word_is_no_completion() {
    let lines = [start("msg_1", "prt_1"), finish("msg_1", "stop")];
    assert_eq!(evidence(&lines, Some(0), ""), Evidence::None);
}

#[test]
fn what_is_said_again_after_a_broken_stream_is_said_once() {
    let made = events(&[
        start("msg_1", "prt_1"),
        text("msg_1", "prt_2", "I look."),
        start("msg_1", "prt_3"),
        text("msg_1", "prt_4", "I look."),
        finish("msg_1", "stop"),
    ]);
    assert_eq!(main_text(&made), "I look.");
}

#[test]
fn a_start_that_comes_late_takes_nothing_back() {
    let made = events(&[
        start("msg_1", "prt_1"),
        text("msg_1", "prt_4", "new"),
        start("msg_1", "prt_3"),
        finish("msg_1", "stop"),
    ]);
    assert_eq!(main_text(&made), "new");
}

#[test]
fn an_old_call_that_is_told_again_is_no_new_call() {
    let state =
        json!({"status": "completed", "input": {}, "time": {"start": 1, "end": 2, "compacted": 3}});
    let made = events(&[tool("bash", &state)]);
    assert!(
        matches!(made.as_slice(), [Event::Session { .. }]),
        "{made:?}"
    );
}

#[test]
fn a_patch_tells_each_file_that_it_changed() {
    let patch = "Index: /w/a.txt\n===\n--- /w/a.txt\n+++ /w/a.txt\n@@ -1,1 +1,1 @@\n-x\n+y\n";
    let files = json!([
        {"filePath": "/w/a.txt", "relativePath": "a.txt", "type": "update", "patch": patch},
        {"filePath": "/w/b.txt", "relativePath": "c.txt", "type": "move", "movePath": "/w/c.txt", "patch": patch},
        {"filePath": "/w/d.txt", "relativePath": "d.txt", "type": "delete", "patch": patch},
    ]);
    let state =
        json!({"status": "completed", "input": {"patchText": "…"}, "metadata": {"files": files}});
    let made = events(&[tool("apply_patch", &state)]);
    let changes: Vec<_> = made
        .iter()
        .filter_map(|event| match event {
            Event::FileChange {
                path, kind, diff, ..
            } => {
                let head: Vec<&str> = diff.as_deref()?.lines().take(2).collect();
                Some((path.as_str(), *kind, head.join(" ")))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        changes,
        [
            (
                "/w/a.txt",
                FileChangeKind::Edit,
                "--- a/a.txt +++ b/a.txt".to_owned()
            ),
            (
                "/w/c.txt",
                FileChangeKind::Rename,
                "--- a/b.txt +++ b/c.txt".to_owned()
            ),
            (
                "/w/d.txt",
                FileChangeKind::Delete,
                "--- a/d.txt +++ /dev/null".to_owned()
            ),
        ]
    );
}

#[test]
fn an_interrupt_that_the_cli_tells_of_is_no_failure() {
    let lines = [error("MessageAbortedError", "aborted")];
    assert_eq!(evidence(&lines, Some(1), ""), Evidence::Interrupted);
}

#[test]
fn a_hang_that_was_ended_leaves_the_reason_from_the_log() {
    let log = "timestamp=x level=ERROR message=\"stream error\" small=false error.error=\"AI_APICallError: Monthly usage limit reached\"";
    let mut adapter = OpenCode::default();
    let mut out = Vec::new();
    let exit = Exit {
        code: None,
        signal: Some(15),
        oom: false,
    };
    let evidence = adapter.end(Some(exit), log.as_bytes(), &mut out);
    assert_eq!(evidence, Evidence::None);
    assert!(
        matches!(&out[..], [Event::Notice { code, text, .. }] if code == "api_retry" && text.contains("usage limit")),
        "{out:?}"
    );
    let Evidence::Failed(error) = adapter.end(
        Some(Exit {
            code: Some(1),
            ..Exit::default()
        }),
        log.as_bytes(),
        &mut out,
    ) else {
        panic!("it exited by itself")
    };
    assert_eq!(error.class, ErrorClass::Quota);
}

#[test]
fn a_session_that_is_missing_is_told_whatever_the_exit_code() {
    for code in [0, 1] {
        let evidence = evidence(
            &[],
            Some(code),
            "\u{1b}[91mError: \u{1b}[0mSession not found\n",
        );
        assert!(
            matches!(evidence, Evidence::ConversationMissing(_)),
            "{code}: {evidence:?}"
        );
    }
}

#[test]
fn a_record_of_another_session_changes_nothing() {
    let forged = finish("msg_1", "stop").replace("ses_1", "ses_2");
    let lines = [text("msg_1", "prt_1", "hi"), forged.clone()];
    assert_eq!(evidence(&lines, Some(0), ""), Evidence::None);
    assert!(matches!(events(&lines).last(), Some(Event::Raw { text, .. }) if *text == forged));
}

#[test]
fn records_that_share_a_line_with_other_output_are_found() {
    let glued = format!(
        "noise{}{}tail",
        text("msg_1", "prt_1", "a"),
        text("msg_1", "prt_2", "b")
    );
    let made = events(&[glued]);
    assert_eq!(main_text(&made), "ab");
    assert!(matches!(&made[0], Event::Notice { code, .. } if code == "stream_corrupt"));
    let raws = made
        .iter()
        .filter(|event| matches!(event, Event::Raw { .. }));
    assert_eq!(raws.count(), 2);
}

#[test]
fn what_is_not_known_stays_as_it_is() {
    for odd in [
        r#"{"type":"new_thing","sessionID":"ses_1","part":{}}"#,
        r#"{"type":"text","sessionID":"ses_1","part":{"text":3}}"#,
        r#"{"type":"text","sessionID":""}"#,
        r#"{"type":"error","sessionID":"ses_1"}"#,
        "plain words",
    ] {
        let made = events(&[odd.to_owned()]);
        assert!(
            matches!(made.last(), Some(Event::Raw { text, .. }) if text == odd),
            "{odd}: {made:?}"
        );
    }
}
