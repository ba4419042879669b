//! However the daemon ends, its sessions go on: killed, stopped, replaced.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::place::{GATED, Place, Started};
use crate::running::{eventually, made};

/// Two running sessions, of the real Claude Code and of a stand-in.
fn two_running(place: &Place, model: &crate::bench::Model) -> [Started; 2] {
    let (one, two) = (place.folder("one"), place.folder("two"));
    let real = place.start_claude(model, &one);
    let config = place.gated_cli("codex", "twotext.pipe.jsonl");
    let words = [
        "--agent", "codex", "--model", "m-1", "--config", &config, "Go.",
    ];
    let fake = Started::read(&place.start(&two, &words));
    for folder in [&one, &two] {
        made(&folder.join("begun"));
    }
    [real, fake]
}

fn go(place: &Place) {
    for folder in ["one", "two"] {
        fs::write(place.bench.path(folder).join("go"), "").unwrap();
    }
}

fn assert_undisturbed(place: &Place, sessions: &[Started; 2]) {
    for session in sessions {
        let (_, end) = session.said();
        assert_eq!(end["outcome"], "completed", "{end}");
        assert_eq!(end["attempt"], 1, "the same process went on: {end}");
        let ends = place.events(&session.session);
        let ends = ends.iter().filter(|event| event["type"] == "end");
        assert_eq!(ends.count(), 1);
    }
    assert_eq!(sessions[0].said().0, "I begin.I am done.");
}

#[test]
fn after_kill_9_the_next_daemon_goes_on_with_every_session() {
    let Some(place) = Place::with_claude() else {
        return;
    };
    let model = place.bench.model(GATED);
    let sessions = two_running(&place, &model);
    Place::end(sessions[0].pid, Signal::SIGKILL);
    let mut status = place
        .bench
        .command(&["status", "--session", &sessions[0].session]);
    let status = place.bench.start(&mut status).finish();
    let said = status.fails_with(69);
    assert!(
        said.contains("has died") && said.contains("`agent-runner start`"),
        "{said}"
    );
    let (pid, said) = place.restart();
    assert_ne!(pid, sessions[0].pid);
    assert!(
        said.contains(&format!("pid {}) had died", sessions[0].pid)),
        "{said}"
    );
    for session in &sessions {
        eventually("the turn runs under the next daemon", || {
            place.status(&session.session)["state"] == "running"
        });
    }
    go(&place);
    assert_undisturbed(&place, &sessions);
    assert_eq!(model.requests().len(), 2, "nothing was asked twice");
    // A session is opened again as it was made.
    let arguments = place.bench.path("two/arguments");
    fs::remove_file(&arguments).unwrap();
    place.prompt(&sessions[1].session, "Again.");
    eventually("the agent has the model of its session", || {
        fs::read_to_string(&arguments).is_ok_and(|words| words.contains("m-1"))
    });
}

#[test]
fn on_sigterm_all_sessions_pause_and_the_next_daemon_resumes_them() {
    let Some(place) = Place::with_claude() else {
        return;
    };
    let model = place.bench.model(GATED);
    let sessions = two_running(&place, &model);
    Place::end(sessions[0].pid, Signal::SIGTERM);
    // All agents have ended with it; whatever was started is gone.
    let is_agent = |line: &str| line.contains("cli-codex") || line.contains("shim");
    let left = place.bench.descendants();
    assert!(
        !left.iter().any(|process| is_agent(&process.arguments)),
        "{left:?}"
    );
    go(&place);
    // The key came with the session's `start`; from now on it is the daemon's that counts.
    let (_, said) = place.restart_with(&mut place.bench.agent(&model, &["start"]));
    assert!(!said.contains("died"), "{said}");
    for session in &sessions {
        let (_, end) = session.said();
        assert_eq!(end["outcome"], "completed", "{end}");
        let events = place.events(&session.session);
        let crashes = events
            .iter()
            .filter(|event| event["type"] == "agent_crashed");
        assert_eq!(crashes.count(), 0, "a pause is no crash");
    }
}

#[test]
fn on_sigusr2_the_daemon_leaves_at_once_and_its_agents_work_on() {
    let Some(place) = Place::with_claude() else {
        return;
    };
    let model = place.bench.model(GATED);
    let sessions = two_running(&place, &model);
    Place::end(sessions[0].pid, Signal::SIGUSR2);
    let left = place.bench.descendants();
    let shims = left
        .iter()
        .filter(|process| process.arguments.contains(" shim "));
    assert_eq!(shims.count(), 2, "the agents work on: {left:?}");
    // One turn ends while nobody watches, the other under the next daemon.
    fs::write(place.bench.path("two/go"), "").unwrap();
    let (_, said) = place.restart();
    assert!(!said.contains("died"), "{said}");
    go(&place);
    assert_undisturbed(&place, &sessions);
}

#[test]
fn a_daemon_that_is_told_its_task_again_does_not_do_it_twice() {
    let place = Place::new();
    let hub = place.bench.hub(None);
    let config = place.gated_cli("claude", "plain_text.pipe.jsonl");
    let daemon = || {
        let words = [
            "daemon", "--output", "jsonl", "--config", &config, "--hub", &hub.url,
        ];
        let mut command = place.bench.command(&words);
        let workspace = place.folder("one");
        command.arg("--workspace-dir").arg(workspace);
        place.bench.start(command.env("AGENT_RUNNER_TASK", "Go."))
    };
    let leads = |line: &str| Some(line.split_once("leading session ")?.1.to_owned());
    let first = daemon();
    let (_, session) = first.err.first(0, leads).unwrap();
    made(&place.bench.path("one/begun"));
    first.signal(Signal::SIGKILL);
    first.finish();
    let second = daemon();
    assert_eq!(second.err.first(0, leads).unwrap().1, session);
    fs::write(place.bench.path("one/go"), "").unwrap();
    let end = second.event("end of the turn", |event| event["type"] == "end");
    assert_eq!(
        (&end["outcome"], &end["attempt"]),
        (&json!("completed"), &json!(1))
    );
    let status = place.status(&session);
    assert_eq!(
        status["id"], *session,
        "a daemon in the foreground has the API too"
    );
    second.signal(Signal::SIGTERM);
    assert_eq!(second.finish().code(), 0);
    let arguments = fs::read_to_string(place.bench.path("one/arguments")).unwrap();
    let starts = arguments.lines().filter(|line| *line == "-p");
    assert_eq!(starts.count(), 1, "{arguments}");
}
