//! The same work in live form, in the manner of Claude Code: prompts and answers come over stdin,
//! one process does all turns. Each turn stands in the ledger as a run of its own.

use std::io::BufRead as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Worker, say, uuid};
use crate::payload::Step;

/// How a turn goes on after a frame that came into it.
enum Turn {
    GoesOn,
    Answered(String),
    Over,
}

pub(super) fn work(folder: &Path, orders: &Value, session: &str, resumed: bool) {
    let frames = frames();
    while let Ok(frame) = frames.recv() {
        if frame["type"] == "control_request" {
            respond(&frame);
        } else if frame["type"] == "user" {
            let worker = Worker {
                codex: false,
                run: uuid().replace('-', ""),
                ledger: folder.join("ledger.jsonl"),
                session: session.to_owned(),
            };
            worker.turn(&frame, orders, resumed, &frames);
        }
    }
}

fn frames() -> Receiver<Value> {
    let (sender, frames) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let line = line.expect("stdin can be read");
            let frame = serde_json::from_str(&line).expect("a frame is JSON");
            if sender.send(frame).is_err() {
                return;
            }
        }
    });
    frames
}

/// Clients look at how a line begins.
fn control(kind: &str, rest: &Value) {
    let rest = rest.to_string();
    super::super::print(format!("{{\"type\":\"control_{kind}\",{}\n", &rest[1..]).as_bytes());
}

fn respond(frame: &Value) {
    let id = &frame["request_id"];
    control(
        "response",
        &json!({"response": {"subtype": "success", "request_id": id, "response": {}}}),
    );
}

impl Worker {
    fn turn(&self, frame: &Value, orders: &Value, resumed: bool, frames: &Receiver<Value>) {
        let prompt = frame["message"]["content"][0]["text"]
            .as_str()
            .expect("a text");
        self.note(&json!({"pid": std::process::id(), "prompt": prompt, "resumed": resumed}));
        self.keep(prompt);
        say(&self.opening());
        Self::echo(frame);
        let pause = Duration::from_millis(orders["pause_ms"].as_u64().unwrap_or(0));
        let steps = u32::try_from(orders["steps"].as_u64().expect("steps")).expect("few steps");
        for step in 0..steps {
            // Where nobody talks any more a real one does its turn to the end, too.
            while let Ok(frame) = frames.try_recv() {
                if matches!(self.hear(&frame), Turn::Over) {
                    return;
                }
            }
            say(&self.record(step));
            self.note(&json!({"wrote": step}));
            if Step::of(step) == Step::ToolStart && !self.consents(step, frames) {
                return;
            }
            std::thread::sleep(pause);
        }
        say(&self.terminal());
    }

    fn echo(frame: &Value) {
        let mut echo = frame.clone();
        echo["isReplay"] = json!(true);
        let text = echo.as_object_mut().expect("an object");
        text.remove("type");
        let rest = serde_json::to_string(text).expect("JSON");
        super::super::print(format!("{{\"type\":\"user\",{}\n", &rest[1..]).as_bytes());
    }

    fn hear(&self, frame: &Value) -> Turn {
        match frame["type"].as_str() {
            Some("user") => {
                self.note(&json!({"heard": frame["message"]["content"][0]["text"]}));
                Self::echo(frame);
                Turn::GoesOn
            }
            Some("control_response") => {
                let id = frame["response"]["request_id"].as_str().expect("an id");
                self.note(&json!({"answered": id}));
                Turn::Answered(id.to_owned())
            }
            _ => {
                respond(frame);
                if frame["request"]["subtype"] != "interrupt" {
                    return Turn::GoesOn;
                }
                say(&[json!({
                    "type": "result", "subtype": "error_during_execution", "is_error": true,
                    "duration_ms": 1, "num_turns": 1, "stop_reason": null,
                    "session_id": self.session, "total_cost_usd": 0.0,
                    "terminal_reason": "aborted_streaming",
                    "usage": {"input_tokens": 0, "output_tokens": 0},
                })]);
                Turn::Over
            }
        }
    }

    /// Waits for consent to the call that began; whether the turn goes on.
    fn consents(&self, step: u32, frames: &Receiver<Value>) -> bool {
        let call = format!("toolu_{}_{}", self.run, step - step % 3);
        let id = uuid();
        let request = json!({"subtype": "can_use_tool", "tool_name": "Bash", "tool_use_id": call,
            "input": {"command": "true"}});
        // Before it can be answered.
        self.note(&json!({"asked": id}));
        control("request", &json!({"request_id": id, "request": request}));
        loop {
            let Ok(frame) = frames.recv() else {
                return true;
            };
            if frame["request"]["subtype"] == "interrupt" {
                control("cancel_request", &json!({"request_id": id}));
            }
            match self.hear(&frame) {
                Turn::Answered(answered) if answered == id => return true,
                Turn::GoesOn | Turn::Answered(_) => {}
                Turn::Over => return false,
            }
        }
    }
}
