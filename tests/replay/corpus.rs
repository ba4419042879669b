//! The recordings under `tests/corpus`, and what is compared of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use agent_runner::agent::{self, AGENTS, AgentKind, OutputReader};
use agent_runner::event::Event;
use agent_runner::exit::Exit;
use agent_runner::frame::{FrameLimits, LineFramer};
use agent_runner::ids::SpoolOffset;
use agent_runner::redact::Redactor;
use agent_runner::turn::outcome::{Process, Verdict};
use serde_json::Value;

/// One recording: `name` is its file without the last ending.
#[derive(Clone)]
pub(crate) struct Capture {
    pub(crate) agent: &'static AgentKind,
    pub(crate) name: String,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) exit: Option<Exit>,
}

pub(crate) fn path(agent: &str, file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(agent)
        .join(file)
}

/// All recordings of all agents.
pub(crate) fn captures() -> Vec<Capture> {
    let all = AGENTS.iter().flat_map(|agent| captures_of(agent.name));
    all.collect()
}

/// All recordings of an agent, by name.
pub(crate) fn captures_of(agent: &str) -> Vec<Capture> {
    let files = fs::read_dir(path(agent, ""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = files
        .filter_map(|file| Some(file.to_str()?.strip_suffix(".meta.json")?.to_owned()))
        .collect();
    names.sort();
    assert!(names.len() > 20, "the corpus of {agent} is gone");
    names.iter().map(|name| capture(agent, name)).collect()
}

pub(crate) fn capture(agent: &str, name: &str) -> Capture {
    let path = |ending: &str| path(agent, &format!("{name}.{ending}"));
    let meta: Value = serde_json::from_slice(&fs::read(path("meta.json")).unwrap()).unwrap();
    let number = |field: &str| {
        meta[field]
            .as_i64()
            .map(|number| i32::try_from(number).unwrap())
    };
    let ending = if name.ends_with("pipe") {
        "jsonl"
    } else {
        "raw"
    };
    Capture {
        agent: agent::by_name(agent).unwrap(),
        name: name.to_owned(),
        stdout: fs::read(path(ending)).unwrap(),
        stderr: fs::read(path("stderr")).unwrap_or_default(),
        exit: Some(Exit {
            code: number("exit_code"),
            signal: number("signal"),
            oom: false,
        }),
    }
}

impl std::fmt::Display for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.agent.name, self.name)
    }
}

impl Capture {
    /// The last record of that type.
    pub(crate) fn last_record(&self, kind: &str) -> Option<Value> {
        let lines = self.stdout.split(|byte| *byte == b'\n').rev();
        let mut records = lines.filter_map(|line| {
            let from = line.iter().position(|byte| *byte == b'{')?;
            serde_json::from_slice::<Value>(&line[from..]).ok()
        });
        records.find(|record| record["type"] == kind)
    }
}

pub(crate) fn events(capture: &Capture) -> Vec<Event> {
    events_in_chunks(capture, &[&capture.stdout])
}

/// What a turn makes of a recording.
pub(crate) fn events_in_chunks(capture: &Capture, chunks: &[&[u8]]) -> Vec<Event> {
    let mut reader = OutputReader::new(capture.agent, Arc::new(Redactor::none()));
    let mut events = Vec::new();
    for chunk in chunks {
        reader.push(chunk, &mut |read| events.append(read.events));
    }
    let mut last = Vec::new();
    let evidence = reader.finish(
        capture.exit,
        &capture.stderr,
        &mut |read| events.append(read.events),
        &mut last,
    );
    events.append(&mut last);
    let process = capture.exit.map_or(Process::Unknown, Process::Recorded);
    events.extend(Verdict::new(evidence, process, None).into_events("", false, None));
    events
}

/// The lines of a stream with their places.
pub(crate) fn lines(chunks: &[&[u8]]) -> Vec<(u64, u64, Vec<u8>)> {
    let mut lines = Vec::new();
    let mut sink = |line: agent_runner::frame::Line<'_>| {
        lines.push((line.start.get(), line.end.get(), line.bytes.to_vec()));
    };
    let mut framer = LineFramer::new(FrameLimits::default(), SpoolOffset::START);
    for chunk in chunks {
        framer.push(chunk, &mut sink);
    }
    framer.finish(&mut sink);
    lines
}

/// The text of the main conversation, drafts that were taken back left out.
pub(crate) fn main_text(events: &[Event]) -> String {
    let mut pieces: Vec<(Option<String>, String)> = Vec::new();
    for event in events {
        match event {
            Event::Token {
                text,
                message_id,
                parent_call_id: None,
            } => {
                pieces.push((message_id.clone(), text.clone()));
            }
            Event::TextRetracted { message_id } => {
                pieces.retain(|(id, _)| id.as_ref() != Some(message_id));
            }
            _ => {}
        }
    }
    pieces.into_iter().map(|(_, text)| text).collect()
}

/// An event's line for a snapshot, its type in front: long strings give their start and their length.
pub(crate) fn abbreviated(event: &Event) -> String {
    fn shorten(value: &mut Value) {
        match value {
            Value::String(text) if text.chars().count() > 1200 => {
                let head: String = text.chars().take(200).collect();
                *text = format!("{head}… ({} characters)", text.chars().count());
            }
            Value::Array(items) => items.iter_mut().for_each(shorten),
            Value::Object(fields) => fields.values_mut().for_each(shorten),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(event).unwrap();
    shorten(&mut value);
    let kind = value.as_object_mut().unwrap().remove("type").unwrap();
    format!("{} {value}", kind.as_str().unwrap())
}

/// A recording's events without what differs from run to run: ids, delays, durations, and what the
/// CLI wrote beside its records, which a terminal mixes in.
pub(crate) fn comparable(capture: &Capture) -> Vec<Value> {
    fn plain(value: &mut Value, ids: &mut BTreeMap<String, usize>) {
        let Value::Object(fields) = value else { return };
        fields.remove("duration_ms");
        for field in ["id", "message_id", "call_id", "parent_call_id"] {
            if let Some(Value::String(id)) = fields.get(field) {
                let next = ids.len();
                let number = *ids.entry(id.clone()).or_insert(next);
                fields.insert(field.to_owned(), number.into());
            }
        }
        if let Some(Value::String(text)) = fields.get_mut("text")
            && let Some(at) = text.find(" in ")
            && text.ends_with(" ms")
        {
            text.truncate(at);
        }
    }
    let mut ids = BTreeMap::new();
    let told = events(capture).into_iter();
    let told = told.filter(|event| !matches!(event, Event::Raw { .. }));
    let values = told.map(|event| {
        let mut value = serde_json::to_value(event).unwrap();
        if let Some(Value::String(output)) = value.get_mut("output") {
            // a file named after the session
            let kept = output
                .lines()
                .filter(|line| !line.contains("/tool-results/") && !line.contains("/tool-output/"));
            *output = kept.collect::<Vec<_>>().join("\n");
        }
        plain(&mut value, &mut ids);
        value
    });
    values.collect()
}
