//! What a Hub's viewers get of every recording: frames in the order and the shapes that they rely on.

use agent_runner::clock::Timestamp;
use agent_runner::event::{Envelope, Event, Header, Outcome};
use agent_runner::hub::pi::{Frame, Mapper};
use agent_runner::ids::{EventId, Seq, TurnId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::corpus::{self, captures};
use crate::dialogs;
use crate::viewer;

/// Arguments that no tool takes, which some recordings are about.
const MALFORMED: [&str; 3] = ["bad_tool_args", "bad_args", "acp_basic"];

/// The frames of turns, each with its events.
fn frames(agent: &str, turns: Vec<Vec<Event>>) -> Vec<(String, Value)> {
    let mut mapper = Mapper::new();
    let mut frames = Vec::new();
    let mut seq = 0;
    for (turn, events) in (1..).zip(turns) {
        let prompt = Event::Prompt {
            text: "go".to_owned(),
            prompt_id: None,
            author: None,
            images: Vec::new(),
        };
        for event in [prompt].into_iter().chain(events) {
            seq += 1;
            let header = Header {
                seq: Seq::new(seq).unwrap(),
                event_id: EventId::derive(Uuid::from_u128(1), seq),
                // Several in a millisecond, as they come.
                at: Timestamp::from_millis(1_000 + seq / 3),
                session_id: "s1".parse().unwrap(),
                turn_id: Some(TurnId::from_uuid(Uuid::from_u128(turn))),
                attempt: Some(1),
                agent: agent.to_owned(),
            };
            mapper.map(&Envelope { header, event }, &mut frames);
        }
    }
    mapper.flush(&mut frames);
    let plain = |frame: Frame| {
        let data = serde_json::from_str(&frame.data).unwrap();
        (frame.event.to_owned(), data)
    };
    frames.into_iter().map(plain).collect()
}

/// Says of which recording a fault is.
fn check(name: &str, frames: &[(String, Value)]) {
    let malformed = MALFORMED.iter().any(|part| name.contains(part));
    let judge = if malformed {
        viewer::balanced
    } else {
        viewer::faithful
    };
    let judged = std::panic::catch_unwind(|| judge(frames));
    assert!(judged.is_ok(), "{name}: see above");
}

#[test]
fn viewers_can_rely_on_the_frames_of_every_recording() {
    for capture in captures() {
        let events = corpus::events(&capture);
        check(
            &capture.to_string(),
            &frames(capture.agent.name, vec![events]),
        );
    }
}

#[test]
fn viewers_can_rely_on_the_frames_of_every_dialog() {
    for (agent, name, turns) in dialogs::turns() {
        assert!(!turns.is_empty(), "{agent}/{name}");
        check(&format!("{agent}/{name}"), &frames(agent, turns));
    }
}

/// Viewers show of an edit nothing but what it changed.
#[test]
fn every_edit_of_a_recording_shows_what_it_changed() {
    let mut edits = json!({});
    for capture in captures() {
        let agent = capture.agent.name;
        for (event, data) in frames(agent, vec![corpus::events(&capture)]) {
            let is_edit = event == "tool_execution_end" && data["toolName"] == "edit";
            if !is_edit || data["isError"] == true {
                continue;
            }
            // Codex tells what it changed only in its live form.
            let diff = data["result"]["details"]["diff"].as_str();
            assert_eq!(diff.is_some(), agent != "codex", "{capture}: {data}");
            edits[agent] = (edits[agent].as_u64().unwrap_or(0) + 1).into();
        }
    }
    for agent in ["claude", "codex", "opencode", "gemini", "pi"] {
        assert!(edits[agent].as_u64() > Some(0), "{agent}: {edits}");
    }
}

/// How a turn of a dialog ended, as its last event.
pub(crate) fn over(outcome: Outcome) -> Event {
    Event::End {
        outcome,
        error: None,
        duration_ms: None,
    }
}
