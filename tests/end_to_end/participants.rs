//! The official client as everybody in a session but the lead.

use std::cell::Cell;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::bench::{Bench, Hub, skip};
use crate::running::Running;

/// Creator, observer by WebSocket, observer by event stream, controller: each frame that one of
/// them gets is checked by the official schemas, and the first that fails fails the test.
pub(crate) struct Participants {
    node: Running,
    requests: Cell<u64>,
}

impl Participants {
    /// Nothing where the official client is not installed.
    pub(crate) fn start(bench: &Bench, hub: &Hub, key: Option<&str>) -> Option<Self> {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/official");
        if !scripts.join("node_modules/@agentuity/core").is_dir() {
            skip("needs the official client, get it with scripts/install-test-tools");
            return None;
        }
        let mut command = Command::new("node");
        command.arg(scripts.join("participants.mjs")).arg(&hub.url);
        command.current_dir(bench.path("here"));
        for (name, _) in std::env::vars_os() {
            // The client reads its key and its Hub from these.
            if name.to_string_lossy().starts_with("AGENTUITY_") {
                command.env_remove(name);
            }
        }
        if let Some(key) = key {
            command.env("CODER_TEST_KEY", key);
        }
        Some(Self {
            node: bench.start(&mut command),
            requests: Cell::new(0),
        })
    }

    /// Sends a request and gives its answer.
    pub(crate) fn ask(&mut self, mut request: Value) -> Value {
        let answer = self.try_ask(&mut request);
        assert!(answer.get("error").is_none(), "{request}: {answer}");
        answer["value"].clone()
    }

    /// The error that a request ends in.
    pub(crate) fn refused(&mut self, mut request: Value) -> String {
        let answer = self.try_ask(&mut request);
        let error = answer["error"].as_str();
        error
            .unwrap_or_else(|| panic!("{request}: {answer}"))
            .to_owned()
    }

    fn try_ask(&mut self, request: &mut Value) -> Value {
        let id = self.requests.get() + 1;
        self.requests.set(id);
        request["id"] = json!(id);
        self.node.write(&format!("{request}\n"));
        self.line(&format!("answer to {request}"), |line| line["id"] == id)
    }

    /// Creates the session and lets all participants join it; its id.
    pub(crate) fn create(&mut self, body: &Value) -> String {
        let session = self.ask(json!({"do": "create", "body": body}));
        self.ask(json!({"do": "join"}));
        session.as_str().unwrap().to_owned()
    }

    /// Lets all participants join a session that is there.
    pub(crate) fn join(&mut self, session: &str) {
        self.ask(json!({"do": "join", "session": session}));
    }

    /// A command to the lead that it accepts; the data of its answer.
    pub(crate) fn command(&mut self, command: &Value) -> Value {
        let response = self.response(command);
        assert_eq!(response["success"], true, "{command}: {response}");
        response["data"].clone()
    }

    /// A command to a lead that does not answer any.
    pub(crate) fn tell(&mut self, command: &Value) {
        self.ask(json!({"do": "tell", "command": command}));
    }

    /// A command to the lead; its answer.
    pub(crate) fn response(&mut self, command: &Value) -> Value {
        let answer = self.answer(command);
        assert!(answer.get("error").is_none(), "{command}: {answer}");
        answer["value"].clone()
    }

    /// A command to a lead that may not be there: its answer as `value`, or the Hub's `error`.
    pub(crate) fn answer(&mut self, command: &Value) -> Value {
        let mut command = command.clone();
        command["id"] = json!(format!("c{}", self.requests.get()));
        self.try_ask(&mut json!({"do": "command", "command": command}))
    }

    /// Sends a command, under its own id, without waiting for the answer.
    pub(crate) fn send(&mut self, command: &Value) {
        self.ask(json!({"do": "send", "command": command}));
    }

    /// The answer to the command of that id.
    pub(crate) fn answer_to(&self, id: &str) -> Value {
        let line = self.line(&format!("answer to {id}"), |line| {
            let frame = &line["frame"];
            line["from"] == "controller" && frame["data"]["response"]["id"] == id
        });
        line["frame"]["data"]["response"].clone()
    }

    /// A person at the controller answers a question.
    pub(crate) fn answer_person(&mut self, request: &Value, result: &Value) {
        let id = request["data"]["id"].clone();
        self.ask(json!({"do": "answer", "ui": id, "result": result}));
    }

    /// The first question with that message that a person at a controller is asked, beyond `known`.
    pub(crate) fn question(&self, message: &str, known: usize) -> Value {
        let mut seen = 0;
        let line = self.line(&format!("question {message:?}"), |line| {
            let frame = &line["frame"];
            let asked = line["from"] == "controller" && frame["event"] == "rpc_ui_request";
            seen += usize::from(asked && frame["data"]["params"]["message"] == message);
            seen > known
        });
        line["frame"].clone()
    }

    /// Waits until each viewer has got that broadcast for the `count`th time.
    pub(crate) fn broadcast(&self, event: &str, count: usize) {
        for from in ["observer", "stream", "controller"] {
            let mut seen = 0;
            self.line(&format!("{event} number {count} for {from}"), |line| {
                seen += usize::from(line["from"] == from && line["frame"]["event"] == event);
                seen == count
            });
        }
    }

    /// The broadcasts that one of them got.
    pub(crate) fn broadcasts(&self, from: &str) -> Vec<Value> {
        let lines = self.node.out.all();
        let lines = lines.iter().map(|line| checked(line));
        lines
            .filter(|line| line["from"] == from && line["frame"]["type"] == "broadcast")
            .map(|line| line["frame"].clone())
            .collect()
    }

    /// What the lead has told of its agent, from the first prompt on: each event and its data.
    pub(crate) fn told_by_lead(&self) -> Vec<(String, Value)> {
        let frames = self.broadcasts("observer").into_iter();
        let told = frames
            .skip_while(|frame| frame["event"] != "before_agent_start")
            .filter(|frame| frame["data"]["agentRole"] == "lead");
        told.map(|mut frame| {
            let event = frame["event"].as_str().unwrap().to_owned();
            (event, frame["data"].take())
        })
        .collect()
    }

    /// Asserts that each viewer got the lead's events in one and the same order, from the first
    /// prompt on: before that they may still have been joining.
    pub(crate) fn assert_same_order(&self) {
        let told = |from: &str| -> Vec<String> {
            let frames = self.broadcasts(from).into_iter();
            frames
                .skip_while(|frame| frame["event"] != "before_agent_start")
                .filter(|frame| frame["data"]["agentRole"] == "lead")
                .map(|frame| frame.to_string())
                .collect()
        };
        let seen = told("observer");
        assert!(!seen.is_empty());
        for other in ["stream", "controller"] {
            assert_eq!(told(other), seen, "{other}");
        }
    }

    fn line(&self, what: &str, mut fits: impl FnMut(&Value) -> bool) -> Value {
        let found = self.node.out.first(0, |line| {
            let line = checked(line);
            fits(&line).then_some(line)
        });
        found
            .unwrap_or_else(|| panic!("no {what}; stderr: {:?}", self.node.err.all()))
            .1
    }
}

fn checked(line: &str) -> Value {
    let line: Value = serde_json::from_str(line).unwrap();
    assert!(line.get("fault").is_none(), "{line}");
    line
}
