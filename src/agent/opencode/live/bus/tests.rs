use serde_json::{Value, json};

use super::*;

const MAIN: &str = "ses_main";

fn heard(bus: &mut Bus, what: &str, params: &Value) -> Vec<Event> {
    let raw = serde_json::value::to_raw_value(params).unwrap();
    let mut out = Vec::new();
    let known = bus.heard(MAIN, what, Some(&raw), &mut out);
    assert!(known.is_some(), "{what} {params}");
    out
}

fn part(bus: &mut Bus, session: &str, part: &Value) -> Vec<Event> {
    heard(bus, "part", &json!({"session": session, "part": part}))
}

fn text(bus: &mut Bus, id: &str, message: &str, text: &str) -> Vec<Event> {
    let text = json!({"id": id, "messageID": message, "type": "text", "text": text});
    part(bus, MAIN, &text)
}

fn delta(bus: &mut Bus, id: &str, message: &str, text: &str) -> Vec<Event> {
    let params = json!({"session": MAIN, "message": message, "part": id, "text": text});
    heard(bus, "delta", &params)
}

fn step(bus: &mut Bus, session: &str, kind: &str) -> Vec<Event> {
    let step = json!({
        "id": "prt_step", "messageID": "msg_1", "type": kind,
        "tokens": {"input": 5, "output": 2, "reasoning": 1, "cache": {"read": 3, "write": 0}},
    });
    part(bus, session, &step)
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
fn pieces_join_to_the_text_and_a_draft_is_taken_back_when_its_request_is_made_again() {
    let mut bus = Bus::default();
    step(&mut bus, MAIN, "step-start");
    assert_eq!(text(&mut bus, "prt_1", "msg_1", ""), []);
    let piece = delta(&mut bus, "prt_1", "msg_1", "This is \n");
    assert_eq!(piece, [token("prt_1", "This is")]);
    let retry = json!({"session": MAIN, "message": "Connection reset by server"});
    let told = heard(&mut bus, "retry", &retry);
    assert_eq!(told[0], retracted("prt_1"));
    assert!(matches!(&told[1], Event::Notice { code, .. } if code == "api_retry"));
    step(&mut bus, MAIN, "step-start");
    text(&mut bus, "prt_2", "msg_1", "");
    delta(&mut bus, "prt_2", "msg_1", "This is ");
    let piece = delta(&mut bus, "prt_2", "msg_1", "it. ");
    assert_eq!(piece, [token("prt_2", " it.")]);
    assert_eq!(text(&mut bus, "prt_2", "msg_1", "This is it."), []);
    let told = step(&mut bus, MAIN, "step-finish");
    assert!(matches!(&told[0], Event::Usage(used) if used.output_tokens == 3));
    assert_eq!(
        told[1],
        Event::Context {
            used_tokens: 11,
            max_tokens: None
        }
    );
    assert_eq!(
        heard(&mut bus, "retry", &retry).len(),
        1,
        "what is whole stays"
    );
}

#[test]
fn a_text_that_a_plugin_has_changed_is_told_anew_and_one_without_pieces_whole() {
    let mut bus = Bus::default();
    text(&mut bus, "prt_1", "msg_1", "");
    delta(&mut bus, "prt_1", "msg_1", "Helo");
    let told = text(&mut bus, "prt_1", "msg_1", "Hello");
    assert_eq!(told, [retracted("prt_1"), token("prt_1", "Hello")]);
    let told = text(&mut bus, "prt_2", "msg_1", "At once.");
    assert_eq!(told, [token("prt_2", "At once.")]);
}

#[test]
fn a_summary_is_not_told_but_that_there_is_one() {
    let mut bus = Bus::default();
    let error = json!({"session": MAIN, "error": {
        "name": "ContextOverflowError", "data": {"message": "too long"},
    }});
    assert_eq!(heard(&mut bus, "error", &error).len(), 1);
    assert_eq!(heard(&mut bus, "error", &error), [], "it is told once");
    let summary = json!({"session": MAIN, "id": "msg_2", "summary": true});
    heard(&mut bus, "message", &summary);
    text(&mut bus, "prt_1", "msg_2", "");
    assert_eq!(delta(&mut bus, "prt_1", "msg_2", "They spoke."), []);
    assert_eq!(text(&mut bus, "prt_1", "msg_2", "They spoke."), []);
    let go_on = json!({
        "id": "prt_2", "messageID": "msg_3", "type": "text", "text": "Go on.",
        "synthetic": true, "metadata": {"compaction_continue": true},
    });
    let told = part(&mut bus, MAIN, &go_on);
    assert!(matches!(told.as_slice(), [Event::Compaction { .. }]));
    assert!(bus.failed().is_none(), "it was got over");
}

#[test]
fn a_sub_agents_calls_are_told_within_the_call_that_began_it() {
    let mut bus = Bus::default();
    let call = |id: &str, tool: &str, state: Value| {
        json!({
            "id": "prt", "messageID": "msg", "type": "tool", "callID": id, "tool": tool,
            "state": state,
        })
    };
    let begun = json!({
        "status": "running", "input": {"prompt": "Look."}, "metadata": {"sessionId": "ses_sub"},
    });
    part(&mut bus, MAIN, &call("c1", "task", begun));
    let runs = json!({
        "status": "running", "input": {"command": "ls"}, "metadata": {"output": "a\n"},
    });
    let told = part(&mut bus, "ses_sub", &call("c2", "bash", runs));
    let parent = |event: &Event| match event {
        Event::ToolStart { parent_call_id, .. } => parent_call_id.clone(),
        _ => None,
    };
    assert_eq!(parent(&told[0]).as_deref(), Some("c1"));
    assert!(matches!(&told[1], Event::ToolDelta { text, .. } if text == "a\n"));
    step(&mut bus, "ses_sub", "step-finish");
    let told = step(&mut bus, MAIN, "step-finish");
    assert!(matches!(&told[0], Event::Usage(used) if used.input_tokens == 10));
    let foreign = json!({"id": "prt", "messageID": "msg", "type": "text", "text": "Hi."});
    assert_eq!(part(&mut bus, "ses_other", &foreign), []);
    let mut out = Vec::new();
    bus.turn_over(&mut out);
    let is_cut = |event: &Event| matches!(event, Event::ToolEnd { is_error: true, .. });
    assert_eq!(out.iter().filter(|event| is_cut(event)).count(), 2);
}
