//! The official lead, unmodified: Pi with the Coder extension, in a terminal, on the embedded Hub.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::bench::{Bench, Hub, Model, skip};
use crate::conversation::{SCRIPT, TASK};
use crate::participants::Participants;
use crate::running::{eventually, made};
use crate::terminal::Terminal;

/// Pi with the Coder extension; its settings lie in a folder of the test's own, and its model is
/// the scripted one.
fn pi(bench: &Bench, hub: &Hub, model: &Model) -> Option<Terminal> {
    let official = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/official");
    let extension = official.join("node_modules/@agentuity/coder-tui/dist/index.js");
    if !extension.is_file() {
        skip("needs the official lead, get it with scripts/install-test-tools");
        return None;
    }
    let provider = json!({"providers": {"scripted": {
        "baseUrl": format!("{}/v1", model.url),
        "api": "openai-completions",
        "apiKey": "any",
        "models": [{"id": "scripted-1"}],
    }}});
    fs::create_dir_all(bench.path("pi-home/.pi/agent")).unwrap();
    bench.file("pi-home/.pi/agent/models.json", &provider.to_string());
    let mut command = Command::new(official.join("node_modules/.bin/pi"));
    command
        .args(["--provider", "scripted", "--model", "scripted-1", "-e"])
        .arg(extension)
        .current_dir(bench.path("here"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", bench.path("pi-home"))
        .env("PI_OFFLINE", "1")
        .env(
            "NODE_OPTIONS",
            format!("--import {}", official.join("loopback.mjs").display()),
        )
        .env(
            "AGENTUITY_CODER_HUB_URL",
            format!("{}/api/ws", hub.url.replacen("http", "ws", 1)),
        );
    Some(Terminal::start(&command))
}

/// The one session that the Hub has, once its lead is there.
fn led_session(all: &mut Participants) -> String {
    let mut found = Value::Null;
    eventually("the lead has made its session", || {
        let list = all.ask(json!({"do": "list"}));
        found = list["sessions"][0].clone();
        found["bucket"] == "running"
    });
    found["sessionId"].as_str().unwrap().to_owned()
}

#[test]
fn the_official_lead_makes_a_session_works_in_it_and_takes_commands() {
    let bench = Bench::new();
    let hub = bench.hub(None);
    let model = bench.model(SCRIPT);
    let Some(mut lead) = pi(&bench, &hub, &model) else {
        return;
    };
    bench.adopt(lead.pid());
    let Some(mut all) = Participants::start(&bench, &hub, None) else {
        return;
    };
    let session = led_session(&mut all);
    let other = json!({"task": "Wait.", "label": "Another session"});
    all.ask(json!({"do": "create", "body": other}));
    all.join(&session);

    // A controller's commands. This lead answers none of them; it does them.
    all.tell(&json!({"type": "prompt", "message": TASK}));
    all.broadcast("agent_end", 1);
    lead.shows("The greeting is written.");
    let written = fs::read_to_string(bench.path("here/greeting.txt")).unwrap();
    assert_eq!(written, "hello\n");
    let replay = all.ask(json!({"do": "replay"})).to_string();
    for part in [TASK, "I write it.", "The greeting is written."] {
        assert!(replay.contains(part), "no {part:?} in {replay}");
    }

    // A prompt that is typed into the lead itself, which does not take any before its first turn.
    lead.press("What did I ask?\r");
    all.broadcast("agent_end", 2);
    lead.shows("You asked for a greeting.");
    all.tell(&json!({"type": "prompt", "message": "Sleep on."}));
    made(&bench.path("here/sleeping"));
    all.tell(&json!({"type": "abort"}));
    all.broadcast("agent_end", 3);

    // Its overlay shows the Hub's sessions, and one of them from near by.
    lead.insist("/hub\r", "\r", "Another session");
    lead.insist("\r", "\r", "Root Task");
    // Back to the list, and out of it.
    for shown in ["Another session", "You asked for a greeting."] {
        lead.insist("\x1b", "\x1b", shown);
    }

    // It leaves in order, and the session is paused.
    lead.press("/quit\r");
    all.broadcast("session_shutdown", 1);
    assert_eq!(lead.finish(), 0);
    eventually("the session is paused", || {
        all.ask(json!({"do": "get"}))["status"] == "paused"
    });
    all.assert_same_order();
}
