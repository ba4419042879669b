//! A session that is ended for good, and what is left of it.

use std::collections::HashSet;
use std::fs;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::place::{Place, Started};
use crate::running::{eventually, made};

fn running(place: &Place, words: &[&str]) -> Started {
    let config = place.gated_cli("claude", "plain_text.pipe.jsonl");
    let folder = place.folder("one");
    let all = [&["--config", config.as_str()], words, &["Go."]].concat();
    let started = Started::read(&place.start(&folder, &all));
    made(&folder.join("begun"));
    started
}

#[test]
fn a_session_that_is_ended_is_cancelled_told_to_its_hub_and_not_opened_again() {
    let place = Place::new();
    let ended = running(&place, &[]);
    let other = Started::read(&place.start(
        &place.folder("two"),
        &["--config", &place.bench.text("config-claude.toml"), "Go."],
    ));
    place.prompt(&ended.session, "And then this.");
    let mut command = place.bench.command(&["end", "--session", &ended.session]);
    let said = place.bench.start(&mut command).finish();
    assert_eq!(said.code(), 0, "{said:#?}");
    let events = place.events(&ended.session);
    let ends = events.iter().filter(|event| event["type"] == "end");
    let ends: Vec<_> = ends.map(|end| &end["outcome"]).collect();
    assert_eq!(ends, ["cancelled"; 2], "also of the prompt that waited");
    // A shim that begins is several processes for a moment, all with the name of its run.
    let left = place.bench.descendants();
    let shims: HashSet<_> = left
        .iter()
        .map(|process| process.arguments.as_str())
        .filter(|arguments| arguments.contains(" shim "))
        .collect();
    assert_eq!(shims.len(), 1, "only the other works on: {shims:?}");
    let path = format!("/v1/sessions/{}", ended.session);
    let prompt = serde_json::json!({"text": "More."});
    let (status, answer) = place.ask("POST", &format!("{path}/prompts"), &prompt);
    assert_eq!((status, &answer["code"]), (409, &"session_ended".into()));
    let (status, again) = place.ask("DELETE", &path, &Value::Null);
    assert_eq!((status, &again["state"]), (200, &"ended".into()), "{again}");
    Place::end(ended.pid, Signal::SIGKILL);
    place.restart();
    let ids = |path: &str| {
        let (_, list) = place.ask("GET", path, &Value::Null);
        let list = list["sessions"].as_array().unwrap().clone();
        let text = |session: &Value| session["id"].as_str().unwrap().to_owned();
        list.iter().map(text).collect::<Vec<_>>()
    };
    assert_eq!(ids("/v1/sessions"), [other.session.as_str()]);
    assert_eq!(
        ids("/v1/sessions?all=true"),
        [other.session.as_str(), ended.session.as_str()]
    );
    let kept = place.status(&ended.session);
    assert_eq!(kept["state"], "ended", "{kept}");
    assert_eq!(kept["ended_at"], again["ended_at"], "{kept}");
    eventually("the Hub has all of it", || {
        let journal = place.status(&ended.session)["journal"].clone();
        journal["acked_seq"] == journal["last_seq"]
    });
    fs::write(place.bench.path("two/go"), "").unwrap();
    assert_eq!(other.said().1["outcome"], "completed");
}

#[test]
fn a_session_that_cannot_be_led_can_be_ended_too() {
    let place = Place::new();
    let missing = place.bench.text("no-such-repo");
    let config = place.gated_cli("claude", "plain_text.pipe.jsonl");
    let words = ["--config", &config, "--repo", &missing, "Go."];
    let broken = Started::read(&place.start(&place.folder("one"), &words));
    assert_eq!(broken.said().1["outcome"], "failed");
    let mut command = place.bench.command(&["end", "--session", &broken.session]);
    assert_eq!(place.bench.start(&mut command).finish().code(), 0);
    assert_eq!(place.status(&broken.session)["state"], "ended");
}

#[test]
fn what_is_left_of_an_ended_session_goes_when_it_has_been_kept_long_enough() {
    let place = Place::new();
    let ended = running(&place, &[]);
    let workspace = place.bench.path("state/workspaces").join(&ended.session);
    fs::create_dir_all(&workspace).unwrap();
    let path = format!("/v1/sessions/{}", ended.session);
    assert_eq!(place.ask("DELETE", &path, &Value::Null).0, 200);
    assert!(ended.output.exists());
    Place::end(ended.pid, Signal::SIGTERM);
    let config = place.bench.file("keep.toml", "session_retain = \"1ms\"\n");
    #[cfg(feature = "crash-points")]
    for point in ["retention.turn_removed:1", "retention.files_removed:1"] {
        // As `start` starts it; it dies in the midst of removing the session.
        let mut command = place.bench.command(&["background", "--config", &config]);
        command.args(["--state-dir", &place.bench.text("state")]);
        command.env("AGENT_RUNNER_CRASH", point);
        let died = place.bench.start(&mut command).finish();
        let signal = std::os::unix::process::ExitStatusExt::signal(&died.status);
        assert_eq!(signal, Some(9), "{point}: {died:?}");
    }
    place.restart_with(&mut place.bench.command(&["start", "--config", &config]));
    eventually("nothing is known of it", || {
        place.ask("GET", &path, &Value::Null).0 == 404
    });
    assert!(!ended.output.exists() && !workspace.exists());
    assert!(
        place.bench.path("one/begun").exists(),
        "the user's own folder"
    );
    let (_, list) = place.ask("GET", "/v1/sessions?all=true", &Value::Null);
    assert_eq!(list["sessions"].as_array().unwrap().len(), 0, "{list}");
}
