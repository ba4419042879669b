//! Tools of the Hub for an agent that gets at little: another user's, or one under Landlock. And for
//! a daemon that goes while people are asked about what a tool has given.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::bench::{Bench, skip};
use crate::gate::run;
use crate::hand_hub::Hub;
#[cfg(feature = "crash-points")]
use crate::hand_hub::{Peer, Said};

const SCRIPT: &str = r#"
[[reply]]
steps = [{ mcp = "coder_hub/memory_recall", input = { query = "heron" } }, { shell = "id -un; cat '{{cwd}}/../../hub-tools/s1/offer.json' || echo closed" }]
[[reply]]
steps = [{ say = "So it was." }]
"#;

/// A session with this in its environment calls the tool once, in both forms; what its agent was
/// told.
fn calls_a_tool(env: &[(&str, &str)], mode: &str) -> Option<String> {
    let bench = Bench::with_claude()?;
    fs::set_permissions(bench.path(""), fs::Permissions::from_mode(0o711)).unwrap();
    let model = bench.model(SCRIPT);
    run(async {
        let hub = Hub::start().await;
        let repo = format!("file://{}", bench.text("repo"));
        let words = ["daemon", "--output", "jsonl", "--session", "s1"];
        let mut command = bench.agent(&model, &words);
        command.args(["--repo", &repo, "--hub", &hub.url()]);
        command.env("AGENT_RUNNER_HUB_KEY", "agc_KEY");
        command.env("AGENT_RUNNER_MODE", mode);
        command.envs(env.iter().copied());
        let daemon = bench.start(&mut command);
        let mut peer = hub.accept().await;
        let tool = json!({"name": "memory_recall", "description": "Recalls.",
            "parameters": {"type": "object"}});
        peer.send(
            &json!({"type": "init", "role": "lead", "sessionId": "s1", "task": "Recall.",
            "tools": [tool]}),
        )
        .await;
        let mut calls = 0;
        let found = |frame: &Value| {
            let actions = json!([{"action": "RETURN", "result": "grey herons"}]);
            (frame["type"] == "tool").then(|| {
                calls += 1;
                json!({"id": frame["id"], "actions": actions})
            })
        };
        hub.play(&mut peer, found).await;
        assert_eq!(calls, 1, "{:?}", daemon.out.all());
    });
    let told = model.requests().pop().unwrap().to_string();
    assert!(told.contains("grey herons"), "{told}");
    Some(told)
}

#[test]
fn an_agent_of_another_user_calls_the_hubs_tools() {
    if !nix::unistd::geteuid().is_root() {
        return skip("needs root, to start an agent as another user");
    }
    for mode in ["exec", "live"] {
        let Some(told) = calls_a_tool(&[("AGENT_RUNNER_AGENT_USER", "nobody")], mode) else {
            return;
        };
        assert!(told.contains("nobody") && told.contains("closed"), "{told}");
    }
}

#[test]
fn an_agent_under_landlock_calls_the_hubs_tools() {
    if !agent_runner::process::can_restrict_files() {
        return skip("this kernel has no Landlock");
    }
    for mode in ["exec", "live"] {
        let _told = calls_a_tool(&[("AGENT_RUNNER_LANDLOCK", "true")], mode);
    }
}

#[cfg(feature = "crash-points")]
const ASKS: &str = r#"
[[scenario]]
match = "Recall"
[[scenario.reply]]
steps = [{ mcp = "coder_hub/memory_recall", input = { query = "heron" } }]
[[scenario.reply]]
steps = [{ say = "So it was." }]
"#;

/// A Hub that has people consent to what its tool gives. Until a frame is what `enough` says; false
/// where the lead leaves before.
#[cfg(feature = "crash-points")]
async fn plays(hub: &Hub, peer: &mut Peer, enough: impl Fn(&Value) -> bool) -> bool {
    loop {
        let frame = tokio::select! {
            said = peer.said() => match said {
                Said::Event(event) => {
                    peer.ack(&event.id).await;
                    json!({"event": event.name})
                }
                Said::Other(frame) => frame,
                Said::Close(_) | Said::Gone => return false,
            },
            () = hub.answer_rest() => continue,
        };
        if frame["type"] == "tool" {
            let confirm = json!({"action": "CONFIRM", "title": "Tell it?", "message": "m"});
            let gives = json!({"action": "RETURN", "result": "grey herons"});
            let answer = json!({"id": frame["id"], "actions": [confirm, gives]});
            peer.send(&answer).await;
        }
        if enough(&frame) {
            return true;
        }
    }
}

/// The session's requests and their ends, in order.
#[cfg(feature = "crash-points")]
async fn requests(bench: &Bench) -> Vec<Value> {
    let journal = agent_runner::journal::Journal::open(&bench.path("state/journal.db")).unwrap();
    let mut tail = journal.tail(&"s1".parse().unwrap(), 0);
    let mut found = Vec::new();
    while let Some(batch) = tail.try_next().await.unwrap() {
        let lines = batch
            .lines()
            .map(|line| serde_json::from_slice(line).unwrap());
        found.extend(lines.filter(|event: &Value| !event["request_id"].is_null()));
    }
    drop(tail);
    journal.close().await;
    found
}

#[cfg(feature = "crash-points")]
fn assert_asked_and_taken_back_twice(told: &[Value]) {
    let words = |event: &Value| {
        let word = |key: &str| event[key].as_str().unwrap_or("").to_owned();
        [word("type"), word("decision"), word("by")].join(" ")
    };
    let in_order: Vec<_> = told.iter().map(words).collect();
    assert_eq!(
        in_order[..2],
        ["permission_request  ", "permission_response cancel runner"]
    );
    assert_eq!(in_order.len(), 4, "{told:#?}");
    assert_eq!(told[2]["request_id"], told[3]["request_id"], "{told:#?}");
}

#[cfg(feature = "crash-points")]
#[test]
fn people_who_need_not_answer_any_more_are_told_once_however_the_daemon_goes() {
    use std::os::unix::process::ExitStatusExt as _;

    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let model = bench.model(ASKS);
    run(async {
        let hub = Hub::start().await;
        let repo = format!("file://{}", bench.text("repo"));
        let words = ["daemon", "--output", "jsonl", "--session", "s1"];
        let start = async |crash: &str| {
            let mut command = bench.agent(&model, &words);
            command.args(["--repo", &repo, "--hub", &hub.url()]);
            command.env("AGENT_RUNNER_HUB_KEY", "agc_KEY");
            command.env("AGENT_RUNNER_CRASH", crash);
            let daemon = bench.start(&mut command);
            let mut peer = hub.accept().await;
            let tool = json!({"name": "memory_recall", "description": "Recalls.",
                "parameters": {"type": "object"}});
            let init = json!({"type": "init", "role": "lead", "sessionId": "s1", "tools": [tool]});
            peer.send(&init).await;
            (daemon, peer)
        };
        let prompt = |number: usize| {
            let id = format!("a-unique-prompt-{number}");
            let command = json!({"type": "prompt", "id": id, "message": "Recall the heron."});
            json!({"type": "rpc_command", "command": command})
        };
        // It dies: the next one tells it, while the turn goes on.
        let (first, mut peer) = start("hub_tools.asked:1").await;
        peer.send(&prompt(1)).await;
        plays(&hub, &mut peer, |_| false).await;
        assert_eq!(first.finish().status.signal(), Some(9));
        let (second, mut peer) = start("").await;
        let ended = |frame: &Value| frame["event"] == "agent_end";
        assert!(plays(&hub, &mut peer, ended).await);
        // It leaves in order: it tells so itself.
        peer.send(&prompt(2)).await;
        let asked = |frame: &Value| frame["method"] == "confirm";
        assert!(plays(&hub, &mut peer, asked).await);
        second.signal(nix::sys::signal::Signal::SIGTERM);
        plays(&hub, &mut peer, |_| false).await;
        assert_eq!(second.finish().code(), 143, "the turn is left open");
        let told = requests(&bench).await;
        assert_asked_and_taken_back_twice(&told);
        // And that is all that is ever told of them.
        let (third, mut peer) = start("").await;
        let at_work = |frame: &Value| frame["type"] == "tool" || ended(frame);
        assert!(plays(&hub, &mut peer, at_work).await);
        third.signal(nix::sys::signal::Signal::SIGTERM);
        plays(&hub, &mut peer, |_| false).await;
        third.finish();
        let later = requests(&bench).await;
        assert_eq!(later[..4], told);
        let asked_before = |event: &&Value| {
            told.iter()
                .any(|known| known["request_id"] == event["request_id"])
        };
        assert_eq!(later.iter().filter(asked_before).count(), 4, "{later:#?}");
    });
}
