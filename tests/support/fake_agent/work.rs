//! Work in the manner of a real CLI: its records on stdout, its conversation in its home, and a
//! ledger of what it has said, which is what the tests of faults hold against everybody else.
//!
//! ```text
//! work claude|codex FOLDER CLI-ARGUMENTS…
//! FOLDER/orders.json    {"steps": 24, "pause_ms": 10, "die_at": 7}    die_at: the first one only
//! FOLDER/ledger.jsonl   {"run", "pid", "prompt", "resumed"}, {"run", "wrote": STEP}; in live form
//!                       also {"run", "heard": MESSAGE}, {"run", "asked": ID}, {"run", "answered": ID}
//! ```
//!
//! The ledger's line follows the record's newline: what it names was written whole. It outlives
//! the process, as every written file does; only the power going would need more.

#![allow(clippy::indexing_slicing)] // a record that is not as expected fails the test

mod live;

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::payload::{Step, payload};

/// What the CLI is told to be.
struct Worker {
    codex: bool,
    run: String,
    ledger: PathBuf,
    session: String,
}

pub(crate) fn work(mut arguments: impl Iterator<Item = String>) {
    let codex = arguments.next().expect("a dialect") == "codex";
    let folder = PathBuf::from(arguments.next().expect("a folder"));
    let arguments: Vec<String> = arguments.collect();
    let is_live = arguments
        .iter()
        .any(|word| word == "--input-format=stream-json");
    if is_live {
        let orders = fs::read(folder.join("orders.json")).expect("there are orders");
        let orders: Value = serde_json::from_slice(&orders).expect("orders are JSON");
        let (session, resumed) = session(&arguments);
        return live::work(&folder, &orders, &session, resumed);
    }
    let mut prompt = String::new();
    std::io::stdin()
        .read_to_string(&mut prompt)
        .expect("a prompt");
    let orders = fs::read(folder.join("orders.json")).expect("there are orders");
    let orders: Value = serde_json::from_slice(&orders).expect("orders are JSON");
    let ledger = folder.join("ledger.jsonl");
    let is_first = !ledger.exists();
    let (session, resumed) = session(&arguments);
    let worker = Worker {
        codex,
        run: uuid().replace('-', ""),
        ledger,
        session,
    };
    worker
        .note(&json!({"pid": std::process::id(), "prompt": prompt.trim_end(), "resumed": resumed}));
    worker.keep(&prompt);
    say(&worker.opening());
    let pause = Duration::from_millis(orders["pause_ms"].as_u64().unwrap_or(0));
    let steps = u32::try_from(orders["steps"].as_u64().expect("steps")).expect("few steps");
    for step in 0..steps {
        if is_first && orders["die_at"] == step {
            super::die(9);
        }
        say(&worker.record(step));
        worker.note(&json!({"wrote": step}));
        std::thread::sleep(pause);
    }
    say(&worker.terminal());
}

fn say(records: &[Value]) {
    for record in records {
        super::print(format!("{record}\n").as_bytes());
    }
}

/// The conversation that the arguments name, or one of its own; whether it is an old one.
fn session(arguments: &[String]) -> (String, bool) {
    let value = |flag: &str| arguments.iter().find_map(|word| word.strip_prefix(flag));
    let after = |word: &str| {
        let at = arguments.iter().position(|argument| argument == word)?;
        arguments.get(at + 1)
    };
    match (value("--resume="), value("--session-id="), after("resume")) {
        (Some(id), _, _) => (id.to_owned(), true),
        (_, Some(id), _) => (id.to_owned(), false),
        (_, _, Some(id)) => (id.clone(), true),
        _ => (uuid(), false),
    }
}

fn uuid() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/uuid").expect("/proc is mounted");
    text.trim().to_owned()
}

impl Worker {
    fn note(&self, entry: &Value) {
        let mut entry = entry.clone();
        entry["run"] = json!(self.run);
        append(&self.ledger, &entry);
    }

    /// Stores the conversation where the real CLI does.
    fn keep(&self, prompt: &str) {
        let home = PathBuf::from(std::env::var_os("HOME").expect("a home"));
        let session = &self.session;
        let path = if self.codex {
            home.join(format!(
                ".codex/sessions/2026/11/21/rollout-x-{session}.jsonl"
            ))
        } else {
            home.join(format!(".claude/projects/here/{session}.jsonl"))
        };
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder can be made");
        append(&path, &json!({"prompt": prompt}));
    }

    fn opening(&self) -> Vec<Value> {
        if self.codex {
            return vec![
                json!({"type": "thread.started", "thread_id": self.session}),
                json!({"type": "turn.started"}),
            ];
        }
        vec![json!({
            "type": "system", "subtype": "init", "cwd": "/", "session_id": self.session,
            "tools": ["Bash"], "mcp_servers": [], "model": "fake",
            "permissionMode": "bypassPermissions",
        })]
    }

    fn record(&self, step: u32) -> Vec<Value> {
        let text = payload(&self.run, step);
        vec![if self.codex {
            self.item(step, &text)
        } else {
            self.message(step, &text)
        }]
    }

    fn item(&self, step: u32, text: &str) -> Value {
        let id = format!("item_{}", step / 3 * 2 + u32::from(!step.is_multiple_of(3)));
        // The call's end repeats what was called.
        let command = payload(&self.run, step - step % 3 + 1);
        match Step::of(step) {
            Step::Text => json!({"type": "item.completed",
                "item": {"id": id, "type": "agent_message", "text": text}}),
            Step::ToolStart => json!({"type": "item.started",
                "item": {"id": id, "type": "command_execution", "command": text,
                    "aggregated_output": "", "exit_code": null, "status": "in_progress"}}),
            Step::ToolEnd => json!({"type": "item.completed",
                "item": {"id": id, "type": "command_execution", "command": command,
                    "aggregated_output": text, "exit_code": 0, "status": "completed"}}),
        }
    }

    fn message(&self, step: u32, text: &str) -> Value {
        let call = format!("toolu_{}_{}", self.run, step - step % 3);
        let assistant = |content: Value| {
            json!({"type": "assistant", "parent_tool_use_id": null, "session_id": self.session,
                "message": {"id": format!("msg_{}_{step}", self.run), "type": "message",
                    "role": "assistant", "model": "fake", "content": [content],
                    "stop_reason": null, "usage": {"input_tokens": 1, "output_tokens": 1}}})
        };
        match Step::of(step) {
            Step::Text => assistant(json!({"type": "text", "text": text})),
            Step::ToolStart => assistant(json!({"type": "tool_use", "id": call, "name": "Bash",
                "input": {"command": text}})),
            Step::ToolEnd => json!({"type": "user", "parent_tool_use_id": null,
                "session_id": self.session,
                "message": {"role": "user", "content": [{"type": "tool_result",
                    "tool_use_id": call, "content": text, "is_error": false}]}}),
        }
    }

    fn terminal(&self) -> Vec<Value> {
        if self.codex {
            return vec![json!({"type": "turn.completed",
                "usage": {"input_tokens": 1, "cached_input_tokens": 0, "output_tokens": 1}})];
        }
        vec![json!({
            "type": "result", "subtype": "success", "is_error": false, "duration_ms": 1,
            "num_turns": 1, "result": "done", "stop_reason": "end_turn",
            "session_id": self.session, "total_cost_usd": 0.0,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        })]
    }
}

fn append(path: &Path, entry: &Value) {
    let file = OpenOptions::new().append(true).create(true).open(path);
    let mut file = file.expect("the file can be opened");
    // One write: lines of several processes do not mix.
    file.write_all(format!("{entry}\n").as_bytes())
        .expect("the line can be written");
}
