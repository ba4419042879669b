//! What a session costs that nobody uses.

use std::fs;

use serde_json::json;

use crate::place::Place;
use crate::running::eventually;

/// Sessions that are made.
const SESSIONS: usize = 50;

/// The most that one of them may add to the daemon's memory, in KiB.
const MEMORY: u64 = 205;

/// The most descriptors that one of them may hold: its socket to the Hub, and in a daemon whose
/// Hub is its own, the Hub's end of it.
const DESCRIPTORS: usize = 2;

/// What comes and goes besides, however many sessions there are: connections that are kept for the
/// next request.
const OTHERS: usize = 16;

#[test]
fn an_idle_session_costs_little_memory_and_two_descriptors() {
    let place = Place::new();
    let config = place.gated_cli("claude", "plain_text.pipe.jsonl");
    let folder = place.folder("one");
    fs::write(folder.join("go"), "").unwrap();
    let words = ["--config", &config, "Go."];
    let first = crate::place::Started::read(&place.start(&folder, &words));
    first.events();
    let create = || {
        let body = json!({"settings": {"config": [config], "mode": ["exec"]}, "cwd": folder, "task": "Go."});
        let (status, answer) = place.ask("POST", "/v1/sessions", &body);
        assert_eq!(status, 201, "{answer}");
        answer["session_id"].as_str().unwrap().to_owned()
    };
    let idle = |session: &String| {
        eventually("the session is idle", || {
            place.status(session)["state"] == "idle"
        });
    };
    // The first ones fill what all of them share.
    (0..5).map(|_| create()).for_each(|session| idle(&session));
    let before = (memory(first.pid), descriptors(first.pid));
    for _ in 0..SESSIONS / 10 {
        let made: Vec<_> = (0..10).map(|_| create()).collect();
        made.iter().for_each(idle);
    }
    let after = (memory(first.pid), descriptors(first.pid));
    let each = (after.0.saturating_sub(before.0)) / SESSIONS as u64;
    println!(
        "{each} KiB a session, {} to {} KiB in all",
        before.0, after.0
    );
    assert!(each <= MEMORY, "{each} KiB a session");
    let opened = after.1.saturating_sub(before.1);
    assert!(
        opened <= DESCRIPTORS * SESSIONS + OTHERS,
        "{opened} descriptors"
    );
}

/// The resident memory of a process, in KiB.
fn memory(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.unwrap().split_whitespace().nth(1).unwrap();
    number.parse().unwrap()
}

fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}
