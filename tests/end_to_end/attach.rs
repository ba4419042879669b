//! `agent-runner attach` over a real terminal, and without one.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::bench::{Bench, Hub, Model};
use crate::participants::Participants;
use crate::running::{Running, eventually, made};
use crate::terminal::Terminal;

const SCRIPT: &str = r#"
[[scenario]]
match = "Write the greeting"
[[scenario.reply]]
steps = [{ say = "I write it." }, { shell = "echo hello" }]
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

[[scenario]]
match = "Sleep more"
reply = [{ steps = [{ shell = "touch more; exec sleep 3003" }] }]
"#;

/// A session with one turn behind it, and its daemon.
fn led(bench: &Bench, hub: &Hub, model: &Model, all: &mut Participants) -> (String, Running) {
    let session = all.create(&json!({"task": "Write the greeting."}));
    let words = ["daemon", "--output", "jsonl", "--session", &session];
    let mut daemon = bench.agent(model, &words);
    let daemon = bench.start(daemon.args(["--hub", &hub.url]));
    all.broadcast("agent_end", 1);
    (session, daemon)
}

fn attach(bench: &Bench, hub: &Hub, words: &[&str]) -> Terminal {
    let mut command = bench.command(&["attach", "--hub", &hub.url]);
    let terminal = Terminal::start(command.args(words));
    bench.adopt(terminal.pid());
    terminal
}

#[test]
fn a_terminal_watches_prompts_steers_aborts_and_leaves() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let hub = bench.hub(None);
    let model = bench.model(SCRIPT);
    let Some(mut all) = Participants::start(&bench, &hub, None) else {
        return;
    };
    let (session, daemon) = led(&bench, &hub, &model, &mut all);
    let workspace = bench.path("state/workspaces").join(&session);

    // It is the only session that runs.
    let mut person = attach(&bench, &hub, &[]);
    for part in [
        "> Write the greeting.",
        "I write it.",
        "● shell  echo hello",
        "The greeting is written.",
    ] {
        person.shows(part);
    }

    let mark = person.mark();
    person.press("What did I ax\x7fsk?\r");
    person.shows_since(mark, "> What did I ask?");
    person.shows_since(mark, "You asked for a greeting.");
    person.shows_since(mark, "completed");

    let mark = person.mark();
    person.press("Wait for me.\r");
    made(&workspace.join("waiting"));
    person.shows_since(mark, "working> ");
    person.press("/steer Stop waiting.\r");
    person.shows_since(mark, "I wait no longer.");
    person.shows_since(mark, "completed");

    person.press("Sleep on.\r");
    made(&workspace.join("sleeping"));
    all.broadcast("tool_call", 3);
    let mark = person.mark();
    person.press("\x03");
    person.shows_since(mark, "cancelled");
    eventually("the lead is idle", || {
        all.command(&json!({"type": "get_state"}))["isStreaming"] == false
    });

    let mark = person.mark();
    person.press("/nonsense\r");
    person.shows_since(mark, "there is no /nonsense");
    person.press("\x04");
    assert_eq!(person.finish(), 0);
    all.command(&json!({"type": "get_state"}));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.finish().code(), 0);
    bench.assert_no_process_left();
}

#[test]
fn lines_of_a_pipe_are_prompts_and_a_paused_session_is_woken_for_them() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let model = bench.model(SCRIPT);
    let mut command = bench.agent(&model, &["hub", "--listen", "127.0.0.1:0"]);
    command.env("AGENT_RUNNER_STATE_DIR", bench.path("hub"));
    command.env("AGENT_RUNNER_API_KEY", "agc_secret");
    let hub = bench.hub_of(&mut command);
    let Some(mut all) = Participants::start(&bench, &hub, Some("agc_secret")) else {
        return;
    };
    let session = all.create(&json!({"task": "Write the greeting."}));
    let words = ["daemon", "--output", "jsonl", "--session", &session];
    let mut daemon = bench.agent(&model, &words);
    daemon.env("AGENT_RUNNER_HUB_KEY", "agc_secret");
    let daemon = bench.start(daemon.args(["--hub", &hub.url]));
    all.broadcast("agent_end", 1);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.finish().code(), 0);

    let words = ["attach", session.as_str(), "--hub", &hub.url];
    let mut command = bench.command(&words);
    command.env("AGENT_RUNNER_HUB_KEY", "agc_secret");
    let mut person = bench.start(&mut command);
    person.write("What did I ask?\n");
    let finished = person.finish();
    assert_eq!(finished.code(), 0, "{finished:#?}");
    let shown = finished.out.join("\n");
    for part in ["> Write the greeting.", "You asked for a greeting."] {
        assert!(shown.contains(part), "no {part:?} in {finished:#?}");
    }
    assert!(!format!("{finished:?}").contains("agc_secret"));

    let mut wrong = bench.command(&words);
    wrong.env("AGENT_RUNNER_HUB_KEY", "agc_wrong");
    let refused = bench.start(&mut wrong).finish();
    assert_ne!(refused.code(), 0, "{refused:#?}");
    assert!(refused.err.contains("refuse"), "{refused:#?}");
    for process in bench.descendants() {
        if process.arguments.contains(" background ") {
            kill(Pid::from_raw(process.pid), Signal::SIGTERM).unwrap();
        }
    }
    bench.assert_no_process_left();
}
