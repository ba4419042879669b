//! The official remote TUI, unmodified, in a terminal, attached to a session that our daemon leads.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::agents::{self, Agent};
use crate::bench::{Bench, Hub, skip};
use crate::conversation::{Led, SCRIPT, TASK, idle};
use crate::participants::Participants;
use crate::running::made;
use crate::terminal::Terminal;

/// The TUI's folder of settings and its session files must not be the user's.
fn tui(bench: &Bench, hub: &Hub, session: &str) -> Option<Terminal> {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/official");
    if !scripts.join("node_modules/@agentuity/coder-tui").is_dir() {
        skip("needs the official TUI, get it with scripts/install-test-tools");
        return None;
    }
    std::fs::create_dir_all(bench.path("tui-home")).unwrap();
    let mut command = Command::new("node");
    command
        .arg(scripts.join("remote-tui.mjs"))
        .args([&hub.url, session])
        .current_dir(bench.path("here"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", bench.path("tui-home"))
        .env("PI_OFFLINE", "1");
    Some(Terminal::start(&command))
}

/// Attached to a session that `agent` leads, it shows what is there and what comes, and its prompt,
/// its message into the turn and its abort reach the agent.
fn shows_and_controls(agent: &Agent) {
    let bench = Bench::new();
    let hub = bench.hub(None);
    let model = bench.model(SCRIPT);
    let Some(mut all) = Participants::start(&bench, &hub, None) else {
        return;
    };
    let Some(led) = Led::by(agent, &bench, &hub, &model, &mut all) else {
        return;
    };

    // What was there before it came.
    let Some(mut tui) = tui(&bench, &hub, &led.session) else {
        return;
    };
    bench.adopt(tui.pid());
    tui.shows(TASK);
    tui.shows("The greeting is written.");

    let mark = tui.mark();
    tui.press("What did I ask?\r");
    tui.shows_since(mark, "You asked for a greeting.");
    all.broadcast("agent_end", 2);

    // What is typed while the agent works is heard in the middle of it.
    let mark = tui.mark();
    tui.press("Wait for me.\r");
    made(&led.workspace.join("waiting"));
    tui.shows_since(mark, "touch waiting");
    tui.press("Stop waiting.\r");
    if agent.mode() == "live" {
        // Nothing is interrupted: it is heard when the command is over.
        let heard = |event: &Value| event["type"] == "prompt" && event["text"] == "Stop waiting.";
        led.daemon.event("message into the turn", heard);
        std::fs::write(led.workspace.join("go"), "").unwrap();
    }
    tui.shows_since(mark, "I wait no longer.");
    all.broadcast("agent_end", 3);
    let asked = model.requests().pop().unwrap().to_string();
    assert!(asked.contains("Stop waiting."), "{asked}");
    // OpenCode cannot be steered: its call is interrupted, and shown so.
    if agent.mode() == "live" && agent.name != "opencode" {
        assert!(!tui.text().contains("interrupted"), "{}", tui.text());
    }

    tui.press("Sleep on.\r");
    made(&led.workspace.join("sleeping"));
    tui.press("\x1b");
    let cancelled = |event: &Value| event["type"] == "end" && event["outcome"] == "cancelled";
    led.daemon.event("cancelled turn", cancelled);
    idle(&mut all);

    // Leaving it leaves the session as it is.
    tui.press("\x04");
    assert_eq!(tui.finish(), 0);
    all.command(&json!({"type": "get_state"}));
    led.finish(&bench);
}

#[test]
fn the_official_tui_shows_the_turn_and_prompts_steers_and_aborts() {
    shows_and_controls(&agents::CLAUDE);
}

#[test]
fn the_official_tui_controls_claude_code_in_live_form() {
    shows_and_controls(&agents::CLAUDE_LIVE);
}

#[test]
fn the_official_tui_controls_codex_in_live_form() {
    shows_and_controls(&agents::CODEX_LIVE);
}

#[test]
fn the_official_tui_controls_opencode_in_live_form() {
    shows_and_controls(&agents::OPENCODE_LIVE);
}

#[test]
fn the_official_tui_controls_gemini_cli_in_live_form() {
    shows_and_controls(&agents::GEMINI_LIVE);
}
