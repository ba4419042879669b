//! What holds of the events of every session, as whoever watched it got them: pieces join to the
//! text that viewers are left with, drafts that were taken back are in neither, and each turn says
//! which model it is.

use agent_runner::event::{Envelope, Event};
use agent_runner::hub::pi::{Frame, Mapper};
use serde_json::Value;

use crate::agents::Agent;
use crate::viewer;

/// Checks all of it. The events are those of whole turns, from the session's first one on.
pub(crate) fn check(agent: &Agent, events: &[Value]) {
    // An envelope is read in the order in which it was written, which a value has lost.
    let parse = |event: &Value| Envelope {
        header: serde_json::from_value(event.clone()).unwrap(),
        event: serde_json::from_value(event.clone()).unwrap(),
    };
    let envelopes: Vec<Envelope> = events.iter().map(parse).collect();
    let frames = frames(&envelopes);
    viewer::faithful(&frames);
    let shown = shown(agent, &frames);
    let said = said(&envelopes);
    assert_eq!(said, shown, "{}: {events:#?}", agent.key);
    introduced(agent, &envelopes);
}

fn frames(envelopes: &[Envelope]) -> Vec<(String, Value)> {
    let (mut mapper, mut frames) = (Mapper::new(), Vec::new());
    for envelope in envelopes {
        mapper.map(envelope, &mut frames);
    }
    mapper.flush(&mut frames);
    let plain = |frame: Frame| {
        let data = serde_json::from_str(&frame.data).unwrap();
        (frame.event.to_owned(), data)
    };
    frames.into_iter().map(plain).collect()
}

/// The text of each turn, by its pieces.
fn said(envelopes: &[Envelope]) -> Vec<String> {
    let (mut turns, mut pieces) = (Vec::new(), Vec::<(Option<&str>, &str)>::new());
    for Envelope { event, .. } in envelopes {
        match event {
            Event::Token {
                text,
                message_id,
                parent_call_id: None,
            } => pieces.push((message_id.as_deref(), text)),
            // what was said of it so far: it may go on
            Event::TextRetracted { message_id } => {
                pieces.retain(|(id, _)| *id != Some(message_id));
            }
            Event::End { .. } => turns.push(pieces.drain(..).map(|(_, text)| text).collect()),
            _ => {}
        }
    }
    turns
}

/// The same, of the messages that viewers are shown; what they are shown of each as it grows is
/// what it ends with.
fn shown(agent: &Agent, frames: &[(String, Value)]) -> Vec<String> {
    let (mut turns, mut text, mut grown) = (Vec::new(), String::new(), String::new());
    for (event, data) in frames {
        let message = &data["message"];
        let is_answer = message["role"] == "assistant";
        match event.as_str() {
            "message_start" => grown.clear(),
            "message_update" => {
                let change = &data["assistantMessageEvent"];
                match change["type"].as_str() {
                    Some("text_delta") => grown.push_str(change["delta"].as_str().unwrap()),
                    Some("text_end") => grown.clear(),
                    _ => {}
                }
            }
            "message_end" if is_answer => {
                let content = message["content"].as_array().unwrap();
                // An attempt that came to nothing may end before its CLI has said who it is.
                let is_named = content.is_empty() || message["model"] != agent.name;
                assert!(is_named, "{}: {message}", agent.key);
                let blocks = content.iter().filter_map(|block| block["text"].as_str());
                let whole: String = blocks.collect();
                assert_eq!(grown, whole, "{}: {message}", agent.key);
                text.push_str(&whole);
            }
            "agent_end" => turns.push(std::mem::take(&mut text)),
            _ => {}
        }
    }
    turns
}

/// What the agent says in a turn comes behind which model it is; that is told once for each time
/// that the agent was asked.
fn introduced(agent: &Agent, envelopes: &[Envelope]) {
    let (mut model, mut attempt, mut is_due) = (None, None, true);
    for Envelope { header, event } in envelopes {
        is_due |= std::mem::replace(&mut attempt, header.attempt) != header.attempt;
        match event {
            Event::Prompt { .. } => is_due = true,
            Event::Session {
                model: Some(name), ..
            } => {
                // In exec form some say it at their start, and again with their first word.
                let is_again = model == Some(name) && !is_due && agent.mode() == "live";
                assert!(!is_again, "{}: told twice: {envelopes:#?}", agent.key);
                (model, is_due) = (Some(name), false);
            }
            Event::Token { .. } | Event::ToolStart { .. } => {
                assert!(model.is_some(), "{}: whose? {envelopes:#?}", agent.key);
            }
            Event::End { .. } => model = None,
            _ => {}
        }
    }
}
