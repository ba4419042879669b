//! What dies takes nothing with it: the CLI goes on without its daemon, the daemon without its Hub.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::{Bench, Hub, Model};
use crate::bytes::{journal, recording};
use crate::participants::Participants;
use crate::running::{Running, eventually, made};

const SCRIPT: &str = r#"
[[reply]]
steps = [{ say = "I begin." }, { shell = "touch begun; while [ ! -e go ]; do sleep 0.05; done; echo went on" }]
[[reply]]
steps = [{ say = "I am done." }]
"#;

fn daemon(bench: &Bench, hub: &Hub, model: &Model, session: &str) -> Running {
    let words = ["daemon", "--output", "jsonl", "--session", session];
    let mut command = bench.agent(model, &words);
    bench.start(command.args(["--hub", &hub.url]))
}

/// Starts a turn, kills its daemon in the middle, lets the tool go on before or after the next
/// daemon is there; the session's id and its participants.
fn killed(bench: &Bench, goes_on_alone: bool) -> Option<()> {
    let hub = bench.hub(None);
    let model = bench.model(SCRIPT);
    let mut all = Participants::start(bench, &hub, None)?;
    let session = all.create(&json!({"task": "Go on."}));
    let workspace = bench.path("state/workspaces").join(&session);
    let first = daemon(bench, &hub, &model, &session);
    made(&workspace.join("begun"));
    all.broadcast("tool_call", 1);
    first.signal(Signal::SIGKILL);
    assert_eq!(first.finish().status.code(), None);
    assert!(!bench.descendants().is_empty(), "the CLI goes on");
    let go = || std::fs::write(workspace.join("go"), "").unwrap();
    if goes_on_alone {
        go();
        bench.assert_no_process_left();
    }
    let second = daemon(bench, &hub, &model, &session);
    if !goes_on_alone {
        eventually("the turn runs under the next daemon", || {
            let answer = all.answer(&json!({"type": "get_state"}));
            answer["value"]["data"]["isStreaming"] == true
        });
        go();
    }
    let end = second.event("end of the turn", |event| event["type"] == "end");
    assert_eq!(end["outcome"], "completed", "{end}");
    assert_eq!(end["attempt"], 1, "the same process went on: {end}");
    all.broadcast("agent_end", 1);
    second.signal(Signal::SIGTERM);
    assert_eq!(second.finish().code(), 0);
    bench.assert_no_process_left();
    all.broadcast("session_shutdown", 1);
    assert_told_once(bench, &all, &session);
    assert_eq!(model.requests().len(), 2, "nothing was asked twice");
    Some(())
}

fn assert_told_once(bench: &Bench, all: &Participants, session: &str) {
    let events = journal(bench, session);
    let mut ids: Vec<_> = events.iter().map(|event| &event["event_id"]).collect();
    ids.sort_by_key(|id| id.as_str());
    ids.dedup();
    assert_eq!(ids.len(), events.len(), "an event is stored twice");
    let seen = all.broadcasts("observer");
    let count = |name: &str| seen.iter().filter(|frame| frame["event"] == name).count();
    for name in ["agent_start", "agent_end", "tool_call", "tool_result"] {
        assert_eq!(count(name), 1, "{name}");
    }
    let texts = |frame: &Value| frame["data"]["message"]["content"].to_string();
    for text in ["I begin.", "I am done."] {
        let told = seen
            .iter()
            .filter(|frame| frame["event"] == "message_end" && texts(frame).contains(text));
        assert_eq!(told.count(), 1, "{text}");
    }
}

/// A CLI that says something, and the rest when it may.
const TALKER: &str = r#"#!/bin/sh
cat >/dev/null
id=7d4f8f9e-2f6c-4a56-9d2f-000000000001
say() {
    echo '{"type":"assistant","message":{"id":"msg_'$1'","role":"assistant","model":"m","content":[{"type":"text","text":"This is '$1'."}]},"session_id":"'$id'"}'
}
echo '{"type":"system","subtype":"init","session_id":"'$id'","cwd":"/","tools":[],"model":"m"}'
say one
while [ ! -e 'DIR/may' ]; do sleep 0.05; done
say two
echo '{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"'$id'"}'
"#;

#[test]
fn raw_output_that_is_gone_is_told_and_the_rest_is_read() {
    for is_removed in [false, true] {
        let bench = Bench::new();
        let hub = bench.hub(None);
        let config = bench.config_with_cli(&TALKER.replace("DIR", &bench.text("")));
        let task = bench.file("task", "Talk.");
        let words = ["daemon", "--output", "jsonl", "--once", "--config", &config];
        let start = || {
            bench.start(
                bench
                    .command(&words)
                    .args(["--hub", &hub.url, "--task-file", &task]),
            )
        };
        let first = start();
        first.event("what it says", |event| event["text"] == "This is one.");
        first.signal(Signal::SIGKILL);
        first.finish();
        let runs = bench.files("state/runs");
        let spool = runs
            .iter()
            .find(|file| file.ends_with("spool.raw"))
            .unwrap();
        if is_removed {
            std::fs::remove_file(spool).unwrap();
        } else {
            let file = std::fs::File::options().write(true).open(spool).unwrap();
            file.set_len(40).unwrap();
        }
        let second = start();
        let lost = second.event("word of it", |event| event["code"] == "output_lost");
        assert!(
            lost["text"].as_str().unwrap().contains("spool.raw"),
            "{lost}"
        );
        std::fs::write(bench.path("may"), "").unwrap();
        if !is_removed {
            second.event("the rest", |event| event["text"] == "This is two.");
        }
        let end = second.event("end of the turn", |event| event["type"] == "end");
        let outcome = if is_removed {
            "incomplete"
        } else {
            "completed"
        };
        assert_eq!(end["outcome"], outcome, "{end}");
        second.finish();
    }
}

#[test]
fn the_next_daemon_takes_over_a_turn_that_still_runs() {
    if let Some(bench) = Bench::with_claude() {
        killed(&bench, false);
    }
}

#[test]
fn the_next_daemon_reads_what_a_turn_did_while_nobody_watched() {
    if let Some(bench) = Bench::with_claude() {
        killed(&bench, true);
    }
}

#[test]
fn a_hub_that_was_away_has_every_event_once() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let hub = bench.hub(None);
    let model = bench.model(SCRIPT);
    let Some(mut creator) = Participants::start(&bench, &hub, None) else {
        return;
    };
    let session = creator.create(&json!({"task": "Go on."}));
    let daemon = daemon(&bench, &hub, &model, &session);
    creator.broadcast("tool_call", 1);
    drop(creator);
    let address = hub.kill();
    // The turn ends while there is no Hub.
    std::fs::write(bench.path("state/workspaces").join(&session).join("go"), "").unwrap();
    let end = daemon.event("end of the turn", |event| event["type"] == "end");
    assert_eq!(end["outcome"], "completed", "{end}");
    let hub = bench.hub_at(&address, None);
    let mut late = Participants::start(&bench, &hub, None).unwrap();
    late.join(&session);
    eventually("the lead is back and idle", || {
        let answer = late.answer(&json!({"type": "get_state"}));
        answer["value"]["data"]["isStreaming"] == false
    });
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.finish().code(), 0);
    late.broadcast("session_shutdown", 1);
    let history = late.ask(json!({"do": "history"}));
    let names: Vec<_> = history["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["event"])
        .collect();
    for (name, expected) in [
        ("agent_start", 1),
        ("tool_call", 1),
        ("tool_result", 1),
        ("turn_end", 2),
        ("agent_end", 1),
    ] {
        let count = names.iter().filter(|seen| **seen == name).count();
        assert_eq!(count, expected, "{name} in {names:?}");
    }
    let replay = late.ask(json!({"do": "replay"})).to_string();
    for part in ["Go on.", "I begin.", "went on", "I am done."] {
        let part = format!("\"content\":\"{part}\"");
        assert_eq!(replay.matches(&part).count(), 1, "{part:?} in {replay}");
    }
}

#[test]
fn a_turn_that_was_paused_before_the_cli_spoke_has_not_crashed() {
    let bench = Bench::new();
    let hub = bench.hub(None);
    let script = format!(
        "#!/bin/sh\ncat >/dev/null\nif [ -e paused ]; then exec cat '{}'; fi\ntouch paused\n\
         exec sleep 3000\n",
        recording("plain_text").display()
    );
    let config = bench.config_with_cli(&script);
    let words = ["daemon", "--output", "jsonl", "--config", &config];
    let mut command = bench.command(&words);
    command.args(["--hub", &hub.url]);
    let first = bench.start(command.env("AGENT_RUNNER_TASK", "Go on."));
    let leads = |line: &str| Some(line.split_once("leading session ")?.1.to_owned());
    let (_, session) = first.err.first(0, leads).unwrap();
    made(&bench.path("state/workspaces").join(&session).join("paused"));
    first.signal(Signal::SIGTERM);
    assert_eq!(first.finish().code(), 143);
    let mut command = bench.command(&words);
    command.args(["--once", "--hub", &hub.url, "--session", &session]);
    let finished = bench.start(&mut command).finish();
    assert_eq!(finished.code(), 0, "{finished:#?}");
    let events = journal(&bench, &session);
    let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    assert_eq!(
        (count("agent_crashed"), count("end")),
        (0, 1),
        "{events:#?}"
    );
}
