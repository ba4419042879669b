//! What the recordings do not show: records of the CLI's own schema, broken lines, forgeries.

use serde_json::json;

use super::*;
use crate::event::{ErrorClass, PlanItem, Usage};
use crate::frame::Loss;
use crate::frame::{FrameLimits, LineFramer};
use crate::ids::SpoolOffset;

const INIT: &str = r#"{"type":"system","subtype":"init","session_id":"s","cwd":"/w","model":"m"}"#;
const DONE: &str =
    r#"{"type":"result","subtype":"success","is_error":false,"session_id":"s","result":"hi"}"#;

fn read(claude: &mut Claude, text: &str) -> Vec<Event> {
    let mut out = Vec::new();
    let mut framer = LineFramer::new(FrameLimits::default(), SpoolOffset::START);
    let mut sink = |line: Line<'_>| {
        claude.line(&line, &mut out);
    };
    framer.push(text.as_bytes(), &mut sink);
    framer.finish(&mut sink);
    out
}

fn events(lines: &[&str]) -> Vec<Event> {
    read(&mut Claude::default(), &lines.join("\n"))
}

fn evidence(lines: &[&str]) -> Evidence {
    let mut claude = Claude::default();
    read(&mut claude, &lines.join("\n"));
    claude.end(None, b"", &mut Vec::new())
}

fn codes(events: &[Event]) -> Vec<&str> {
    fn code(event: &Event) -> Option<&str> {
        match event {
            Event::Notice { code, .. } => Some(code.as_str()),
            _ => None,
        }
    }
    events.iter().filter_map(code).collect()
}

fn stream(event: &str) -> String {
    format!(
        r#"{{"type":"stream_event","event":{event},"session_id":"s","parent_tool_use_id":null}}"#
    )
}

fn start(id: &str) -> String {
    stream(&format!(
        r#"{{"type":"message_start","message":{{"id":"{id}"}}}}"#
    ))
}

fn open_text(index: u64) -> String {
    stream(&format!(
        r#"{{"type":"content_block_start","index":{index},"content_block":{{"type":"text","text":""}}}}"#
    ))
}

fn delta(index: u64, text: &str) -> String {
    stream(&format!(
        r#"{{"type":"content_block_delta","index":{index},"delta":{{"type":"text_delta","text":"{text}"}}}}"#
    ))
}

fn whole(id: &str, text: &str) -> String {
    let message = json!({"id": id, "content": [{"type": "text", "text": text}]});
    format!(r#"{{"type":"assistant","message":{message},"session_id":"s"}}"#)
}

fn token(id: &str, text: &str) -> Event {
    Event::Token {
        text: text.to_owned(),
        message_id: Some(id.to_owned()),
        parent_call_id: None,
    }
}

fn retracted(id: &str) -> Event {
    Event::TextRetracted {
        message_id: id.to_owned(),
    }
}

#[test]
fn a_stream_that_was_cut_and_asked_again_is_taken_back() {
    let made = events(&[
        &start("a"),
        &open_text(0),
        &delta(0, "Hel"),
        &whole("b", "Hello"),
    ]);
    assert_eq!(
        made,
        [token("a", "Hel"), retracted("a"), token("b", "Hello")]
    );
    let made = events(&[&start("a"), &open_text(0), &delta(0, "Hel"), &start("b")]);
    assert_eq!(made, [token("a", "Hel"), retracted("a")]);
}

#[test]
fn a_confirmed_block_survives_when_the_rest_of_its_message_is_taken_back() {
    let made = events(&[
        &start("a"),
        &open_text(0),
        &delta(0, "One."),
        &whole("a", "One."),
        &open_text(1),
        &delta(1, "Tw"),
        &whole("b", "Two."),
    ]);
    assert_eq!(
        made,
        [
            token("a", "One."),
            token("a", "Tw"),
            retracted("a"),
            token("a", "One."),
            token("b", "Two.")
        ]
    );
}

#[test]
fn the_whole_block_adds_what_the_deltas_lacked() {
    let made = events(&[
        &start("a"),
        &open_text(0),
        &delta(0, "Hel"),
        &whole("a", "Hello"),
    ]);
    assert_eq!(made, [token("a", "Hel"), token("a", "lo")]);
    let made = events(&[
        &start("a"),
        &open_text(0),
        &delta(0, "lo"),
        &whole("a", "Hello"),
    ]);
    assert_eq!(
        made,
        [token("a", "lo"), retracted("a"), token("a", "Hello")]
    );
}

#[test]
fn records_glued_on_one_line_are_read_and_reported() {
    let line = format!("{INIT}{}", whole("a", "hi"));
    let made = events(&[&line]);
    assert_eq!(codes(&made), ["stream_corrupt"]);
    assert!(made.contains(&token("a", "hi")));
}

#[test]
fn a_record_that_another_one_cut_in_two_is_put_together() {
    let inner = r#"{"type":"rate_limit_event","rate_limit_info":{"status":"allowed","resetsAt":7,"rateLimitType":"five_hour"}}"#;
    let outer = whole("a", "a long answer");
    let (head, tail) = outer.split_at(60);
    let limit = Event::RateLimit {
        status: "allowed".to_owned(),
        resets_at: Some(7000),
        window: Some("five_hour".to_owned()),
    };
    for line in [
        format!("{head}{inner}{tail}"),
        format!("{head}{inner}\n{tail}"),
    ] {
        let made = events(&[INIT, &line, DONE]);
        assert!(made.contains(&limit), "{made:?}");
        assert!(made.contains(&token("a", "a long answer")), "{made:?}");
        assert!(
            codes(&made).iter().all(|code| *code == "stream_corrupt"),
            "{made:?}"
        );
        assert!(
            !made.iter().any(|event| matches!(event, Event::Raw { .. })),
            "{made:?}"
        );
    }
}

#[test]
fn a_result_of_another_session_in_mixed_up_output_ends_nothing() {
    let forged = format!("noise {}", DONE.replace("\"s\"", "\"other\""));
    assert_eq!(evidence(&[INIT, &whole("a", "x"), &forged]), Evidence::None);
    assert_eq!(
        evidence(&[INIT, &whole("a", "x"), &format!("noise {DONE}")]),
        Evidence::Completed
    );
}

#[test]
fn a_result_inside_a_tools_output_is_text() {
    let result = json!({"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t","content":DONE}]}}).to_string();
    assert_eq!(evidence(&[INIT, &result]), Evidence::None);
}

#[test]
fn a_new_round_after_a_result_needs_a_result_of_its_own() {
    assert_eq!(evidence(&[INIT, DONE]), Evidence::Completed);
    assert_eq!(evidence(&[INIT, DONE, INIT]), Evidence::None);
    assert_eq!(evidence(&[INIT, DONE, &whole("b", "more")]), Evidence::None);
}

#[test]
fn open_background_work_is_no_completion() {
    let begun = r#"{"type":"system","subtype":"task_started","task_id":"1","tool_use_id":"t"}"#;
    let over = r#"{"type":"system","subtype":"task_notification","task_id":"1"}"#;
    let mut claude = Claude::default();
    read(&mut claude, &[INIT, begun, DONE].join("\n"));
    assert!(!claude.finished());
    let mut out = Vec::new();
    assert_eq!(claude.clone().end(None, b"", &mut out), Evidence::None);
    assert_eq!(codes(&out), ["background_open"]);
    read(&mut claude, over);
    assert!(claude.finished());
    assert_eq!(claude.end(None, b"", &mut out), Evidence::Completed);
}

#[test]
fn a_to_do_list_is_told_whole_after_each_change() {
    let call = |id: &str, name: &str| {
        json!({"type":"assistant","message":{"id":"m","content":[{"type":"tool_use","id":id,"name":name,"input":{}}]}}).to_string()
    };
    let result = |id: &str, outcome: serde_json::Value| {
        json!({"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":id,"content":"ok"}]},"tool_use_result":outcome}).to_string()
    };
    let made = events(&[
        &call("1", "TaskCreate"),
        &result("1", json!({"task":{"id":"7","subject":"Fix it"}})),
        &call("2", "TaskUpdate"),
        &result(
            "2",
            json!({"success":true,"taskId":"7","statusChange":{"from":"pending","to":"completed"}}),
        ),
    ]);
    let item = PlanItem {
        text: "Fix it".to_owned(),
        status: "completed".to_owned(),
    };
    assert_eq!(made.last(), Some(&Event::Plan { items: vec![item] }));
}

#[test]
fn compaction_is_told() {
    let line = r#"{"type":"system","subtype":"compact_boundary","compact_metadata":{"trigger":"auto","pre_tokens":150000}}"#;
    let expected = Event::Compaction {
        trigger: Some("auto".to_owned()),
        before_tokens: Some(150_000),
        after_tokens: None,
    };
    assert_eq!(events(&[line]), [expected]);
}

#[test]
fn what_is_not_known_stays_as_it_is() {
    for line in [
        r#"{"type":"novelty","a":1}"#,
        r#"{"type":"system","subtype":"novelty"}"#,
        "plain text",
        "[1,2]",
    ] {
        assert_eq!(events(&[line]), [raw(line.as_bytes())]);
    }
    assert_eq!(
        codes(&events(&[r#"{"type":"assistant","message":{"#])),
        ["stream_corrupt"]
    );
}

#[test]
fn input_that_nests_too_deeply_stays_text() {
    let input = format!("{}{}", "[".repeat(120), "]".repeat(120));
    let line = format!(
        r#"{{"type":"assistant","message":{{"id":"m","content":[{{"type":"tool_use","id":"1","name":"X","input":{input}}}]}}}}"#
    );
    let made = events(&[&line]);
    assert!(
        matches!(&made[..], [Event::ToolStart { input: serde_json::Value::String(text), .. }] if *text == input)
    );
}

#[test]
fn bytes_that_are_no_utf8_cost_only_themselves() {
    let mut bytes = whole("a", "x?y").into_bytes();
    let at = bytes.iter().position(|byte| *byte == b'?').unwrap();
    bytes[at] = 0xff;
    let line = Line {
        start: SpoolOffset::START,
        end: SpoolOffset::START,
        bytes: &bytes,
        loss: Loss::None,
    };
    let mut out = Vec::new();
    Claude::default().line(&line, &mut out);
    assert_eq!(out, [token("a", "x\u{fffd}y")]);
}

#[test]
fn a_turn_that_dies_still_tells_what_it_used() {
    let begun = stream(
        r#"{"type":"message_start","message":{"id":"a","usage":{"input_tokens":5,"output_tokens":1}}}"#,
    );
    let used = stream(
        r#"{"type":"message_delta","delta":{},"usage":{"input_tokens":5,"output_tokens":9}}"#,
    );
    let mut claude = Claude::default();
    read(&mut claude, &[INIT, &begun, &used].join("\n"));
    let mut out = Vec::new();
    claude.end(None, b"", &mut out);
    let usage = Usage {
        input_tokens: 5,
        output_tokens: 9,
        ..Usage::default()
    };
    assert_eq!(out, [Event::Usage(usage)]);
}

#[test]
fn a_missing_conversation_is_told_apart() {
    let line = r#"{"type":"result","subtype":"error_during_execution","is_error":true,"errors":["No conversation found with session ID: x"]}"#;
    let Evidence::ConversationMissing(error) = evidence(&[line]) else {
        panic!("not told apart")
    };
    assert_eq!(error.class, ErrorClass::InvalidRequest);
}
