//! The conversation that several tests have, and a session that has begun it.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::agents::Agent;
use crate::bench::{Bench, Hub, Model};
use crate::participants::Participants;
use crate::running::{Running, eventually};

/// What the session is made for.
pub(crate) const TASK: &str = "Write the greeting.";

/// What the model says to it, and to what is asked afterwards.
pub(crate) const SCRIPT: &str = r#"
[[scenario]]
match = "Write the greeting"
[[scenario.reply]]
steps = [{ say = "I write it." }, { shell = "echo hello > greeting.txt; cat greeting.txt" }]
[[scenario.reply]]
steps = [{ say = "The greeting is written." }]

[[scenario]]
match = "What did I ask"
reply = [{ steps = [{ say = "You asked for a greeting." }] }]

[[scenario]]
match = "Wait for me"
[[scenario.reply]]
steps = [{ shell = "touch waiting; until [ -e go ]; do sleep 0.05; done" }]
[[scenario.reply]]
steps = [{ say = "I wait no longer." }]

[[scenario]]
match = "Stop waiting"
reply = [{ steps = [{ say = "I wait no longer." }] }]

[[scenario]]
match = "Sleep on"
reply = [{ steps = [{ shell = "touch sleeping; exec sleep 3002" }] }]
"#;

/// A session with its first turn behind it, and the daemon that leads it.
pub(crate) struct Led {
    pub(crate) session: String,
    pub(crate) workspace: PathBuf,
    pub(crate) daemon: Running,
}

impl Led {
    /// By that CLI in its form.
    pub(crate) fn by(
        agent: &Agent,
        bench: &Bench,
        hub: &Hub,
        model: &Model,
        all: &mut Participants,
    ) -> Option<Self> {
        let program = agent.installed()?;
        let place = agent.place(&model.url, false);
        if let Some((path, content)) = place.home_file {
            let path = bench.path("home").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let text = |text: &str| toml::Value::from(text).to_string();
        let (name, program) = (agent.name, text(program.to_str().unwrap()));
        let mut config = format!("[agents.{name}]\ncommand = {program}\n[agents.{name}.env]\n");
        for (name, value) in place.env {
            writeln!(config, "{name} = {}", text(&value)).unwrap();
        }
        let config = bench.file("config.toml", &config);
        Some(Self::start(bench, hub, all, |words| {
            let mut command = bench.command(words);
            command
                .args(["--agent", agent.name, "--model", agent.model])
                .args(["--mode", agent.mode(), "--agent-home", "user"])
                .args(["--config", &config]);
            command
        }))
    }

    fn start(
        bench: &Bench,
        hub: &Hub,
        all: &mut Participants,
        command: impl FnOnce(&[&str]) -> Command,
    ) -> Self {
        let session = all.create(&json!({"task": TASK}));
        let words = ["daemon", "--output", "jsonl", "--session", &session];
        let daemon = bench.start(command(&words).args(["--hub", &hub.url]));
        all.broadcast("agent_end", 1);
        Self {
            workspace: bench.path("state/workspaces").join(&session),
            session,
            daemon,
        }
    }

    /// Ends the daemon in order, and with it all that it has started.
    pub(crate) fn finish(self, bench: &Bench) {
        self.daemon.signal(Signal::SIGTERM);
        assert_eq!(self.daemon.finish().code(), 0);
        bench.assert_no_process_left();
    }
}

/// Waits until the lead says that its agent does nothing.
pub(crate) fn idle(all: &mut Participants) {
    eventually("the lead is idle", || {
        all.command(&json!({"type": "get_state"}))["isStreaming"] == false
    });
}
