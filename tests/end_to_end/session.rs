//! One session from creation to replay, led by the daemon, with every participant in it.

use std::path::Path;
use std::time::Duration;

use agent_runner::clock::Clock;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::{Bench, Hub, Model};
use crate::participants::Participants;
use crate::running::{Running, eventually, made};

/// A container's stop waits for 10 s before it kills.
const LEAVES_IN: Duration = Duration::from_secs(8);

const SCRIPT: &str = r#"
[[scenario]]
match = "Write the greeting"
[[scenario.reply]]
steps = [
  { think = "A file it is." },
  { say = "I write it." },
  { write = "greeting.txt", content = "Hello 🚀\n" },
  { shell = "cat greeting.txt" },
]
[[scenario.reply]]
steps = [{ say = "The greeting is written." }]

[[scenario]]
match = "What did I ask"
reply = [{ steps = [{ say = "For a greeting." }] }]

[[scenario]]
match = "Wait for me"
reply = [{ steps = [{ shell = "touch waiting; exec sleep 3001" }] }]

[[scenario]]
match = "Stop waiting"
reply = [{ steps = [{ say = "I wait no longer." }] }]

[[scenario]]
match = "And then this"
reply = [{ steps = [{ say = "Then this." }] }]

[[scenario]]
match = "Sleep on"
reply = [{ steps = [{ shell = "touch sleeping; exec sleep 3002" }] }]

[[scenario]]
match = "Pause here"
reply = [{ steps = [{ shell = "touch pausing; exec sleep 3003" }] }]

[[scenario]]
match = "was cut off"
reply = [{ steps = [{ say = "After the pause." }] }]
"#;

fn daemon(bench: &Bench, hub: &Hub, model: &Model, session: &str) -> Running {
    let words = ["daemon", "--output", "jsonl", "--session", session];
    let mut command = bench.agent(model, &words);
    bench.start(command.args(["--hub", &hub.url]))
}

fn end(daemon: &Running, after: &Value) -> Value {
    let after = after["seq"].as_u64().unwrap_or(0);
    daemon.event("end of a turn", |event| {
        event["type"] == "end" && event["seq"].as_u64() > Some(after)
    })
}

fn is_streaming(participants: &mut Participants) -> bool {
    let state = participants.command(&json!({"type": "get_state"}));
    state["isStreaming"].as_bool().unwrap()
}

#[test]
fn a_session_is_led_from_its_creation_to_its_replay() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let hub = bench.hub(None);
    let model = bench.model(SCRIPT);
    let Some(mut all) = Participants::start(&bench, &hub, None) else {
        return;
    };
    let repo = format!("file://{}", bench.text("repo"));
    let session = all.create(&json!({"task": "Write the greeting.", "repo": {"url": repo}}));
    let workspace = bench.path("state/workspaces").join(&session);
    let first = daemon(&bench, &hub, &model, &session);

    // The session's own task.
    let turn = end(&first, &Value::Null);
    assert_eq!(turn["outcome"], "completed", "{turn}");
    all.broadcast("agent_end", 1);
    let written = std::fs::read_to_string(workspace.join("greeting.txt")).unwrap();
    assert_eq!(written, "Hello 🚀\n");
    assert!(workspace.join("README.md").exists(), "the repo was cloned");
    assert_whole_turn_in_replay(&mut all);
    eventually("the lead is idle", || !is_streaming(&mut all));

    // A second prompt goes on with the same conversation.
    all.command(&json!({"type": "prompt", "message": "What did I ask?"}));
    let turn = end(&first, &turn);
    assert_eq!(turn["outcome"], "completed", "{turn}");
    let asked = model.requests().last().unwrap()["messages"].to_string();
    assert!(asked.contains("Write the greeting."), "{asked}");
    assert!(asked.contains("The greeting is written."), "{asked}");

    let turn = sent_twice(&mut all, &first, &model, &turn);
    let turn = steered(&bench, &mut all, &first, &turn, &session);
    assert_eq!(turn["outcome"], "completed", "{turn}");
    let asked = model.requests().last().unwrap()["messages"].to_string();
    assert!(asked.contains("I wait no longer."), "{asked}");

    let turn = aborted(&bench, &mut all, &first, &turn, &workspace);
    all.command(&json!({"type": "prompt", "message": "Pause here."}));
    made(&workspace.join("pausing"));
    all.command(&json!({"type": "follow_up", "message": "And then this, later."}));
    paused(&bench, &mut all, first);

    let second = daemon(&bench, &hub, &model, &session);
    let turn = end(&second, &turn);
    assert_eq!(turn["outcome"], "completed", "{turn}");
    let done = second.event("answer of the turn", |event| {
        event["type"] == "token" && event["text"] == "After the pause."
    });
    assert_eq!(done["turn_id"], turn["turn_id"]);
    let turn = end(&second, &turn);
    assert_eq!(turn["outcome"], "completed", "what had waited runs: {turn}");
    all.broadcast("agent_end", 7);
    eventually("the lead is idle", || !is_streaming(&mut all));
    second.signal(Signal::SIGTERM);
    let finished = second.finish();
    assert_eq!(finished.code(), 0, "{finished:#?}");
    bench.assert_no_process_left();
    assert_all_saw_the_same(&mut all);
}

/// A command that is sent again, as after a lost connection, is done once and answered twice.
fn sent_twice(all: &mut Participants, daemon: &Running, model: &Model, turn: &Value) -> Value {
    let asked = model.requests().len();
    let id = "5f0f6f3e-0c0e-4b7e-9d57-6f6f2f0a4c11";
    let command = json!({"type": "prompt", "message": "What did I ask?", "id": id});
    for _ in 0..2 {
        let answer = all.ask(json!({"do": "command", "command": command}));
        assert_eq!(answer["success"], true, "{answer}");
    }
    let turn = end(daemon, turn);
    assert_eq!(turn["outcome"], "completed", "{turn}");
    eventually("the lead is idle", || !is_streaming(all));
    let again = all.ask(json!({"do": "command", "command": command}));
    assert_eq!(again["success"], true, "{again}");
    assert!(!is_streaming(all));
    let requests = model.requests().len();
    assert_eq!(requests, asked + 1, "the model was asked once");
    turn
}

/// An abort in the middle of a tool is answered when nothing runs any more.
fn aborted(
    bench: &Bench,
    all: &mut Participants,
    daemon: &Running,
    turn: &Value,
    workspace: &Path,
) -> Value {
    all.command(&json!({"type": "prompt", "message": "Sleep on."}));
    made(&workspace.join("sleeping"));
    all.command(&json!({"type": "abort"}));
    let turn = end(daemon, turn);
    assert_eq!(turn["outcome"], "cancelled", "{turn}");
    bench.assert_no_process_left();
    assert!(!is_streaming(all));
    let refused = all.response(&json!({"type": "clone"}));
    assert_eq!(refused["success"], false, "{refused}");
    assert_eq!(refused["command"], "clone", "{refused}");
    turn
}

/// Stopped in the middle of a turn: paused, for the next daemon to go on with.
fn paused(bench: &Bench, all: &mut Participants, daemon: Running) {
    let asked = Clock.now();
    daemon.signal(Signal::SIGTERM);
    let finished = daemon.finish();
    assert_eq!(finished.code(), 143, "{finished:#?}");
    assert!(asked.elapsed() < LEAVES_IN, "{:?}", asked.elapsed());
    let sessions: Vec<_> = finished
        .events()
        .into_iter()
        .filter(|event| event["type"] == "session")
        .map(|event| event["id"].clone())
        .collect();
    assert!(sessions.len() > 4, "{sessions:?}");
    assert!(sessions.iter().all(|id| *id == sessions[0]), "{sessions:?}");
    bench.assert_no_process_left();
    eventually("the Hub shows the session as paused", || {
        all.ask(json!({"do": "get"}))["status"] == "paused"
    });
}

/// A message that is heard in the middle of a turn, and one that waits for its end.
fn steered(
    bench: &Bench,
    all: &mut Participants,
    daemon: &Running,
    before: &Value,
    session: &str,
) -> Value {
    let workspace = bench.path("state/workspaces").join(session);
    all.command(&json!({"type": "prompt", "message": "Wait for me."}));
    made(&workspace.join("waiting"));
    assert!(is_streaming(all));
    all.command(&json!({"type": "follow_up", "message": "And then this."}));
    let state = all.command(&json!({"type": "get_state"}));
    assert_eq!(state["pendingMessageCount"], 1, "{state}");
    let author = json!({"displayName": "Ada L.", "email": "ada@example.com"});
    all.command(&json!({"type": "steer", "message": "Stop waiting.", "author": author}));
    let message = daemon.event("message into the turn", |event| {
        event["type"] == "prompt" && event["text"] == "Stop waiting."
    });
    assert_eq!(message["author"], "Ada L. <ada@example.com>");
    let turn = end(daemon, before);
    assert_eq!(turn["outcome"], "completed", "{turn}");
    let answer = daemon.event("answer to the steering", |event| {
        event["type"] == "token" && event["text"] == "I wait no longer."
    });
    assert_eq!(answer["turn_id"], turn["turn_id"]);
    assert_eq!(answer["attempt"], 2, "{answer}");
    end(daemon, &turn)
}

fn assert_whole_turn_in_replay(all: &mut Participants) {
    let replay = all.ask(json!({"do": "replay"}));
    let entries = replay["entries"].as_array().unwrap();
    let kinds: Vec<_> = entries
        .iter()
        .map(|entry| entry["type"].as_str().unwrap())
        .filter(|kind| !kind.starts_with("runtime_"))
        .collect();
    assert_eq!(
        kinds,
        [
            "user_prompt",
            "thinking",
            "message",
            "tool_call",
            "tool_call",
            "tool_result",
            "tool_result",
            "message",
        ],
        "{replay:#}"
    );
    let text = replay.to_string();
    for part in [
        "Write the greeting.",
        "A file it is.",
        "I write it.",
        "greeting.txt",
        "Hello 🚀",
        "The greeting is written.",
    ] {
        assert!(text.contains(part), "no {part:?} in {replay:#}");
    }
}

fn assert_all_saw_the_same(all: &mut Participants) {
    let from_lead = |from: &str| {
        let mut frames = all.broadcasts(from);
        frames.retain(|frame| frame["data"]["agentRole"] == "lead");
        frames
    };
    all.broadcast("session_shutdown", 2);
    let seen = from_lead("observer");
    assert!(seen.iter().any(|frame| frame["event"] == "message_update"));
    for other in ["stream", "controller"] {
        assert_eq!(from_lead(other), seen, "{other}");
    }
    for (opened, closed) in [
        ("agent_start", "agent_end"),
        ("turn_start", "turn_end"),
        ("message_start", "message_end"),
        ("tool_execution_start", "tool_execution_end"),
    ] {
        let count = |event| seen.iter().filter(|frame| frame["event"] == event).count();
        assert_eq!(count(opened), count(closed), "{opened}");
    }
}
