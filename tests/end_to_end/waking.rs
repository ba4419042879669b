//! A paused session is resumed by the official client, and runs again.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::bench::{Bench, Hub, Model, find_claude};
use crate::participants::Participants;
use crate::running::eventually;

const SCRIPT: &str = r#"
[[scenario]]
match = "Remember the word"
reply = [{ steps = [{ say = "I remember heron." }] }]

[[scenario]]
match = "Which word"
reply = [{ steps = [{ say = "The word is heron." }] }]
"#;

/// A setting that the session has from nobody but its first daemon.
const ITS_OWN: &str = "claude-sonnet-4-5";

/// Where it finds its CLI.
const OWN_CLAUDE: &str = "own-claude";

/// A Hub in whose environment an agent can work.
fn hub(bench: &Bench, model: &Model, words: &[&str]) -> Hub {
    let mut command = bench.agent(model, &["hub", "--listen", "127.0.0.1:0"]);
    command.env("AGENT_RUNNER_STATE_DIR", bench.path("hub"));
    bench.hub_of(command.args(words))
}

/// A session with one turn behind it, whose daemon has been stopped.
fn paused(bench: &Bench, hub: &Hub, model: &Model, all: &mut Participants) -> String {
    let session = all.create(&json!({"task": "Remember the word heron."}));
    let words = ["daemon", "--output", "jsonl", "--session", &session];
    let mut daemon = bench.agent(model, &words);
    daemon.args(["--model", ITS_OWN]);
    let own = bench.path(OWN_CLAUDE);
    std::os::unix::fs::symlink(find_claude().unwrap(), &own).unwrap();
    let config = format!("[agents.claude]\ncommand = {:?}\n", own.to_str().unwrap());
    daemon.args(["--config", &bench.file("config.toml", &config)]);
    let daemon = bench.start(daemon.args(["--hub", &hub.url]));
    all.broadcast("agent_end", 1);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.finish().code(), 0);
    standing(all, "paused");
    session
}

/// Waits for that status; the session's record.
fn standing(all: &mut Participants, status: &str) -> Value {
    let mut record = Value::Null;
    eventually(&format!("the session is {status}"), || {
        record = all.ask(json!({"do": "get"}));
        record["status"] == status
    });
    record
}

#[test]
fn a_paused_session_that_is_resumed_goes_on_in_its_own_conversation() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let model = bench.model(SCRIPT);
    let hub = hub(&bench, &model, &[]);
    let Some(mut all) = Participants::start(&bench, &hub, None) else {
        return;
    };
    let session = paused(&bench, &hub, &model, &mut all);
    bench.assert_no_process_left();
    assert_eq!(all.ask(json!({"do": "get"}))["wakeAvailable"], true);

    let resumed = all.ask(json!({"do": "resume"}));
    assert_eq!(resumed["sessionId"], session, "{resumed}");
    let record = standing(&mut all, "idle");
    assert_eq!(record["runtimeAvailable"], true, "{record}");
    all.command(&json!({"type": "prompt", "message": "Which word?"}));
    all.broadcast("agent_end", 2);
    let asked = model.requests().pop().unwrap();
    assert_eq!(asked["model"], ITS_OWN);
    let asked = asked["messages"].to_string();
    for part in ["Remember the word heron.", "I remember heron."] {
        assert!(asked.contains(part), "no {part:?} in {asked}");
    }

    // Whoever resumes a session that runs disturbs nothing.
    all.ask(json!({"do": "resume"}));
    let daemons: Vec<_> = bench
        .descendants()
        .into_iter()
        .filter(|process| process.arguments.contains(" background "))
        .collect();
    assert_eq!(daemons.len(), 1, "{daemons:?}");
    kill(Pid::from_raw(daemons[0].pid), Signal::SIGTERM).unwrap();
    standing(&mut all, "paused");
    bench.assert_no_process_left();
}

/// What whoever asks for it is told of a session that cannot be resumed.
fn refused(all: &mut Participants) -> String {
    all.refused(json!({"do": "resume"}))
}

#[test]
fn a_session_that_cannot_be_woken_says_why() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let model = bench.model(SCRIPT);
    let script = "echo \"$AGENT_RUNNER_SESSION\" >> tries; echo no room left >&2; exit 3";
    let script = format!("cd {}; {script}", bench.text("here"));
    let words: Vec<&str> = ["sh", "-c", &script]
        .into_iter()
        .flat_map(|word| ["--wake-command", word])
        .collect();
    let hub = hub(&bench, &model, &words);
    let Some(mut all) = Participants::start(&bench, &hub, None) else {
        return;
    };
    let session = paused(&bench, &hub, &model, &mut all);

    // To whoever asks, to everybody in the conversation, and in the session's record.
    let error = refused(&mut all);
    assert!(error.ends_with("said: no room left"), "{error}");
    all.broadcast("session_error", 1);
    let mut record = standing(&mut all, "paused");
    let error = record["error"].take();
    assert!(
        error.as_str().unwrap().ends_with("said: no room left"),
        "{error}"
    );
    let replay = all.ask(json!({"do": "replay"})).to_string();
    assert!(replay.contains("no room left"), "{replay}");
    // Not again at once, and for the same reason.
    assert!(refused(&mut all).ends_with("said: no room left"));
    standing(&mut all, "paused");
    let tries = std::fs::read_to_string(bench.path("here/tries")).unwrap();
    assert_eq!(tries, format!("{session}\n"));
}

/// A session of a daemon that is gone, after `damage` was done to its place: what is said to whoever
/// resumes it.
fn resumed_after(damage: impl FnOnce(&Bench, &str)) -> Option<String> {
    let bench = Bench::with_claude()?;
    let model = bench.model(SCRIPT);
    let hub = hub(&bench, &model, &[]);
    let mut all = Participants::start(&bench, &hub, None)?;
    let session = paused(&bench, &hub, &model, &mut all);
    damage(&bench, &session);
    let error = refused(&mut all);
    let record = standing(&mut all, "paused");
    assert!(
        error.contains(record["error"].as_str().unwrap()),
        "{record}"
    );
    Some(error)
}

#[test]
fn a_session_whose_state_dir_is_gone_is_not_woken() {
    let gone = resumed_after(|bench, _| std::fs::remove_dir_all(bench.path("state")).unwrap());
    if let Some(error) = gone {
        assert!(error.contains("/state of its last lead is gone"), "{error}");
    }
}

#[test]
fn a_session_that_its_state_dir_does_not_know_is_not_woken() {
    let gone = resumed_after(|bench, _| {
        std::fs::remove_dir_all(bench.path("state")).unwrap();
        std::fs::create_dir(bench.path("state")).unwrap();
    });
    if let Some(error) = gone {
        assert!(error.contains("there is no session"), "{error}");
    }
}

#[test]
fn a_session_whose_agent_is_gone_is_not_woken() {
    let gone = resumed_after(|bench, _| std::fs::remove_file(bench.path(OWN_CLAUDE)).unwrap());
    if let Some(error) = gone {
        assert!(error.contains("is no program that can be run"), "{error}");
    }
}
