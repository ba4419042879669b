//! A session goes on on another machine: nothing is left of the first but what the Hub has.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::{Bench, Hub, Model};
use crate::participants::Participants;
use crate::running::{Running, eventually};

const SCRIPT: &str = r#"
[[scenario]]
match = "And what now"
reply = [{ steps = [{ say = "The second machine answers." }] }]

[[scenario]]
match = "Remember the heron"
reply = [
  { steps = [{ say = "I look around." }, { shell = "echo found it" }] },
  { steps = [{ say = "I remember." }] },
]
"#;

/// A machine: a state dir, and what else is its own.
struct Machine<'a> {
    bench: &'a Bench,
    state: &'a str,
    words: Vec<String>,
}

impl Machine<'_> {
    fn lead(&self, hub: &Hub, model: &Model, session: &str) -> Running {
        let words = ["daemon", "--output", "jsonl", "--session", session];
        let mut command: Command = self.bench.agent(model, &words);
        command
            .env("AGENT_RUNNER_STATE_DIR", self.bench.path(self.state))
            .args(&self.words)
            .args(["--hub", &hub.url]);
        self.bench.start(&mut command)
    }

    fn leave(daemon: Running) {
        daemon.signal(Signal::SIGTERM);
        assert_eq!(daemon.finish().code(), 0);
    }
}

/// The session file at the Hub.
fn session_file(hub: &Hub, session: &str) -> Vec<Value> {
    let address = hub.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!(
        "GET /api/hub/session/{session}/file HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let body = body.get(body.find('{').unwrap()..=body.rfind('}').unwrap());
    let file: Value = serde_json::from_str(body.unwrap()).unwrap();
    let content = file["content"].as_str().unwrap();
    content
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Version 3, one chain, no id twice.
fn assert_sound(file: &[Value]) {
    assert_eq!(
        (&file[0]["type"], &file[0]["version"]),
        (&json!("session"), &json!(3))
    );
    let mut known = HashSet::new();
    let mut parent = Value::Null;
    for line in &file[1..] {
        assert_eq!(line["parentId"], parent, "{file:#?}");
        assert!(known.insert(line["id"].clone()), "{line}");
        parent = line["id"].clone();
    }
}

fn said(file: &[Value]) -> Vec<String> {
    let roles = ["user", "assistant"];
    file.iter()
        .filter(|line| roles.contains(&line["message"]["role"].as_str().unwrap_or_default()))
        .filter_map(|line| line["message"]["content"][0]["text"].as_str())
        .map(str::to_owned)
        .collect()
}

/// One machine leads the session and is gone, another one goes on; what the model heard there.
fn moved(bench: &Bench, words: &[&str]) -> Option<(Value, String)> {
    let hub = bench.hub(None);
    let model = bench.model(SCRIPT);
    let mut all = Participants::start(bench, &hub, None)?;
    let session = all.create(&json!({"task": "Remember the heron."}));
    let machine = |state| Machine {
        bench,
        state,
        words: words.iter().map(|word| (*word).to_owned()).collect(),
    };
    let first = machine("state").lead(&hub, &model, &session);
    first.event("end of the task", |event| event["type"] == "end");
    all.broadcast("agent_end", 1);
    Machine::leave(first);
    assert_sound(&session_file(&hub, &session));
    std::fs::remove_dir_all(bench.path("state")).unwrap();

    let second = machine("state2").lead(&hub, &model, &session);
    eventually("the second machine leads", || {
        let answer = all.answer(&json!({"type": "get_state"}));
        answer["value"]["success"] == true
    });
    let answer = all.answer(&json!({"type": "prompt", "message": "And what now?"}));
    assert_eq!(answer["value"]["success"], true, "{answer}");
    let end = second.event("end of the turn", |event| event["type"] == "end");
    assert_eq!(end["outcome"], "completed", "{end}");
    all.broadcast("agent_end", 2);
    Machine::leave(second);
    let file = session_file(&hub, &session);
    assert_sound(&file);
    assert_eq!(
        said(&file),
        [
            "Remember the heron.",
            "I look around.",
            "I remember.",
            "And what now?",
            "The second machine answers.",
        ]
    );
    let replay = all.ask(json!({"do": "replay"})).to_string();
    for part in [
        "Remember the heron.",
        "I remember.",
        "The second machine answers.",
    ] {
        let part = format!("\"content\":\"{part}\"");
        assert_eq!(replay.matches(&part).count(), 1, "{part:?} in {replay}");
    }
    let heard = model.requests();
    let last = heard.last().unwrap().clone();
    let text = last.to_string();
    Some((last, text))
}

#[test]
fn a_session_goes_on_elsewhere_with_a_recap_where_only_the_hub_knows_it() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let Some((_, heard)) = moved(&bench, &[]) else {
        return;
    };
    for part in [
        "# Recap",
        "Remember the heron.",
        "I look around.",
        "echo found it",
        "And what now?",
    ] {
        assert!(heard.contains(part), "{part:?} in {heard}");
    }
}

#[test]
fn a_session_goes_on_elsewhere_in_the_clis_own_conversation_where_that_is_there() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    std::fs::create_dir(bench.path("work")).unwrap();
    let work = bench.text("work");
    let words = ["--agent-home", "user", "--workspace-dir", work.as_str()];
    let Some((request, heard)) = moved(&bench, &words) else {
        return;
    };
    assert!(!heard.contains("# Recap"), "{heard}");
    let messages = request["body"]["messages"].as_array();
    let messages = messages.or(request["messages"].as_array()).unwrap();
    assert!(messages.len() >= 5, "the CLI knows what was said: {heard}");
    assert!(heard.contains("I remember."));
}
