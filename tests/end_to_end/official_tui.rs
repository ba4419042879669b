//! The official remote TUI, unmodified, in a terminal, attached to a session that our daemon leads.

use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::{Bench, Hub, skip};
use crate::participants::Participants;
use crate::running::{eventually, made};
use crate::terminal::Terminal;

const SCRIPT: &str = r#"
[[scenario]]
match = "Write the greeting"
[[scenario.reply]]
steps = [{ say = "I write it." }, { shell = "echo hello-from-tool > greeting.txt; cat greeting.txt" }]
[[scenario.reply]]
steps = [{ say = "The greeting is written." }]

[[scenario]]
match = "What did I ask"
reply = [{ steps = [{ say = "You asked for a greeting." }] }]

[[scenario]]
match = "Wait for me"
reply = [{ steps = [{ shell = "touch waiting; exec sleep 3001" }] }]

[[scenario]]
match = "Stop waiting"
reply = [{ steps = [{ say = "I wait no longer." }] }]

[[scenario]]
match = "Sleep on"
reply = [{ steps = [{ shell = "touch sleeping; exec sleep 3002" }] }]
"#;

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

#[test]
fn the_official_tui_shows_the_turn_and_prompts_steers_and_aborts() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let hub = bench.hub(None);
    let model = bench.model(SCRIPT);
    let Some(mut all) = Participants::start(&bench, &hub, None) else {
        return;
    };
    let session = all.create(&json!({"task": "Write the greeting."}));
    let workspace = bench.path("state/workspaces").join(&session);
    let words = ["daemon", "--output", "jsonl", "--session", &session];
    let mut daemon = bench.agent(&model, &words);
    let daemon = bench.start(daemon.args(["--hub", &hub.url]));
    all.broadcast("agent_end", 1);

    // What was there before it came.
    let Some(mut tui) = tui(&bench, &hub, &session) else {
        return;
    };
    bench.adopt(tui.pid());
    tui.shows("Write the greeting.");
    tui.shows("The greeting is written.");

    let mark = tui.mark();
    tui.press("What did I ask?\r");
    tui.shows_since(mark, "You asked for a greeting.");
    all.broadcast("agent_end", 2);

    // What is typed while the agent works is heard in the middle of it.
    let mark = tui.mark();
    tui.press("Wait for me.\r");
    made(&workspace.join("waiting"));
    tui.shows_since(mark, "touch waiting");
    tui.press("Stop waiting.\r");
    tui.shows_since(mark, "I wait no longer.");
    all.broadcast("agent_end", 3);

    tui.press("Sleep on.\r");
    made(&workspace.join("sleeping"));
    tui.press("\x1b");
    let end = daemon.event("cancelled turn", |event| event["outcome"] == "cancelled");
    assert_eq!(end["type"], "end", "{end}");
    eventually("the lead is idle", || {
        all.command(&json!({"type": "get_state"}))["isStreaming"] == false
    });

    // Leaving it leaves the session as it is.
    tui.press("\x04");
    assert_eq!(tui.finish(), 0);
    all.command(&json!({"type": "get_state"}));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.finish().code(), 0);
    bench.assert_no_process_left();
}
