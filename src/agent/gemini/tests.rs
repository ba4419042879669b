//! What the recordings do not show.

use super::*;
use crate::event::ErrorClass;
use crate::frame::{FrameLimits, LineFramer};
use crate::ids::SpoolOffset;

const INIT: &str = r#"{"type":"init","timestamp":"t0","session_id":"s","model":"m"}"#;
const TEXT: &str =
    r#"{"type":"message","timestamp":"t1","role":"assistant","content":"hi","delta":true}"#;
const DONE: &str = r#"{"type":"result","timestamp":"t9","status":"success"}"#;

fn read(lines: &[&str]) -> (Vec<Event>, Evidence) {
    let mut gemini = Gemini::default();
    let mut out = Vec::new();
    let mut framer = LineFramer::new(FrameLimits::default(), SpoolOffset::START);
    let mut sink = |line: Line<'_>| {
        gemini.line(&line, &mut out);
    };
    framer.push(lines.join("\n").as_bytes(), &mut sink);
    framer.finish(&mut sink);
    let evidence = gemini.end(None, b"", &mut out);
    (out, evidence)
}

fn complaint(severity: &str, message: &str) -> String {
    format!(r#"{{"type":"error","severity":"{severity}","message":"{message}"}}"#)
}

fn class(evidence: &Evidence) -> Option<ErrorClass> {
    match evidence {
        Evidence::Failed(error) => Some(error.class),
        _ => None,
    }
}

#[test]
fn a_success_that_the_cli_had_to_stop_is_a_failure() {
    let overflow = complaint(
        "warning",
        "Sending this message (9 tokens) might exceed the remaining context window limit (1 tokens).",
    );
    let (_, evidence) = read(&[INIT, &overflow, DONE]);
    assert_eq!(class(&evidence), Some(ErrorClass::ContextOverflow));
    let turns = complaint("error", "Maximum session turns exceeded");
    let (_, evidence) = read(&[INIT, TEXT, &turns, DONE]);
    assert_eq!(class(&evidence), Some(ErrorClass::MaxTurns));
}

#[test]
fn a_complaint_that_stopped_nothing_is_a_notice_only() {
    let (events, evidence) = read(&[INIT, TEXT, &complaint("warning", "Hm."), DONE]);
    assert_eq!(evidence, Evidence::Completed);
    assert!(matches!(&events[2], Event::Notice { code, .. } if code == "api_error"));
    let (_, evidence) = read(&[INIT, &complaint("error", "Oh."), TEXT, DONE]);
    assert_eq!(evidence, Evidence::Completed);
}

#[test]
fn a_success_without_a_word_is_no_evidence() {
    let (events, evidence) = read(&[INIT, DONE]);
    assert_eq!(evidence, Evidence::None);
    assert!(matches!(&events[1], Event::Notice { code, .. } if code == "empty_answer"));
}

#[test]
fn the_to_do_list_is_the_plan_once_it_is_taken() {
    let call = r#"{"type":"tool_use","tool_name":"write_todos","tool_id":"1","parameters":{"todos":[{"description":"One","status":"pending"}]}}"#;
    let taken = r#"{"type":"tool_result","tool_id":"1","status":"success"}"#;
    let plans = |lines: &[&str]| {
        let (events, _) = read(lines);
        let plan = |event: &Event| matches!(event, Event::Plan { items } if items[0].text == "One");
        events.iter().filter(|event| plan(event)).count()
    };
    assert_eq!(plans(&[INIT, call, taken]), 1);
    assert_eq!(plans(&[INIT, call]), 0);
}

#[test]
fn a_file_is_new_the_first_time_only() {
    let write = r#"{"type":"tool_use","tool_name":"write_file","tool_id":"1","parameters":{"file_path":"a","content":"x"}}"#;
    let done = r#"{"type":"tool_result","tool_id":"1","status":"success"}"#;
    let (events, _) = read(&[INIT, write, done, write, done]);
    let kinds: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::FileChange { kind, .. } => Some(*kind),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, [FileChangeKind::Create, FileChangeKind::Edit]);
}

#[test]
fn records_of_another_shape_stay_raw() {
    for line in [
        r#"{"type":"init","session":"s"}"#,
        r#"{"type":"message","role":"tool","content":"x"}"#,
    ] {
        let (events, _) = read(&[line]);
        assert!(matches!(&events[0], Event::Raw { .. }), "{line}");
    }
}
