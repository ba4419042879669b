//! Every frame that a lead can send passes the official schemas.
//!
//! The kinds of frames and the events are those that stand in the source text: a new one that no
//! test here sends fails it.

use std::collections::HashSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use agent_runner::hub::Credentials;
use agent_runner::hub::link::{SessionFiles, ToolCall, UiRequest};
use agent_runner::hub::rest::RestClient;
use serde_json::{Value, json};

use crate::hub::{Hub, Peer, Said};
use crate::project;
use crate::source::{Source, turn};
use crate::{run, start};

/// What the data of events and the lines of files say of themselves, which is no frame's kind.
const INNER: [&str; 4] = ["response", "session_shutdown", "session_start", "rpc_ready"];

/// Each event that there is, in turns that end in each way.
#[expect(clippy::too_many_lines, reason = "a line for each event")]
fn everything() -> Vec<Vec<Value>> {
    let call = |id: &str, name: &str, parent: Option<&str>| {
        let mut event = json!({"type": "tool_start", "call_id": id, "name": name,
            "native_name": name, "input": {"command": "ls", "description": "d", "prompt": "p",
            "subagent_type": "scout"}});
        if let Some(parent) = parent {
            event["parent_call_id"] = json!(parent);
        }
        event
    };
    let over = |id: &str, name: &str, is_error: bool| {
        json!({"type": "tool_end", "call_id": id, "name": name, "output": "o",
            "is_error": is_error, "exit_code": 0, "duration_ms": 5})
    };
    let work = vec![
        json!({"type": "setup", "step": "clone", "stream": "stdout", "text": "cloned"}),
        json!({"type": "prompt", "text": "go"}),
        json!({"type": "session", "id": "c1", "model": "m", "cwd": "/w", "tools": ["Bash"]}),
        json!({"type": "thinking", "text": "hm", "message_id": "m1"}),
        json!({"type": "token", "text": "draft", "message_id": "m1"}),
        json!({"type": "text_retracted", "message_id": "m1"}),
        json!({"type": "token", "text": "I look.", "message_id": "m1"}),
        call("t1", "shell", None),
        json!({"type": "permission_request", "request_id": "r", "call_id": "t1", "tool": "shell",
            "input": {}, "options": ["allow", "deny"]}),
        json!({"type": "permission_response", "request_id": "r", "decision": "allow", "by": "hub"}),
        json!({"type": "tool_delta", "call_id": "t1", "stream": "input", "text": "l"}),
        json!({"type": "tool_delta", "call_id": "t1", "stream": "output", "text": "o"}),
        over("t1", "shell", false),
        json!({"type": "file_change", "path": "a", "kind": "create"}),
        json!({"type": "plan", "items": []}),
        call("k1", "task", None),
        json!({"type": "token", "text": "below", "message_id": "s1", "parent_call_id": "k1"}),
        call("t2", "read", Some("k1")),
        over("t2", "read", true),
        over("k1", "task", false),
        call("k2", "task", None),
        over("k2", "task", true),
        json!({"type": "usage", "input_tokens": 7, "output_tokens": 3, "cache_read_tokens": 1,
            "cache_write_tokens": 1, "cost_usd": 0.1}),
        json!({"type": "rate_limit", "status": "allowed"}),
        json!({"type": "context", "used_tokens": 5, "max_tokens": 9}),
        json!({"type": "compaction", "trigger": "auto", "before_tokens": 9, "after_tokens": 2}),
        json!({"type": "raw", "stream": "stdout", "text": "noise"}),
        json!({"type": "notice", "level": "info", "code": "x", "text": "t"}),
        json!({"type": "notice", "level": "error", "code": "x", "text": "t"}),
        json!({"type": "gap", "from_seq": 1, "to_seq": 2, "why": "lost"}),
        json!({"type": "checkpoint", "ref": "r", "files": 1, "insertions": 1, "deletions": 0}),
        json!({"type": "report", "path": "r.md", "ok": true, "content": "c"}),
        json!({"type": "token", "text": "Done.", "message_id": "m2"}),
        json!({"type": "end", "outcome": "completed", "duration_ms": 9}),
    ];
    let crash = vec![
        json!({"type": "prompt", "text": "again"}),
        json!({"type": "token", "text": "I", "message_id": "m3"}),
        call("t3", "shell", None),
        json!({"type": "agent_crashed", "message": "killed", "cause": "signal", "signal": 9,
            "output": "", "will_resume": false}),
        json!({"type": "end", "outcome": "crashed"}),
    ];
    let failed = vec![
        json!({"type": "prompt", "text": "and again"}),
        json!({"type": "end", "outcome": "failed",
            "error": {"class": "auth", "message": "no key"}}),
    ];
    vec![work, crash, failed, turn("steered"), turn("last")]
}

/// Names in the source: of kinds of frames, and of the events that the official list has.
fn in_source(names: &[String]) -> (HashSet<String>, HashSet<String>) {
    let (mut kinds, mut events) = (HashSet::new(), HashSet::new());
    for file in project::rust_files("src/hub") {
        let name = file.name();
        let sends = ["src/hub/link/", "src/hub/outbox.rs", "src/hub/pi/"];
        if file.is_test() || !sends.iter().any(|part| name.starts_with(part)) {
            continue;
        }
        let code = file.code();
        if !name.starts_with("src/hub/pi/") {
            for mark in [r#""type": ""#, r#""type":""#, "r#type = \""] {
                for (at, _) in code.match_indices(mark) {
                    let rest = &code[at + mark.len()..];
                    kinds.insert(rest[..rest.find('"').unwrap()].to_owned());
                }
            }
        }
        let quoted = |name: &&String| code.contains(&format!("\"{name}\""));
        events.extend(names.iter().filter(quoted).cloned());
    }
    for inner in INNER {
        kinds.remove(inner);
    }
    (kinds, events)
}

/// All frames of a lead that does everything that it can.
async fn frames() -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let (hub, source) = (Hub::start().await, Source::new());
    let mut config = hub.config();
    let credentials = Credentials::new(None, None).unwrap();
    config.files = Some(SessionFiles {
        folder: dir.path().to_owned(),
        rest: RestClient::new(config.address.clone(), &credentials).unwrap(),
    });
    config.timing.flush = Duration::from_millis(200);
    let mut last = None;
    for (number, events) in (1..).zip(&everything()) {
        last = Some(source.add(number, events));
    }
    let (handle, mut inbound) = start(config, &source);
    let mut peer = hub.accept().await;
    let mut all = vec![peer.auth.to_string()];
    peer.frames = Some(Vec::new());
    peer.init().await;
    handle.ready().await.unwrap();
    let command = json!({"type": "get_state", "id": "q1"});
    peer.send(&json!({"type": "rpc_command", "command": command}))
        .await;
    handle.ask(UiRequest {
        id: "u1".to_owned(),
        method: "confirm",
        params: json!({"title": "T", "message": "M"}),
    });
    let answer = async {
        let got = inbound.recv().await.unwrap();
        handle.respond(got.reply, Ok(Some(json!({"isStreaming": false}))));
        let call = ToolCall {
            id: "tool-1".to_owned(),
            name: "memory_recall".to_owned(),
            told_as: Some("c".to_owned()),
            params: json!({}),
        };
        handle
            .call_tool(call, Duration::from_secs(5))
            .await
            .unwrap();
        source.stored(last.unwrap()).await;
        handle.close(last).await;
    };
    tokio::join!(answer, serve(&mut peer));
    all.extend(peer.frames.take().unwrap());
    all
}

/// Acknowledges and returns what it is asked for, until the lead has left.
async fn serve(peer: &mut Peer) {
    loop {
        match peer.said().await {
            Said::Event(event) => peer.ack(&event.id).await,
            Said::Other(frame) if frame["type"] == "tool" => {
                let actions = json!([{"action": "RETURN", "result": "r"}]);
                peer.send(&json!({"id": frame["id"], "actions": actions}))
                    .await;
            }
            Said::Other(_) => {}
            Said::Close(_) | Said::Gone => return,
        }
    }
}

#[test]
fn every_frame_of_a_lead_passes_the_official_schemas() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/official");
    if !scripts.join("node_modules/@agentuity/core").is_dir() {
        let needs = "needs the official client, get it with scripts/install-test-tools";
        assert!(std::env::var_os("CI").is_none(), "{needs}");
        println!("skipped: {needs}");
        return;
    }
    run(async {
        let text = frames().await.join("\n");
        let mut node = Command::new("node")
            .arg(scripts.join("frames.mjs"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("node runs");
        let mut stdin = node.stdin.take().unwrap();
        // Where it has failed already, its words say more than a broken pipe.
        drop(stdin.write_all(text.as_bytes()));
        drop(stdin);
        let output = node.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
        let list = |name: &str| -> Vec<String> {
            let list = seen[name].as_array().unwrap().iter();
            list.map(|name| name.as_str().unwrap().to_owned()).collect()
        };
        let (kinds, events) = in_source(&list("names"));
        let seen_kinds: HashSet<String> = list("kinds").into_iter().collect();
        assert_eq!(
            seen_kinds, kinds,
            "kinds of frames: sent here, and in the source"
        );
        let seen_events: HashSet<String> = list("events").into_iter().collect();
        assert_eq!(seen_events, events, "events: sent here, and in the source");
    });
}
