//! The commands that talk to a daemon, as a person types them.

use std::fs;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::place::{Place, Started};
use crate::running::{Finished, made};
use crate::wire::events as events_of;

/// A daemon with a session whose agent waits for `go`.
fn waiting(place: &Place) -> Started {
    let config = place.gated_cli("claude", "plain_text.pipe.jsonl");
    let folder = place.folder("here");
    let words = ["--config", &config, "Say something."];
    let started = Started::read(&place.start(&folder, &words));
    made(&folder.join("begun"));
    started
}

fn done(place: &Place, words: &[&str]) -> Finished {
    place.bench.start(&mut place.bench.command(words)).finish()
}

fn text(finished: &Finished) -> String {
    assert_eq!(finished.code(), 0, "{finished:#?}");
    finished.out.join("\n")
}

#[test]
fn without_a_daemon_every_command_says_where_it_looked_and_what_to_do() {
    let place = Place::new();
    let commands: [&[&str]; 7] = [
        &["approve"],
        &["sessions"],
        &["status"],
        &["events"],
        &["cancel"],
        &["logs"],
        &["prompt", "--session", "s1", "x"],
    ];
    for words in commands.iter().take(6) {
        let said = done(&place, words);
        let said = said.fails_with(69);
        assert!(said.contains("state/api.sock"), "{said}");
        assert!(said.contains("agent-runner start"), "{said}");
    }
    let said = done(&place, commands[6]);
    said.fails_with(69);
}

#[test]
fn a_session_is_looked_at_prompted_and_cancelled_from_its_folder() {
    let place = Place::new();
    let started = waiting(&place);
    let listed = text(&done(&place, &["sessions"]));
    assert!(
        listed.contains(&started.session) && listed.contains("running for"),
        "{listed}"
    );
    let status = text(&done(&place, &["status"]));
    for part in ["running for", &started.turn, "claude", "hub link", "usage"] {
        assert!(status.contains(part), "no {part:?} in {status}");
    }
    let status: Value = serde_json::from_str(&text(&done(&place, &["status", "--json"]))).unwrap();
    assert_eq!(status["session"]["id"], started.session.as_str());
    assert_eq!(status["daemon"]["pid"], started.pid);
    let wait = ["prompt", "--wait", "--output", "jsonl", "And then?"];
    let queued = place.bench.start(&mut place.bench.command(&wait));
    crate::running::eventually("the prompt waits", || {
        place.status(&started.session)["queued"] == 1
    });
    // Ctrl-C lets go of the prompt, and the turn stays; the answer may still be on its way.
    queued.signal(Signal::SIGINT);
    let queued = queued.finish();
    assert!(queued.fails_with(75).contains("no longer waiting"));
    assert_eq!(place.status(&started.session)["queued"], 1);
    let following = [
        "events",
        "--turn",
        &started.turn,
        "--follow",
        "--output",
        "jsonl",
    ];
    let following = place.bench.start(&mut place.bench.command(&following));
    following.event("the prompt", |event| event["type"] == "prompt");
    let cancelled = text(&done(&place, &["cancel"]));
    assert_eq!(cancelled.matches("cancelled").count(), 2, "{cancelled}");
    assert_eq!(place.status(&started.session)["state"], "idle");
    let events = events_of(&following.finish());
    assert_eq!(events.last().unwrap()["outcome"], "cancelled");
    assert_eq!(
        text(&done(&place, &["cancel", "--all"])),
        "nothing was running"
    );
    let shown = text(&done(&place, &["events"]));
    assert!(shown.contains("cancelled"), "{shown}");
    let unknown = done(&place, &["events", "--session", "nobody"]);
    assert!(unknown.fails_with(64).contains("agent-runner sessions"));
    let ahead = done(&place, &["events", "--after", "99999"]);
    assert!(ahead.fails_with(64).contains("beyond"));
    Place::end(started.pid, Signal::SIGTERM);
}

#[test]
fn a_prompt_that_is_waited_for_ends_with_the_turns_exit_code() {
    let place = Place::new();
    let started = waiting(&place);
    fs::write(place.bench.path("here/go"), "").unwrap();
    let prompt = ["prompt", "--wait", "--output", "jsonl", "-"];
    let mut prompted = place.bench.start(&mut place.bench.command(&prompt));
    prompted.write("What else?");
    let events = prompted.finish();
    assert_eq!(events.code(), 0, "{events:#?}");
    let events = events_of(&events);
    assert_eq!(events[0]["text"], "What else?");
    assert_eq!(events.last().unwrap()["outcome"], "completed");
    let raw = text(&done(&place, &["logs"]));
    assert!(raw.contains("\"type\":\"result\""), "{raw}");
    let cut = text(&done(&place, &["logs", "--tail", "200"]));
    assert!(raw.ends_with(&cut), "{cut}");
    assert_eq!(
        cut.trim_end().lines().count(),
        1,
        "the last line in any case"
    );
    // A reader that goes is no error.
    let mut events = place.bench.command(&["events", "--output", "jsonl"]);
    let mut child = events
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    Place::end(started.pid, Signal::SIGTERM);
}

#[test]
fn where_more_than_one_session_may_be_meant_none_is_guessed() {
    let place = Place::new();
    let first = waiting(&place);
    let config = place.bench.text("config-claude.toml");
    let folder = place.folder("here");
    let second = Started::read(&place.start(&folder, &["--config", &config, "Again."]));
    let said = done(&place, &["cancel"]);
    let said = said.fails_with(64);
    assert!(
        said.contains(&first.session) && said.contains(&second.session),
        "{said}"
    );
    let named = text(&done(&place, &["cancel", "--session", &first.session]));
    assert!(named.contains("cancelled"), "{named}");
    let all = text(&done(&place, &["cancel", "--all"]));
    assert!(
        all.contains(&second.session) && !all.contains(&first.session),
        "{all}"
    );
    Place::end(first.pid, Signal::SIGTERM);
}
