//! Settings that change while a session runs, with the real CLIs: the process stays, and the model
//! server sees what the CLI has agreed to.

use std::fs;

use serde_json::Value;

use crate::agents::{Agent, CLAUDE, CODEX, GEMINI, OPENCODE};
use crate::bench::Bench;
use crate::live::{HELLO, WAIT, Watched, of};
use crate::running::{Finished, Running, eventually, made};

/// `agent-runner set` with these words.
pub(crate) fn set(bench: &Bench, watched: &Watched, words: &[&str]) -> Finished {
    let mut command = bench.command(&["set"]);
    command
        .args(words)
        .arg("--session")
        .arg(&watched.session.id);
    Running::start(&mut command).finish()
}

/// The same, which has to be done; from when on it counts.
pub(crate) fn done(bench: &Bench, watched: &Watched, words: &[&str]) -> String {
    let finished = set(bench, watched, words);
    assert_eq!(finished.code(), 0, "{words:?}: {finished:#?}");
    finished.out.last().unwrap().clone()
}

/// The model and the effort that the model server was asked for last.
pub(crate) fn asked_for(bench: &Bench) -> (String, String) {
    let requests = bench.requests();
    let last = requests.last().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    let effort = match bench.agent.name {
        "claude" => &last["output_config"]["effort"],
        "opencode" => &last["reasoning_effort"],
        _ => &last["reasoning"]["effort"],
    };
    let model = text(&last["model"]);
    match bench.agent.name {
        "opencode" => (format!("scripted/{model}"), text(effort)),
        _ => (model, text(effort)),
    }
}

pub(crate) fn other_model(agent: &Agent) -> &'static str {
    match agent.name {
        "claude" => "claude-sonnet-4-6",
        "opencode" => "scripted/other",
        "gemini" => "gemini-2.5-pro",
        _ => "gpt-5.4",
    }
}

async fn between_turns(agent: &'static Agent) {
    let Some(bench) = Bench::live(agent) else {
        return;
    };
    let other = other_model(agent);
    let mut watched = Watched::start(&bench, HELLO).await;
    watched.end(1);
    assert_eq!(asked_for(&bench).0, agent.model);
    let words = ["--model", other, "--effort", "low"];
    assert_eq!(done(&bench, &watched, &words), "from now on");
    watched.session.prompt(HELLO).await;
    watched.end(2);
    assert_eq!(asked_for(&bench), (other.to_owned(), "low".to_owned()));
    // The next daemon finds the process as it is wanted, and tells it more.
    watched.session.kill_daemon(&bench);
    eventually("the daemon is back", || {
        set(&bench, &watched, &["--effort", "high"]).code() == 0
    });
    watched.session.prompt(HELLO).await;
    watched.end(3);
    assert_eq!(asked_for(&bench), (other.to_owned(), "high".to_owned()));
    let refused = set(&bench, &watched, &["--effort", "huge"]);
    assert_ne!(refused.code(), 0);
    assert!(refused.err.contains("huge"), "{refused:#?}");
    let shown = set(&bench, &watched, &[]).out.join("\n");
    assert!(shown.contains("effort   high"), "{shown}");
    drop(watched.finish(&bench));
    assert_eq!(bench.clis().len(), 1, "one process");
}

/// In the middle of a turn: what the CLI takes at once and what it takes with its next turn.
async fn in_a_turn(agent: &'static Agent) {
    let Some(bench) = Bench::live(agent) else {
        return;
    };
    let mut watched = Watched::start(&bench, WAIT).await;
    made(&bench.path("here/begun"));
    // OpenCode's own is the lowest that the model has
    let other = if agent.name == "opencode" {
        "high"
    } else {
        "low"
    };
    let since = done(&bench, &watched, &["--effort", other]);
    fs::write(bench.path("here/go"), "").unwrap();
    watched.end(1);
    let (_, effort) = asked_for(&bench);
    let at_once = agent.name == "claude";
    let says = if at_once {
        "from now on"
    } else {
        "from the next turn on"
    };
    assert_eq!(since, says);
    assert_eq!(effort == other, at_once, "{effort}");
    watched.session.prompt(HELLO).await;
    watched.end(2);
    assert_eq!(asked_for(&bench).1, other);
    drop(watched.finish(&bench));
    assert_eq!(bench.clis().len(), 1, "one process");
}

/// Who consents changes: nobody, then a person, then nobody again while a request waits.
async fn consent(agent: &'static Agent) {
    let Some(bench) = Bench::live(agent) else {
        return;
    };
    let mut watched = Watched::start(&bench, HELLO).await;
    watched.end(1);
    assert_eq!(done(&bench, &watched, &["--approve", "ask"]), "from now on");
    fs::write(bench.path("here/go"), "").unwrap();
    watched.session.prompt(WAIT).await;
    let is_request = |event: &Value| event["type"] == "permission_request";
    let request = watched.events.event("request", is_request);
    assert_eq!(request["tool"], "shell");
    assert!(!bench.path("here/begun").exists(), "it waits");
    assert_eq!(
        done(&bench, &watched, &["--approve", "auto"]),
        "from now on"
    );
    assert_eq!(watched.end(2)["outcome"], "completed");
    assert!(bench.path("here/begun").exists(), "the call ran");
    watched.session.prompt(WAIT).await;
    watched.end(3);
    let events = watched.finish(&bench);
    let answers = of(&events, "permission_response");
    assert_eq!(answers.len(), 1, "nobody is asked any more: {answers:?}");
    assert_eq!(answers[0]["decision"], "allow");
    assert_eq!(answers[0]["by"], "policy");
    assert_eq!(bench.clis().len(), 1, "one process");
}

/// The model that was asked last, also where a request names it in its path.
pub(crate) fn model_asked(bench: &Bench) -> String {
    let requests = fs::read_to_string(bench.path("requests.jsonl")).unwrap();
    let last = requests.lines().last().unwrap();
    match last.split_once("/models/") {
        Some((_, rest)) => rest.split(':').next().unwrap().to_owned(),
        None => asked_for(bench).0,
    }
}

/// What the CLI does not take leaves all as it was, and says why.
#[tokio::test]
async fn claude_says_which_effort_its_model_does_not_take() {
    let Some(bench) = Bench::live(&CLAUDE) else {
        return;
    };
    let mut watched = Watched::start(&bench, HELLO).await;
    watched.end(1);
    done(&bench, &watched, &["--effort", "low"]);
    done(&bench, &watched, &["--model", "claude-haiku-4-5"]);
    let refused = set(&bench, &watched, &["--effort", "high"]);
    assert_ne!(refused.code(), 0);
    let told = &refused.err;
    assert!(told.contains("the model does not take it"), "{told}");
    done(&bench, &watched, &["--model", CLAUDE.model]);
    watched.session.prompt(HELLO).await;
    watched.end(2);
    assert_eq!(asked_for(&bench).1, "low", "as it was");
    drop(watched.finish(&bench));
    assert_eq!(bench.clis().len(), 1, "one process");
}

macro_rules! settings {
    ($($module:ident: $agent:ident),* $(,)?) => {$(
        mod $module {
            use super::*;

            #[tokio::test]
            async fn model_and_effort_change_between_turns_and_the_process_stays() {
                between_turns(&$agent).await;
            }

            #[tokio::test]
            async fn an_effort_changed_in_a_turn_counts_when_it_is_said_to() {
                in_a_turn(&$agent).await;
            }

            #[tokio::test]
            async fn who_consents_changes_while_the_process_stays() {
                consent(&$agent).await;
            }
        }
    )*};
}

settings! {
    claude: CLAUDE,
    codex: CODEX,
}

#[tokio::test]
async fn opencodes_model_and_effort_change_between_turns_and_the_process_stays() {
    between_turns(&OPENCODE).await;
}

#[tokio::test]
async fn opencodes_effort_changed_in_a_turn_counts_from_the_next_one_on() {
    in_a_turn(&OPENCODE).await;
}

/// Gemini's requests name the model in their path.
#[tokio::test]
async fn geminis_model_changes_between_turns_and_the_process_stays() {
    let Some(bench) = Bench::live(&GEMINI) else {
        return;
    };
    let asked_last = || {
        let requests = fs::read_to_string(bench.path("requests.jsonl")).unwrap();
        requests.lines().last().unwrap().to_owned()
    };
    let mut watched = Watched::start(&bench, HELLO).await;
    watched.end(1);
    assert!(asked_last().contains("/models/gemini-3.8-flash:"));
    let words = ["--model", "gemini-2.5-pro"];
    assert_eq!(done(&bench, &watched, &words), "from now on");
    watched.session.prompt(HELLO).await;
    assert_eq!(watched.end(2)["outcome"], "completed");
    assert!(asked_last().contains("/models/gemini-2.5-pro:"));
    drop(watched.finish(&bench));
    assert_eq!(bench.clis().len(), 1, "one process");
}
