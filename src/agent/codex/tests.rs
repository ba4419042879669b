//! What the recordings do not show: records of the CLI's own schema, broken lines, forgeries.

use serde_json::json;

use super::*;
use crate::event::{ErrorClass, FileChangeKind};
use crate::frame::{FrameLimits, LineFramer};
use crate::ids::SpoolOffset;

const BEGUN: &str = r#"{"type":"thread.started","thread_id":"t"}"#;
const DONE: &str = r#"{"type":"turn.completed","usage":{"input_tokens":10,"cached_input_tokens":4,"cache_write_input_tokens":1,"output_tokens":5}}"#;

fn exit(code: i32) -> Exit {
    Exit {
        code: Some(code),
        ..Exit::default()
    }
}

fn item(record: &str, item: &serde_json::Value) -> String {
    // `type` first, as the CLI writes it
    format!(r#"{{"type":"item.{record}","item":{item}}}"#)
}

fn read(codex: &mut Codex, lines: &[&str]) -> Vec<Event> {
    let mut out = Vec::new();
    let mut framer = LineFramer::new(FrameLimits::default(), SpoolOffset::START);
    let mut text = lines.join("\n");
    text.push('\n');
    framer.push(text.as_bytes(), &mut |line| {
        codex.line(&line, &mut out);
    });
    out
}

fn events(lines: &[&str]) -> Vec<Event> {
    read(&mut Codex::default(), lines)
}

fn evidence(lines: &[&str], exit: Option<Exit>, stderr: &str) -> Evidence {
    let mut codex = Codex::default();
    read(&mut codex, lines);
    codex.end(exit, stderr.as_bytes(), &mut Vec::new())
}

#[test]
fn a_patch_of_several_files_is_a_call_for_each() {
    let patch = |status: &str| {
        json!({"id": "item_1", "type": "file_change", "status": status, "changes": [
            {"path": "/w/a", "kind": "add"},
            {"path": "/w/b", "kind": "update"},
            {"path": "/w/c", "kind": "delete"},
        ]})
    };
    let made = events(&[
        &item("started", &patch("in_progress")),
        &item("completed", &patch("completed")),
    ]);
    let starts = made.iter().filter_map(|event| match event {
        Event::ToolStart {
            call_id,
            name,
            input,
            ..
        } => Some((call_id.as_str(), name.as_str(), input["kind"].as_str())),
        _ => None,
    });
    let expected = [
        ("item_1.1", "write", Some("create")),
        ("item_1.2", "edit", None),
        ("item_1.3", "write", Some("delete")),
    ];
    assert_eq!(starts.collect::<Vec<_>>(), expected);
    let changes = made.iter().filter_map(|event| match event {
        Event::FileChange {
            path,
            kind,
            call_id,
            ..
        } => Some((path.as_str(), *kind, call_id.as_deref())),
        _ => None,
    });
    let expected = [
        ("/w/a", FileChangeKind::Create, Some("item_1.1")),
        ("/w/b", FileChangeKind::Edit, Some("item_1.2")),
        ("/w/c", FileChangeKind::Delete, Some("item_1.3")),
    ];
    assert_eq!(changes.collect::<Vec<_>>(), expected);
    assert_eq!(made.len(), 9);
}

#[test]
fn a_patch_that_failed_changed_nothing() {
    let patch = json!({"id": "i", "type": "file_change", "status": "failed", "changes": [
        {"path": "/w/a", "kind": "add"},
    ]});
    let made = events(&[&item("completed", &patch)]);
    assert!(
        matches!(
            made.as_slice(),
            [
                Event::ToolStart { .. },
                Event::ToolEnd { is_error: true, .. }
            ]
        ),
        "{made:?}"
    );
}

#[test]
fn an_mcp_tool_that_fails_says_why() {
    let call = json!({"id": "i", "type": "mcp_tool_call", "server": "s", "tool": "t",
        "arguments": {}, "result": null, "error": {"message": "no such file"}, "status": "failed"});
    let made = events(&[&item("completed", &call)]);
    let [
        _,
        Event::ToolEnd {
            name,
            output,
            is_error,
            ..
        },
    ] = made.as_slice()
    else {
        panic!("{made:?}")
    };
    assert_eq!(
        (name.as_str(), output.as_deref(), *is_error),
        ("mcp__s__t", Some("no such file"), true)
    );
}

#[test]
fn items_and_records_that_are_not_known_stay_as_they_are() {
    let lines = [
        r#"{"type":"item.completed","item":{"id":"i","type":"hologram"}}"#,
        r#"{"type":"item.updated","item":{"id":"i","type":"hologram"}}"#,
        r#"{"type":"item.completed","item":{"id":"i","type":"agent_message","text":7}}"#,
        r#"{"type":"thread.archived"}"#,
    ];
    let made = events(&lines);
    assert_eq!(made.len(), lines.len());
    for (event, line) in made.iter().zip(lines) {
        assert!(
            matches!(event, Event::Raw { text, .. } if text == line),
            "{event:?}"
        );
    }
}

#[test]
fn input_is_counted_without_what_the_cache_gave_or_took() {
    let made = events(&[DONE]);
    let usage = Usage {
        input_tokens: 5,
        output_tokens: 5,
        cache_read_tokens: 4,
        cache_write_tokens: 1,
        cost_usd: None,
    };
    assert_eq!(made, [Event::Usage(usage)]);
}

#[test]
fn a_completed_turn_without_any_answer_is_no_completion() {
    assert_eq!(evidence(&[BEGUN, DONE], Some(exit(0)), ""), Evidence::None);
    let said = item(
        "completed",
        &json!({"id": "i", "type": "agent_message", "text": "x"}),
    );
    assert_eq!(
        evidence(&[BEGUN, &said, DONE], Some(exit(0)), ""),
        Evidence::Completed
    );
    // a usage of another shape is no reason to doubt that the turn is over
    let done = r#"{"type":"turn.completed","usage":"none"}"#;
    assert_eq!(
        evidence(&[BEGUN, &said, done], Some(exit(0)), ""),
        Evidence::Completed
    );
}

#[test]
fn an_error_counts_only_where_nothing_came_after_it() {
    let error = r#"{"type":"error","message":"unexpected status 401 Unauthorized"}"#;
    let Evidence::Failed(failed) = evidence(&[BEGUN, error], Some(exit(1)), "") else {
        panic!("not failed")
    };
    assert_eq!(failed.class, ErrorClass::Auth);
    assert_eq!(evidence(&[BEGUN, error], None, ""), Evidence::None);
    let said = item(
        "completed",
        &json!({"id": "i", "type": "agent_message", "text": "x"}),
    );
    assert_eq!(
        evidence(&[BEGUN, error, &said], Some(exit(1)), ""),
        Evidence::None
    );
    let retry = r#"{"type":"error","message":"Reconnecting... 5/5 (x)"}"#;
    assert_eq!(evidence(&[BEGUN, retry], Some(exit(1)), ""), Evidence::None);
}

#[test]
fn a_lost_conversation_is_told_apart() {
    let stderr = "Error: thread/resume: thread/resume failed: no rollout found for thread id x";
    assert!(matches!(
        evidence(&[], Some(exit(1)), stderr),
        Evidence::ConversationMissing(_)
    ));
    // words of a model are no evidence once the CLI has spoken
    assert_eq!(evidence(&[BEGUN], Some(exit(1)), stderr), Evidence::None);
}

#[test]
fn what_other_programs_print_cannot_end_a_turn() {
    let glued = format!("^C{DONE}");
    let mut codex = Codex::default();
    read(&mut codex, &[BEGUN, &glued]);
    assert!(codex.finished());

    let forged = format!("a program's output {DONE}");
    let mut codex = Codex::default();
    let made = read(&mut codex, &[BEGUN, &forged]);
    assert!(!codex.finished());
    assert!(
        made.iter()
            .any(|event| matches!(event, Event::Raw { text, .. } if text == DONE))
    );
}

#[test]
fn a_record_that_is_cut_is_reported_and_kept() {
    let cut = r#"{"type":"item.completed","item":{"id":"i","ty"#;
    let made = events(&[BEGUN, cut]);
    assert!(
        matches!(
            &made[1..],
            [Event::Notice { code, .. }, Event::Raw { text, .. }]
                if code == "stream_corrupt" && text == cut
        ),
        "{made:?}"
    );
}

#[test]
fn a_thread_goes_on_counting_in_its_next_process() {
    let said = item(
        "completed",
        &json!({"id": "item_0", "type": "agent_message", "text": "x"}),
    );
    let mut first = Codex::default();
    read(&mut first, &[BEGUN, &said, DONE]);

    let more = DONE.replace("10,", "30,").replace(":5}", ":9}");
    let next = |thread: &str| {
        let mut codex = Codex::default();
        codex.follow(&first.snapshot());
        let made = read(&mut codex, &[&BEGUN.replace("\"t\"", thread), &said, &more]);
        let [_, Event::Token { message_id, .. }, Event::Usage(usage)] = made.as_slice() else {
            panic!("{made:?}")
        };
        (
            message_id.clone().unwrap(),
            usage.input_tokens,
            usage.output_tokens,
        )
    };
    assert_eq!(next("\"t\""), ("item_0-2".to_owned(), 20, 4));
    assert_eq!(next("\"another\""), ("item_0".to_owned(), 25, 9));
}
