//! A session in a container: real CLI, scripted model, embedded Hub.

use std::fs;
use std::process::Command;
use std::time::Duration;

use agent_runner::clock::Clock;
use serde_json::json;

use crate::bench::{
    AGENTS, Agent, BEGUN, Bench, CLAUDE, CODEX, FORMS, GEMINI, OPENCODE, PI, forms_of, is_end,
    output_of,
};
use crate::engine::{Container, docker, image, try_docker};

fn does_its_task(agent: &Agent) {
    let Some(image) = image(agent.name) else {
        return;
    };
    for form in forms_of(agent) {
        let bench = Bench::new("id -un");
        let session = bench.create_session(&json!({"task": "Go on."}));
        let container = start(&bench, &image, &session, agent, form);
        let events = container.follow();
        let output = events.event(|event| event["type"] == "tool_end");
        let output =
            output.unwrap_or_else(|| panic!("{form}: no tool ran; {}", container.errors()));
        if let Some(text) = output_of(&output, agent, form) {
            let is_agent = text.lines().any(|line| line == "agent");
            assert!(is_agent, "{form}: the agent is not root: {text}");
        }
        let end = events.event(is_end).unwrap();
        assert_eq!(end["outcome"], "completed", "{form}: {end}");
        assert_eq!(docker(&["wait", container.id()]), "0", "{form}");
    }
}

/// A container that leads `session` until its task is done, its agent in that form.
fn start(bench: &Bench, image: &str, session: &str, agent: &Agent, form: &str) -> Container {
    let session = format!("AGENT_RUNNER_SESSION={session}");
    let form = format!("AGENT_RUNNER_MODE={form}");
    bench.start_with(image, agent, &["--env", &session, "--env", &form])
}

#[test]
fn claude_does_its_sessions_task_in_a_container() {
    does_its_task(&CLAUDE);
}

#[test]
fn codex_does_its_sessions_task_in_a_container() {
    does_its_task(&CODEX);
}

#[test]
fn opencode_does_its_sessions_task_in_a_container() {
    does_its_task(&OPENCODE);
}

#[test]
fn gemini_does_its_sessions_task_in_a_container() {
    does_its_task(&GEMINI);
}

#[test]
fn pi_does_its_sessions_task_in_a_container() {
    does_its_task(&PI);
}

#[test]
fn the_image_with_all_agents_does_a_task_with_each() {
    let Some(image) = image("all") else { return };
    for agent in AGENTS {
        let bench = Bench::new("id -un");
        let session = bench.create_session(&json!({"task": "Go on."}));
        let session = format!("AGENT_RUNNER_SESSION={session}");
        let name = format!("AGENT_RUNNER_AGENT={}", agent.name);
        let container = bench.start_with(&image, agent, &["--env", &session, "--env", &name]);
        let end = container.follow().event(is_end);
        let end = end.unwrap_or_else(|| panic!("{}: no end; {}", agent.name, container.errors()));
        assert_eq!(end["outcome"], "completed", "{}: {end}", agent.name);
        assert_eq!(docker(&["wait", container.id()]), "0", "{}", agent.name);
    }
}

#[test]
fn a_stop_pauses_the_session_in_time_and_a_start_wakes_it() {
    let Some(image) = image("claude") else { return };
    for form in FORMS {
        let bench = Bench::new("sleep 300");
        let session = bench.create_session(&json!({"task": "Go on."}));
        let container = start(&bench, &image, &session, &CLAUDE, form);
        let events = container.follow();
        let native = events.event(|event| event["type"] == "session");
        let native = native.unwrap_or_else(|| panic!("no session; {}", container.errors()));
        events.event(|event| event["type"] == "tool_start").unwrap();
        let start = Clock.now();
        docker(&["stop", container.id()]);
        let took = Clock.now().duration_since(start);
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert_eq!(container.state("ExitCode"), "143", "{}", container.errors());
        drop(events);
        docker(&["start", container.id()]);
        let events = container.follow();
        let end = events.event(is_end);
        let end = end.unwrap_or_else(|| panic!("no end; {}", container.errors()));
        assert_eq!(end["outcome"], "completed", "{form}: {end}");
        assert_eq!(end["session_id"], native["session_id"], "the same session");
        assert_eq!(docker(&["wait", container.id()]), "0");
        let again = container.follow();
        let mut natives = Vec::new();
        let mut seqs = Vec::new();
        while let Some(event) = again.event(|event| event["seq"].is_u64()) {
            seqs.push(event["seq"].as_u64().unwrap());
            if event["type"] == "session" {
                natives.push(event["id"].clone());
            }
        }
        assert!(natives.len() >= 2, "{natives:?}");
        assert!(natives.iter().all(|id| *id == native["id"]), "{natives:?}");
        let expected: Vec<u64> = (1..).take(seqs.len()).collect();
        assert_eq!(seqs, expected, "each event once, in order");
        let last = bench.requests().last().unwrap().to_string();
        assert!(
            last.contains("Go on.") && last.contains("I begin."),
            "{last}"
        );
    }
}

/// What the image's health check finds.
fn is_healthy(image: &str, container: &Container) -> bool {
    let format = "{{index .Config.Healthcheck.Test 1}}";
    let check = docker(&["image", "inspect", "--format", format, image]);
    let words = ["exec", container.id(), "sh", "-c", &check];
    try_docker(&words).status.success()
}

#[test]
fn the_health_check_asks_the_daemon() {
    let Some(image) = image("claude") else { return };
    let bench = Bench::new("sleep 300");
    let session = bench.create_session(&json!({"task": "Go on."}));
    let container = bench.start(&image, &session, &CLAUDE);
    let events = container.follow();
    let begin = events.event(|event| event["type"] == "tool_start");
    assert!(begin.is_some(), "no tool; {}", container.errors());
    assert!(is_healthy(&image, &container), "{}", container.errors());
    let idle = Container::start(&image, &[], &["--exec", "sleep", "300"]);
    assert!(!is_healthy(&image, &idle), "there is no daemon in it");
}

#[test]
fn a_killed_daemon_is_started_again_and_the_turn_goes_on() {
    let Some(image) = image("claude") else { return };
    for form in FORMS {
        let bench = Bench::new("while [ ! -e go ]; do sleep 0.05; done");
        let session = bench.create_session(&json!({"task": "Go on."}));
        let container = start(&bench, &image, &session, &CLAUDE, form);
        let events = container.follow();
        let begin = events.event(|event| event["type"] == "tool_start");
        assert!(begin.is_some(), "no tool; {}", container.errors());
        let kill = "kill -9 $(grep -lzx '[d]aemon' /proc/[0-9]*/cmdline | cut -d/ -f3)";
        container.exec(&["sh", "-c", kill]);
        // By root, whose files the agent may see in its folder.
        container.exec(&["touch", "/workspace/go"]);
        let end = events.event(is_end);
        let end = end.unwrap_or_else(|| panic!("no end; {}", container.errors()));
        assert_eq!(end["outcome"], "completed", "{form}: {end}");
        assert_eq!(end["attempt"], 1, "the CLI was not disturbed: {end}");
        assert_eq!(docker(&["wait", container.id()]), "0");
        let said = container.errors();
        assert!(said.contains("(signal 9), starting it again"), "{said}");
    }
}

#[test]
fn a_killed_container_goes_on_when_it_is_started() {
    let Some(image) = image("claude") else { return };
    for form in FORMS {
        let bench = Bench::new("[ -e begun ] || { touch begun; sleep 300; }");
        let session = bench.create_session(&json!({"task": "Go on."}));
        let container = start(&bench, &image, &session, &CLAUDE, form);
        let events = container.follow();
        let begin = events.event(|event| event["type"] == "tool_start");
        assert!(begin.is_some(), "no tool; {}", container.errors());
        // The call is told before its command runs, and a command that was not begun runs again.
        container.exec(&["timeout", "30", "sh", "-c", BEGUN]);
        docker(&["kill", container.id()]);
        assert_eq!(container.state("ExitCode"), "137");
        docker(&["start", container.id()]);
        let again = container.follow();
        let end = again.event(is_end);
        let end = end.unwrap_or_else(|| panic!("no end; {}", container.errors()));
        assert_eq!(end["outcome"], "completed", "{form}: {end}");
        assert_eq!(docker(&["wait", container.id()]), "0");
    }
}

#[test]
fn a_task_and_a_repository_make_a_session_that_a_start_wakes() {
    let Some(image) = image("claude") else { return };
    let bench = Bench::new("[ -e begun ] || { touch begun; sleep 300; }");
    let repo = bench.dir.path().join("repo");
    let git = |words: &[&str]| {
        let author = ["-c", "user.name=A", "-c", "user.email=a@example.com"];
        let command = Command::new("git")
            .arg("-C")
            .arg(&repo)
            .args(author)
            .args(words)
            .status();
        assert!(command.unwrap().success(), "git {words:?}");
    };
    fs::create_dir(&repo).unwrap();
    fs::write(repo.join("README.md"), "A sample.\n").unwrap();
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "one"]);
    let mount = format!("{}:/repo:ro", repo.display());
    // The rights that images/compose.yaml and the Kubernetes Job leave it.
    let more = [
        "--cap-drop=ALL",
        "--cap-add=CHOWN",
        "--cap-add=DAC_OVERRIDE",
        "--cap-add=KILL",
        "--cap-add=SETGID",
        "--cap-add=SETPCAP",
        "--cap-add=SETUID",
        "--security-opt=no-new-privileges",
        "--volume",
        &mount,
        "--env",
        "AGENT_RUNNER_REPO=/repo",
        "--env",
        "AGENT_RUNNER_TASK=Go on.",
    ];
    let container = bench.start_with(&image, &CLAUDE, &more);
    let events = container.follow();
    let begin = events.event(|event| event["type"] == "tool_start");
    let begin = begin.unwrap_or_else(|| panic!("no tool; {}", container.errors()));
    container.exec(&["timeout", "30", "sh", "-c", BEGUN]);
    assert_eq!(
        container.exec(&["cat", "/workspace/README.md"]),
        "A sample."
    );
    docker(&["stop", container.id()]);
    assert_eq!(container.state("ExitCode"), "143", "{}", container.errors());
    docker(&["start", container.id()]);
    let end = container.follow().event(is_end);
    let end = end.unwrap_or_else(|| panic!("no end; {}", container.errors()));
    assert_eq!(end["outcome"], "completed", "{end}");
    assert_eq!(end["session_id"], begin["session_id"], "the same session");
    assert_eq!(docker(&["wait", container.id()]), "0");
}
