//! What holds of the events of every session, as whoever watched it got them: pieces join to the
//! text that viewers are left with, which is what the model has said; drafts that were taken back are
//! in neither; and each turn says which model it is.

use agent_runner::event::{Envelope, Event};
use agent_runner::hub::pi::{Frame, Mapper};
use serde_json::Value;

use std::fs;

use crate::agents::Agent;
use crate::bench::Bench;
use crate::gaps;
use crate::viewer;

/// Checks all of it. The events are those of whole turns, from the session's first one on.
pub(crate) fn check(bench: &Bench, events: &[Value]) {
    let agent = bench.agent;
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
    scripted(bench, &said, events);
}

/// A turn that came to its end in one go says what the script has the model say, whole answers only;
/// one that was cut off may have the start of one.
fn scripted(bench: &Bench, turns: &[String], events: &[Value]) {
    let script = fs::read_to_string(bench.path("script.toml")).unwrap();
    let mut answers = Vec::new();
    gather(&toml::from_str(&script).unwrap(), &mut answers);
    let events = events.split_inclusive(|event| event["type"] == "end");
    for (text, events) in turns.iter().zip(events) {
        let has = |what: &str| events.iter().filter(|event| event["type"] == what).count();
        let outcome = &events.last().unwrap()["outcome"];
        let is_whole = outcome == "completed"
            && has("prompt") == 1
            && has("agent_crashed") == 0
            && !gaps::has(bench.agent.key, "cut-text");
        // The CLI's own words about a failure may be told as the agent's.
        let is_told = outcome != "failed";
        let mut rest = text.as_str();
        while is_told && !rest.is_empty() {
            let common = |answer: &String| common(answer, rest);
            let best = |answer: &&String| (rest.starts_with(answer.as_str()), common(answer));
            let answer = answers.iter().max_by_key(best).unwrap();
            let length = common(answer);
            let fits = if is_whole {
                length == answer.len()
            } else {
                length > 0
            };
            assert!(fits, "{}: {text:?} at {rest:?}", bench.agent.key);
            rest = &rest[length..];
        }
    }
}

/// How many bytes the two begin with alike.
fn common(one: &str, other: &str) -> usize {
    let pairs = one.chars().zip(other.chars());
    let alike = pairs.take_while(|(one, other)| one == other);
    alike.map(|(one, _)| one.len_utf8()).sum()
}

fn gather(value: &toml::Value, answers: &mut Vec<String>) {
    match value {
        toml::Value::Table(fields) => {
            answers.extend(
                fields
                    .get("say")
                    .and_then(toml::Value::as_str)
                    .map(str::to_owned),
            );
            fields.values().for_each(|value| gather(value, answers));
        }
        toml::Value::Array(values) => values.iter().for_each(|value| gather(value, answers)),
        _ => {}
    }
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
