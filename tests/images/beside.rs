//! The daemon on this machine, its agent in a container beside it.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::bench::{Agent, Bench, CLAUDE, CODEX, GEMINI, OPENCODE, is_end};
use crate::engine::{LIMIT, Lines, docker, image};

fn does_its_task(agent: &Agent) {
    let Some(image) = image(agent.name) else {
        return;
    };
    let bench = Bench::new("id -un; cat /proc/self/status; pwd");
    let workspace = bench.dir.path().join("work");
    fs::create_dir(&workspace).unwrap();
    std::os::unix::fs::chown(&workspace, Some(1000), Some(1000)).unwrap();
    let mut command = bench.beside(&image, agent, &["run", "Go on."]);
    let events = Lines::of(command.current_dir(&workspace));
    let setup = events.event(|event| event["step"] == "sandbox").unwrap();
    let found = format!("{image} has /opt/agent-runner/bin/");
    assert!(
        setup["text"].as_str().unwrap().starts_with(&found),
        "{setup}"
    );
    let output = events.event(|event| event["type"] == "tool_end").unwrap();
    let text = output["output"].as_str().unwrap();
    assert!(text.contains("agent"), "the agent is not root: {text}");
    for set in ["CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(
            text.contains(&format!("{set}:\t0000000000000000")),
            "{text}"
        );
    }
    assert!(text.contains("NoNewPrivs:\t1"), "{text}");
    let workspace = fs::canonicalize(&workspace).unwrap();
    assert!(text.contains(workspace.to_str().unwrap()), "{text}");
    let end = events.event(is_end).unwrap();
    assert_eq!(end["outcome"], "completed", "{end}");
    assert_eq!(containers(&bench), "", "its container is gone");
}

/// The containers of the bench's daemons.
fn containers(bench: &Bench) -> String {
    let runs = bench.dir.path().display();
    let all = crate::bench::containers();
    let own = all.lines().filter(|line| line.contains(&runs.to_string()));
    own.collect::<Vec<_>>().join("\n")
}

#[test]
fn claude_does_its_task_in_a_container_beside() {
    does_its_task(&CLAUDE);
}

#[test]
fn codex_does_its_task_in_a_container_beside() {
    does_its_task(&CODEX);
}

#[test]
fn opencode_does_its_task_in_a_container_beside() {
    does_its_task(&OPENCODE);
}

#[test]
fn gemini_does_its_task_in_a_container_beside() {
    does_its_task(&GEMINI);
}

/// A daemon that leads `session`, with claude beside it.
fn daemon(bench: &Bench, image: &str, session: &str) -> Lines {
    let mut command = bench.beside(image, &CLAUDE, &["daemon", "--once"]);
    command.args(["--hub", &bench.hub, "--session", session]);
    Lines::of(&mut command)
}

#[test]
fn a_killed_daemons_agent_goes_on_beside_and_the_next_daemon_takes_it_over() {
    let Some(image) = image("claude") else { return };
    let bench = Bench::new("while [ ! -e go ]; do sleep 0.05; done");
    let session = bench.create_session(&json!({"task": "Go on."}));
    let first = daemon(&bench, &image, &session);
    let begin = first.event(|event| event["type"] == "tool_start").unwrap();
    drop(first); // SIGKILL
    let container = containers(&bench);
    assert!(!container.is_empty(), "the agent goes on");
    let workspace = workspace(&bench);
    let second = daemon(&bench, &image, &session);
    fs::write(workspace.join("go"), "").unwrap();
    let end = second.event(is_end).unwrap();
    assert_eq!(end["outcome"], "completed", "{end}");
    assert_eq!(end["attempt"], 1, "the CLI was not disturbed: {end}");
    assert_eq!(end["turn_id"], begin["turn_id"]);
    assert_eq!(containers(&bench), "");
}

#[test]
fn the_setup_script_runs_in_a_container_too() {
    let Some(image) = image("claude") else { return };
    let bench = Bench::new("cat from-setup");
    let script = bench.dir.path().join("setup.sh");
    fs::write(
        &script,
        "id -u; tr '\\0' ' ' </proc/1/cmdline; echo made >from-setup",
    )
    .unwrap();
    let session = bench.create_session(&json!({"task": "Go on."}));
    let mut command = bench.beside(&image, &CLAUDE, &["daemon", "--once"]);
    command.arg("--setup").arg(&script);
    command.args(["--hub", &bench.hub, "--session", &session]);
    let events = Lines::of(&mut command);
    let said = events.event(|event| event["step"] == "setup").unwrap();
    let text = said["text"].as_str().unwrap();
    assert!(text.starts_with("1000\n/.agent-runner init shim"), "{text}");
    let output = events.event(|event| event["type"] == "tool_end").unwrap();
    assert!(
        output["output"].as_str().unwrap().contains("made"),
        "{output}"
    );
    assert_eq!(events.event(is_end).unwrap()["outcome"], "completed");
    assert_eq!(containers(&bench), "");
}

/// The one workspace that a daemon has made.
fn workspace(bench: &Bench) -> std::path::PathBuf {
    let folder = bench.dir.path().join("state/workspaces");
    let mut all = fs::read_dir(folder).unwrap();
    all.next().unwrap().unwrap().path()
}

#[test]
fn a_killed_container_is_a_crash_that_the_session_outlives() {
    let Some(image) = image("claude") else { return };
    let bench = Bench::new("[ -e begun ] || { touch begun; sleep 300; }");
    let session = bench.create_session(&json!({"task": "Go on."}));
    let events = daemon(&bench, &image, &session);
    events.event(|event| event["type"] == "tool_start").unwrap();
    let begun = workspace(&bench).join("begun");
    assert!(crate::appears::path(&begun, LIMIT));
    let container = containers(&bench);
    docker(&["kill", container.split(' ').next().unwrap()]);
    let end = events.event(is_end).unwrap();
    assert_eq!(end["outcome"], "completed", "{end}");
    assert_eq!(end["attempt"], 2, "it was resumed: {end}");
    assert_eq!(containers(&bench), "");
}

#[test]
fn a_pause_ends_the_container_and_the_next_daemon_goes_on_with_the_conversation() {
    let Some(image) = image("claude") else { return };
    let bench = Bench::new("[ -e begun ] || { touch begun; sleep 300; }");
    let session = bench.create_session(&json!({"task": "Go on."}));
    let mut command = bench.beside(&image, &CLAUDE, &["daemon", "--once"]);
    command.args(["--hub", &bench.hub, "--session", &session]);
    let first = Lines::of(&mut command);
    let native = first.event(|event| event["type"] == "session").unwrap();
    first.event(|event| event["type"] == "tool_start").unwrap();
    assert!(crate::appears::path(
        &workspace(&bench).join("begun"),
        LIMIT
    ));
    let asked = Command::new("kill").arg(first.pid().to_string()).status();
    assert!(asked.unwrap().success());
    assert_eq!(first.code(), Some(143));
    assert_eq!(containers(&bench), "", "nothing of it is left");
    let second = daemon(&bench, &image, &session);
    let mut natives = Vec::new();
    let end = second.event(|event: &Value| {
        if event["type"] == "session" {
            natives.push(event["id"].clone());
        }
        is_end(event)
    });
    assert_eq!(end.unwrap()["outcome"], "completed");
    assert_eq!(natives, [native["id"].clone()], "the same conversation");
}
