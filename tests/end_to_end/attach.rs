//! `agent-runner attach` over a real terminal, and without one.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::agents::{self, Agent};
use crate::bench::{Bench, Hub, Model};
use crate::conversation::{Led, SCRIPT, TASK, idle};
use crate::participants::Participants;
use crate::running::{eventually, made};
use crate::terminal::Terminal;
use crate::viewer;

fn attach(bench: &Bench, hub: &Hub, words: &[&str]) -> Terminal {
    let mut command = bench.command(&["attach", "--hub", &hub.url]);
    let terminal = Terminal::start(command.args(words));
    bench.adopt(terminal.pid());
    terminal
}

#[test]
fn a_terminal_watches_prompts_steers_aborts_and_leaves() {
    watches_and_controls(&agents::CLAUDE);
}

#[test]
fn a_terminal_controls_codex_in_exec_form() {
    watches_and_controls(&agents::CODEX);
}

#[test]
fn a_terminal_controls_opencode_in_exec_form() {
    watches_and_controls(&agents::OPENCODE);
}

#[test]
fn a_terminal_controls_gemini_cli_in_exec_form() {
    watches_and_controls(&agents::GEMINI);
}

#[test]
fn a_terminal_controls_claude_code_in_live_form() {
    watches_and_controls(&agents::CLAUDE_LIVE);
}

#[test]
fn a_terminal_controls_codex_in_live_form() {
    watches_and_controls(&agents::CODEX_LIVE);
}

#[test]
fn a_terminal_controls_opencode_in_live_form() {
    watches_and_controls(&agents::OPENCODE_LIVE);
}

#[test]
fn a_terminal_controls_gemini_cli_in_live_form() {
    watches_and_controls(&agents::GEMINI_LIVE);
}

fn watches_and_controls(agent: &Agent) {
    let bench = Bench::new();
    let hub = bench.hub(None);
    let model = bench.model(SCRIPT);
    let Some(mut all) = Participants::start(&bench, &hub, None) else {
        return;
    };
    let Some(led) = Led::by(agent, &bench, &hub, &model, &mut all) else {
        return;
    };

    // It is the only session that runs.
    let mut person = attach(&bench, &hub, &[]);
    person.shows("> Write the greeting.");
    person.shows("I write it.");
    person.shows("● shell  echo hello > greeting.txt");
    person.shows("The greeting is written.");

    let mark = person.mark();
    person.press("What did I ax\x7fsk?\r");
    person.shows_since(mark, "> What did I ask?");
    person.shows_since(mark, "You asked for a greeting.");
    person.shows_since(mark, "completed");

    // Somebody else's prompt has their name.
    let mark = person.mark();
    let author = json!({"displayName": "Ada L.", "email": "ada@example.com"});
    let prompt = json!({"type": "prompt", "message": "What did I ask?", "author": author});
    all.command(&prompt);
    person.shows_since(mark, "Ada L.> What did I ask?");
    person.shows_since(mark, "completed");

    names_its_vendor(&mut all);
    shortens_its_context(agent, &mut all);

    // OpenCode's exec form says nothing of a call before that is over.
    let tells_calls = agent.name != "opencode" || agent.mode() == "live";
    let mark = person.mark();
    person.press("Wait for me.\r");
    made(&led.workspace.join("waiting"));
    if tells_calls {
        // Whoever is cut off before is asked the same again.
        person.shows_since(mark, "touch waiting");
    }
    person.shows_since(mark, "working> ");
    person.press("/steer Stop waiting.\r");
    if agent.mode() == "live" {
        // Nothing is interrupted: it is heard when the command is over.
        let heard = |event: &Value| event["type"] == "prompt" && event["text"] == "Stop waiting.";
        led.daemon.event("message into the turn", heard);
        fs::write(led.workspace.join("go"), "").unwrap();
    }
    person.shows_since(mark, "I wait no longer.");
    person.shows_since(mark, "completed");

    person.press("Sleep on.\r");
    made(&led.workspace.join("sleeping"));
    if tells_calls {
        person.shows("touch sleeping");
    }
    let mark = person.mark();
    person.press("\x03");
    person.shows_since(mark, "cancelled");
    idle(&mut all);

    let mark = person.mark();
    person.press("/nonsense\r");
    person.shows_since(mark, "there is no /nonsense");
    person.press("\x04");
    assert_eq!(person.finish(), 0);
    all.command(&json!({"type": "get_state"}));
    // All that the agent did, as any viewer of it had it.
    viewer::faithful(&all.told_by_lead());
    led.finish(&bench);
}

/// Each message of the turn in which the agent says its model says whose that is.
fn names_its_vendor(all: &mut Participants) {
    let messages = all.command(&json!({"type": "get_messages"}))["messages"].clone();
    let is_prompt = |message: &&Value| message["role"] == "user";
    let first = messages.as_array().unwrap().iter().skip(1);
    for message in first.take_while(|message| !is_prompt(message)) {
        if message["role"] == "assistant" {
            assert!(message["provider"].is_string(), "{message}");
            assert_ne!(message["provider"], "unknown", "{message}");
        }
    }
}

/// It does when it is told to, or says why it cannot.
fn shortens_its_context(agent: &Agent, all: &mut Participants) {
    let answer = all.response(&json!({"type": "compact"}));
    let why = match (agent.name, agent.mode()) {
        ("claude", _) | ("codex" | "opencode", "live") => {
            assert_eq!(answer["success"], true, "{answer}");
            all.broadcast("session_compact", 1);
            return idle(all);
        }
        ("gemini", _) => "/compress",
        _ => "--mode live",
    };
    let error = answer["error"].as_str().unwrap();
    assert!(error.contains(why), "{answer}");
}

/// The daemon's own Hub has its key in memory only: what a command gets of it, it gets by the API.
fn key_of_the_daemons_hub(bench: &Bench) -> String {
    let mut socket = UnixStream::connect(bench.path("state/api.sock")).unwrap();
    let head = "GET /v1/hub HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    socket.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let told: Value = serde_json::from_str(body).unwrap();
    told["key"].as_str().unwrap().to_owned()
}

fn assert_nowhere(bench: &Bench, key: &str) {
    let has = |bytes: &[u8]| memchr::memmem::find(bytes, key.as_bytes()).is_some();
    for file in ["state", "home", "here"]
        .iter()
        .flat_map(|dir| bench.files(dir))
    {
        let content = fs::read(&file).unwrap_or_default();
        assert!(!has(&content), "the key is in {}", file.display());
    }
    for process in bench.processes() {
        let told = process.arguments.contains(key) || has(&process.environment);
        assert!(!told, "{} was told the key", process.arguments);
    }
}

fn start(bench: &Bench, model: &Model, words: &[&str]) -> i32 {
    let mut command = bench.agent(model, &["start"]);
    command.args(words).env("AGENT_RUNNER_MODE", "auto");
    let started = bench.start(&mut command).finish();
    assert_eq!(started.code(), 0, "{started:#?}");
    let answer: Value = serde_json::from_str(&started.out[0]).unwrap();
    i32::try_from(answer["pid"].as_i64().unwrap()).unwrap()
}

#[test]
fn a_session_in_the_background_is_joined_without_naming_a_hub() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let model = bench.model(SCRIPT);
    let daemon = start(&bench, &model, &["--approve", "ask", TASK]);
    let here = |words: &[&str]| {
        let mut command = bench.command(&["attach"]);
        let terminal = Terminal::start(command.args(words));
        bench.adopt(terminal.pid());
        terminal
    };
    let mut person = here(&[]);
    person.shows("> Write the greeting.");
    person.shows("asked> ");
    assert_nowhere(&bench, &key_of_the_daemons_hub(&bench));
    person.press("/approve\r");
    person.shows("The greeting is written.");
    person.shows("completed");

    // A daemon that comes back has another address and another key.
    let mark = person.mark();
    kill(Pid::from_raw(daemon), Signal::SIGTERM).unwrap();
    person.shows_since(mark, "trying again");
    eventually("the daemon is gone", || {
        !bench
            .processes()
            .iter()
            .any(|process| process.pid == daemon)
    });
    let daemon = start(&bench, &model, &[]);
    person.press("What did I ask?\r");
    person.shows_since(mark, "You asked for a greeting.");
    person.shows_since(mark, "completed");
    let shown = person.text();
    assert_eq!(
        shown.matches("\n> Write the greeting.").count(),
        1,
        "{shown}"
    );
    assert!(!shown.contains("cannot be reached"), "{shown}");
    person.press("/quit\r");
    assert_eq!(person.finish(), 0);

    // Of two sessions of other folders, a person says which.
    let elsewhere = bench.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let mut second = bench.agent(&model, &["start", "What did I ask?"]);
    let second = bench.start(second.current_dir(&elsewhere)).finish();
    assert_eq!(second.code(), 0, "{second:#?}");
    let mut command = bench.command(&["attach"]);
    let mut person = Terminal::start(command.current_dir(bench.path("home")));
    bench.adopt(person.pid());
    person.shows("which session? ");
    person.press("1\r");
    person.shows("You asked for a greeting.");
    person.press("/quit\r");
    assert_eq!(person.finish(), 0);

    kill(Pid::from_raw(daemon), Signal::SIGTERM).unwrap();
    bench.assert_no_process_left();
    let absent = here(&[]);
    absent.shows("or name a Hub by --hub URL");
    assert_eq!(absent.finish(), 69);
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
    let session = all.create(&json!({"task": TASK}));
    let words = ["daemon", "--output", "jsonl", "--session", &session];
    let mut daemon = bench.agent(&model, &words);
    daemon.env("AGENT_RUNNER_HUB_KEY", "agc_secret");
    let daemon = bench.start(daemon.args(["--hub", &hub.url]));
    all.broadcast("agent_end", 1);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.finish().code(), 0);

    let url = hub.url.clone();
    let words = ["attach", session.as_str(), "--hub", &url];
    let mut command = bench.command(&words);
    command.env("AGENT_RUNNER_HUB_KEY", "agc_secret");
    let mut person = bench.start(&mut command);
    // The Hub cannot wake it now: the prompt waits, and is said once the Hub that comes back can.
    let (state, away) = (bench.path("state"), bench.path("away"));
    fs::rename(&state, &away).unwrap();
    person.write("What did I ask?\n");
    let waits = |line: &str| line.contains("your prompts wait").then_some(());
    assert!(person.out.first(0, waits).is_some(), "it is told");
    fs::rename(&away, &state).unwrap();
    let listen = hub.kill();
    let mut command = bench.agent(&model, &["hub", "--listen", &listen]);
    command.env("AGENT_RUNNER_STATE_DIR", bench.path("hub"));
    command.env("AGENT_RUNNER_API_KEY", "agc_secret");
    let _hub = bench.hub_of(&mut command);
    let led = |line: &str| line.contains("the session is led").then_some(());
    assert!(person.out.first(0, led).is_some(), "it is led again");
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
