//! Two daemons with one session: the Hub has one lead, and the other notices.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::{Bench, Hub};
use crate::gate::run;
use crate::hand_hub::{self, Peer, Said};
use crate::participants::Participants;
use crate::running::{Running, eventually};

/// A CLI that completes whatever it is asked, and says by which daemon.
const AGENT: &str = r#"#!/bin/sh
cat >/dev/null
id=7d4f8f9e-2f6c-4a56-9d2f-000000000001
echo '{"type":"system","subtype":"init","session_id":"'$id'","cwd":"/","tools":[],"model":"m"}'
echo '{"type":"assistant","message":{"id":"msg_1","role":"assistant","model":"m","content":[{"type":"text","text":"Here is '$1'."}]},"session_id":"'$id'"}'
echo '{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"'$id'"}'
"#;

fn daemon(bench: &Bench, hub: &Hub, session: &str, state: &str) -> Running {
    let script = AGENT.replace("$1", state);
    let config = bench.config_with_cli(&script);
    let words = ["daemon", "--output", "jsonl", "--session", session];
    let mut command = bench.command(&words);
    command
        .args(["--config", &config, "--hub", &hub.url, "--hub-wait", "30s"])
        .env("AGENT_RUNNER_STATE_DIR", bench.path(state));
    bench.start(&mut command)
}

fn says(daemon: &Running, words: &str) {
    let found = daemon
        .err
        .first(0, |line| line.contains(words).then_some(()));
    assert!(found.is_some(), "no `{words}`: {:?}", daemon.err.all());
}

#[test]
fn a_daemon_that_comes_second_waits_and_leads_when_the_first_is_gone() {
    let bench = Bench::new();
    let hub = bench.hub(None);
    let Some(mut all) = Participants::start(&bench, &hub, None) else {
        return;
    };
    let session = all.create(&json!({"task": "Go."}));
    let first = daemon(&bench, &hub, &session, "one");
    first.event("end of the turn", |event| event["type"] == "end");
    all.broadcast("agent_end", 1);
    let second = daemon(&bench, &hub, &session, "two");
    says(&second, "session already has a lead");
    assert!(second.out.all().is_empty(), "it does nothing meanwhile");
    first.signal(Signal::SIGKILL);
    says(&second, "leading session");
    // The first one comes back with its session, which goes on elsewhere now.
    let first = daemon(&bench, &hub, &session, "one");
    says(&first, "session already has a lead");
    second.signal(Signal::SIGTERM);
    assert_eq!(second.finish().code(), 0);
    says(&first, "leading session");
    let without = "without its Hub";
    assert!(!first.err.all().iter().any(|line| line.contains(without)));
    first.signal(Signal::SIGTERM);
    assert_eq!(first.finish().code(), 0);
}

#[test]
fn a_daemon_that_was_superseded_sends_nothing_more() {
    let bench = Bench::new();
    let hub = bench.hub(None);
    let Some(mut all) = Participants::start(&bench, &hub, None) else {
        return;
    };
    let session = all.create(&json!({"task": "Go."}));
    let first = daemon(&bench, &hub, &session, "one");
    first.event("end of the turn", |event| event["type"] == "end");
    all.broadcast("agent_end", 1);
    // It hears nothing while another one takes its place.
    first.signal(Signal::SIGSTOP);
    drop(all);
    let address = hub.kill();
    let hub = bench.hub_at(&address, None);
    let mut all = Participants::start(&bench, &hub, None).unwrap();
    let second = daemon(&bench, &hub, &session, "two");
    says(&second, "leading session");
    first.signal(Signal::SIGCONT);
    says(&first, "stale_driver");
    first.event("word of it among its events", |event| {
        event["code"] == "hub_fenced"
    });
    let before = first.out.all().len();
    all.join(&session);
    all.command(&json!({"type": "prompt", "message": "Who is there?"}));
    let end = second.event("end of the turn", |event| event["type"] == "end");
    assert_eq!(end["outcome"], "completed", "{end}");
    let idle = |all: &mut Participants| {
        let state = all.command(&json!({"type": "get_state"}));
        state["isStreaming"] == false
    };
    eventually("the second is idle", || idle(&mut all));
    assert_eq!(first.out.all().len(), before, "the first was asked nothing");
    let seen: Vec<Value> = all.broadcasts("observer");
    let text = serde_json::to_string(&seen).unwrap();
    assert!(!text.contains("Here is one."), "{text}");
    for daemon in [first, second] {
        daemon.signal(Signal::SIGTERM);
        assert_eq!(daemon.finish().code(), 0);
    }
}

/// A CLI that notes that it was started, and completes only once it may.
const SLOW: &str = r#"#!/bin/sh
cat >/dev/null
echo started >>'DIR/started'
id=7d4f8f9e-2f6c-4a56-9d2f-000000000001
echo '{"type":"system","subtype":"init","session_id":"'$id'","cwd":"/","tools":[],"model":"m"}'
echo '{"type":"assistant","message":{"id":"msg_1","role":"assistant","model":"m","content":[{"type":"text","text":"Well."}]},"session_id":"'$id'"}'
while [ ! -e 'DIR/may' ]; do sleep 0.05; done
echo '{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"'$id'"}'
"#;

/// Takes every event of a lead up to the next of this name; false where the lead leaves before.
async fn heard(name: &str, hub: &hand_hub::Hub, peer: &mut Peer) -> bool {
    loop {
        let said = tokio::select! {
            said = peer.said() => said,
            () = hub.answer_rest() => continue,
        };
        match said {
            Said::Event(event) => {
                peer.ack(&event.id).await;
                if event.name == name {
                    return true;
                }
            }
            Said::Other(_) => {}
            Said::Close(_) | Said::Gone => return false,
        }
    }
}

#[test]
fn a_daemon_that_went_on_without_its_hub_stops_when_another_one_leads() {
    let bench = Bench::new();
    let config = bench.config_with_cli(&SLOW.replace("DIR", &bench.text("")));
    let started = || {
        let text = std::fs::read_to_string(bench.path("started"));
        text.unwrap_or_default().lines().count()
    };
    run(async {
        let hub = hand_hub::Hub::start().await;
        let start = || {
            let words = ["daemon", "--output", "jsonl", "--session", "s1"];
            let mut command = bench.command(&words);
            command.args(["--config", &config, "--hub", &hub.url(), "--hub-wait", "1s"]);
            command.env("AGENT_RUNNER_HUB_KEY", "agc_KEY");
            bench.start(&mut command)
        };
        let prompt = |number: usize| {
            let id = format!("a-unique-prompt-{number}");
            let command = json!({"type": "prompt", "id": id, "message": "Begin."});
            json!({"type": "rpc_command", "command": command})
        };
        let init = json!({"type": "init", "role": "lead", "sessionId": "s1"});
        let first = start();
        let mut peer = hub.accept().await;
        peer.send(&init).await;
        peer.send(&prompt(1)).await;
        peer.send(&prompt(2)).await;
        assert!(heard("message_start", &hub, &mut peer).await);
        eventually("the agent works", || started() == 1);
        first.signal(Signal::SIGKILL);
        heard("nothing more", &hub, &mut peer).await;
        drop(first.finish());
        // The next one hears nothing from its Hub, and goes on.
        let second = start();
        says(&second, "without its Hub");
        let mut peer = hub.accept().await;
        peer.close(4409).await;
        second.event("word of it among its events", |event| {
            event["code"] == "hub_fenced"
        });
        eventually("the agent is stopped", || {
            let processes = bench.processes();
            !processes
                .iter()
                .any(|process| process.arguments.contains("stream-json"))
        });
        assert_eq!(started(), 1, "nothing is begun");
        // Whoever led is gone: all of it is done now.
        std::fs::write(bench.path("may"), "").unwrap();
        let mut peer = hub.accept().await;
        peer.send(&init).await;
        for _ in 0..2 {
            assert!(heard("agent_end", &hub, &mut peer).await);
        }
        assert_eq!(started(), 3);
        second.signal(Signal::SIGTERM);
        heard("nothing more", &hub, &mut peer).await;
        assert_eq!(second.finish().code(), 0);
    });
}
