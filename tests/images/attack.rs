//! An agent that tries to get out: to the Hub's key, to what is told of it, to the daemon.

use std::fs;

use serde_json::json;

use crate::bench::{Bench, CLAUDE, HUB_KEY, is_end};
use crate::engine::{Lines, image, try_docker};

const ATTACK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/images/attack.sh");

/// The command line of an attack; the key is in it in halves only, so that it finds no trace of
/// its own.
fn attack(script: &str, state: &str) -> String {
    let (first, second) = HUB_KEY.split_at(8);
    format!("sh {script} {first} {second} {state}")
}

/// Every try failed, and there were so many at least.
fn assert_contained(output: &str, least: usize) {
    assert!(!output.contains("BREACH"), "{output}");
    let tried = output.rsplit_once("tried ").expect(output).1;
    let tried: usize = tried.split_whitespace().next().unwrap().parse().unwrap();
    assert!(tried >= least, "{output}");
}

#[test]
fn an_agent_inside_gets_at_nothing_of_the_daemons() {
    let Some(image) = image("claude") else { return };
    let state = "/var/lib/agent-runner";
    let bench = Bench::new(&attack("/attack.sh", state));
    let session = bench.create_session(&json!({"task": "Go on."}));
    let session = format!("AGENT_RUNNER_SESSION={session}");
    let script = format!("{ATTACK}:/attack.sh:ro");
    let more = ["--env", &session, "--volume", &script];
    let container = bench.start_with(&image, &CLAUDE, &more);
    let events = container.follow();
    let output = events.event(|event| event["type"] == "tool_end");
    let output = output.unwrap_or_else(|| panic!("no tool ran; {}", container.errors()));
    assert_contained(output["output"].as_str().unwrap(), 60);
    assert_eq!(events.event(is_end).unwrap()["outcome"], "completed");
}

#[test]
fn the_attack_is_one_that_root_would_succeed_with() {
    let Some(image) = image("base") else { return };
    let script = format!("{ATTACK}:/attack.sh:ro");
    let key = format!("KEY={HUB_KEY}");
    let words = [
        "run",
        "--rm",
        "--network",
        "none",
        "--env",
        &key,
        "--volume",
        &script,
        "--entrypoint",
        "sh",
        &image,
        "-c",
    ];
    let inner = format!(
        "mkdir -p /state/runs/1 && touch /state/journal.db && {}",
        attack("/attack.sh", "/state")
    );
    let output = try_docker(&[&words[..], &[&inner]].concat());
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    for breach in [
        "the key is in the environment",
        "the journal",
        "the run's spool.raw can be added to",
    ] {
        assert!(
            output.contains(&format!("BREACH: {breach}")),
            "{breach}: {output}"
        );
    }
}

#[test]
fn an_agent_beside_gets_at_nothing_of_the_daemons() {
    let Some(image) = image("claude") else { return };
    let bench = Bench::new(&attack("attack.sh", "../state"));
    let root = bench.dir.path().canonicalize().unwrap();
    let workspace = root.join("work");
    fs::create_dir(&workspace).unwrap();
    fs::copy(ATTACK, workspace.join("attack.sh")).unwrap();
    std::os::unix::fs::chown(&workspace, Some(1000), Some(1000)).unwrap();
    let session = bench.create_session(&json!({"task": "Go on."}));
    let mut command = bench.beside(&image, &CLAUDE, &["daemon", "--once"]);
    command
        .args([
            "--hub",
            &bench.hub,
            "--session",
            &session,
            "--workspace-dir",
        ])
        .arg(&workspace);
    let events = Lines::of(&mut command);
    let output = events.event(|event| event["type"] == "tool_end").unwrap();
    assert_contained(output["output"].as_str().unwrap(), 60);
    assert_eq!(events.event(is_end).unwrap()["outcome"], "completed");
}
