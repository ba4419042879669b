//! A state dir with a daemon in the background, and the agents that its sessions have.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::bench::{Bench, Model};
use crate::running::{Finished, eventually};

/// What a real CLI does until it may go on: a file `go` in its folder.
pub(crate) const GATED: &str = r#"
[[reply]]
steps = [{ say = "I begin." }, { shell = "touch begun; while [ ! -e go ]; do sleep 0.05; done; echo went on" }]
[[reply]]
steps = [{ say = "I am done." }]
"#;

/// A session as `start` printed it.
#[derive(Debug, Clone)]
pub(crate) struct Started {
    pub(crate) session: String,
    pub(crate) turn: String,
    pub(crate) pid: i32,
    pub(crate) output: PathBuf,
}

impl Started {
    pub(crate) fn read(finished: &Finished) -> Self {
        assert_eq!(finished.code(), 0, "{finished:#?}");
        assert_eq!(finished.out.len(), 1, "one JSON object: {finished:#?}");
        let answer: Value = serde_json::from_str(&finished.out[0]).unwrap();
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        assert_eq!(answer.as_object().unwrap().len(), 4, "{answer}");
        Self {
            session: text("session_id"),
            turn: text("turn_id"),
            pid: i32::try_from(answer["pid"].as_i64().unwrap()).unwrap(),
            output: text("output_file").into(),
        }
    }

    /// The events in the output file, once the last one is there.
    pub(crate) fn events(&self) -> Vec<Value> {
        let mut events = Vec::new();
        eventually("the output file is complete", || {
            let text = fs::read_to_string(&self.output).unwrap_or_default();
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let lines = whole
                .lines()
                .map(|line| serde_json::from_str(line).unwrap());
            events = lines.collect();
            events
                .last()
                .is_some_and(|event: &Value| event["type"] == "end")
        });
        let mode = self.output.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for (event, next) in events.iter().zip(events.iter().skip(1)) {
            let seq = |event: &Value| event["seq"].as_u64().unwrap();
            assert_eq!(seq(event) + 1, seq(next), "no hole and no repeat");
        }
        for event in &events {
            assert_eq!(event["session_id"], *self.session, "{event}");
            assert_eq!(event["turn_id"], *self.turn, "{event}");
        }
        events
    }

    /// All texts of the output file, and how the turn ended.
    pub(crate) fn said(&self) -> (String, Value) {
        let events = self.events();
        let texts = events.iter().filter(|event| event["type"] == "token");
        let text = texts.map(|event| event["text"].as_str().unwrap()).collect();
        (text, events.last().unwrap().clone())
    }
}

/// A bench whose state dir is led in the background. The daemon is ended with it.
pub(crate) struct Place {
    pub(crate) bench: Bench,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            bench: Bench::new(),
        }
    }

    pub(crate) fn with_claude() -> Option<Self> {
        Some(Self {
            bench: Bench::with_claude()?,
        })
    }

    /// A folder of its own for a session.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let folder = self.bench.path(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// A CLI of `agent` that notes its arguments, waits for the file `go` in its folder, and then
    /// prints a recording; the config file that names it.
    pub(crate) fn gated_cli(&self, agent: &str, recording: &str) -> String {
        let recording = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/corpus")
            .join(agent)
            .join(recording);
        let script = format!(
            "#!/bin/sh\nprintf '%s\\n' \"$@\" >>arguments\ncat >/dev/null\ntouch begun\n\
             while [ ! -e go ]; do sleep 0.05; done\nexec cat '{}'\n",
            recording.display()
        );
        let program = self.bench.file(&format!("cli-{agent}"), &script);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let text = format!("[agents.{agent}]\ncommand = {program:?}\n");
        self.bench.file(&format!("config-{agent}.toml"), &text)
    }

    /// `start` in that folder.
    pub(crate) fn start_command(&self, folder: &Path, words: &[&str]) -> Command {
        let mut command = self.bench.command(&["start"]);
        command.args(words).current_dir(folder);
        command
    }

    pub(crate) fn start(&self, folder: &Path, words: &[&str]) -> Finished {
        self.bench
            .start(&mut self.start_command(folder, words))
            .finish()
    }

    /// `start` of the real Claude Code with that model behind it.
    pub(crate) fn start_claude(&self, model: &Model, folder: &Path) -> Started {
        let mut command = self.bench.agent(model, &["start", "Go on."]);
        Started::read(&self.bench.start(command.current_dir(folder)).finish())
    }

    /// Brings the daemon back; its pid.
    pub(crate) fn restart(&self) -> (i32, String) {
        self.restart_with(&mut self.bench.command(&["start"]))
    }

    /// Brings the daemon back by this command.
    pub(crate) fn restart_with(&self, command: &mut Command) -> (i32, String) {
        let finished = self.bench.start(command).finish();
        assert_eq!(finished.code(), 0, "{finished:#?}");
        let answer: Value = serde_json::from_str(&finished.out[0]).unwrap();
        let pid = i32::try_from(answer["pid"].as_i64().unwrap()).unwrap();
        (pid, finished.err)
    }

    /// Signals the daemon, and waits until it is gone.
    pub(crate) fn end(pid: i32, signal: Signal) {
        kill(Pid::from_raw(pid), signal).expect("the daemon is there");
        eventually("the daemon is gone", || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
            !stat.is_ok_and(|stat| !stat.contains(") Z "))
        });
    }

    /// A request to the daemon's API: status and body.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let mut stream = UnixStream::connect(self.bench.path("state/api.sock")).unwrap();
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// A session as the API shows it.
    pub(crate) fn status(&self, session: &str) -> Value {
        self.ask("GET", &format!("/v1/sessions/{session}"), &Value::Null)
            .1
    }

    pub(crate) fn prompt(&self, session: &str, text: &str) {
        let path = format!("/v1/sessions/{session}/prompts");
        let (status, answer) = self.ask("POST", &path, &json!({"text": text}));
        assert!(status < 300, "{status}: {answer}");
    }

    /// Every event of a session.
    pub(crate) fn events(&self, session: &str) -> Vec<Value> {
        let path = format!("/v1/sessions/{session}/events?limit=1000");
        let (status, answer) = self.ask("GET", &path, &Value::Null);
        assert_eq!(status, 200, "{answer}");
        let events = answer["events"].as_array().unwrap().clone();
        for (index, event) in events.iter().enumerate() {
            assert_eq!(event["seq"], index + 1, "{event}");
            assert_eq!(event["session_id"], session, "{event}");
        }
        events
    }
}
