//! Somebody dies in the middle of a live turn, with the real CLIs: the CLI, or the daemon, by SIGKILL
//! or for an upgrade. Whatever the turn was about, nothing is asked, answered or said twice, and no
//! process is left.

use std::fs;

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::agents::{Agent, CLAUDE_LIVE, CODEX_LIVE, GEMINI_LIVE, OPENCODE_LIVE};
use crate::bench::Bench;
use crate::gaps;
use crate::live::{
    HELLO, STEER, TALK, WAIT, WORK, Watched, asked, in_the_middle, of, stored, texts,
};
use crate::running::{Running, eventually, made};
use crate::session::Session;

/// The CLI is killed: the turn goes on in another process, in the CLI's own conversation.
async fn cli_killed(agent: &'static Agent, prompt: &str) {
    let Some(bench) = Bench::live(agent) else {
        return;
    };
    let watched = Watched::start(&bench, prompt).await;
    in_the_middle(&bench, &watched, prompt);
    stored(&bench, prompt);
    kill(bench.cli(), Signal::SIGKILL).unwrap();
    assert_eq!(watched.end(1)["outcome"], "completed");
    let events = watched.finish(&bench);
    let crashes = of(&events, "agent_crashed");
    assert_eq!(crashes.len(), 1, "{events:#?}");
    assert_eq!(crashes[0]["signal"], 9);
    assert!(texts(&events)[0].ends_with("Gone on with."), "{events:#?}");
    assert_eq!(asked(&bench, prompt), 1, "asked once");
    assert_eq!(bench.clis().len(), 2);
    eventually("no stray process", || bench.strays().is_empty());
}

/// How the daemon goes.
#[derive(Clone, Copy, PartialEq)]
enum Goes {
    Killed,
    /// It makes way for another one (SIGUSR2).
    Upgraded,
}

impl Goes {
    fn make(self, session: &mut Session, bench: &Bench) {
        match self {
            Self::Killed => session.kill_daemon(bench),
            Self::Upgraded => session.upgrade_daemon(bench),
        }
    }
}

/// The daemon goes: the next one goes on with the process, and nothing is said twice.
async fn daemon_gone(agent: &'static Agent, prompt: &str, how: Goes) {
    let Some(bench) = Bench::live(agent) else {
        return;
    };
    let mut watched = Watched::start(&bench, prompt).await;
    if prompt == WAIT {
        made(&bench.path("here/begun"));
    } else {
        in_the_middle(&bench, &watched, prompt);
    }
    how.make(&mut watched.session, &bench);
    fs::write(bench.path("here/go"), "").unwrap();
    assert_eq!(watched.end(1)["outcome"], "completed");
    // Between two turns as well.
    how.make(&mut watched.session, &bench);
    eventually("the daemon takes prompts", || {
        let mut command = bench.command(&["prompt", HELLO, "--session"]);
        let output = command.arg(&watched.session.id).output().unwrap();
        output.status.success()
    });
    assert_eq!(watched.end(2)["outcome"], "completed");
    let events = watched.finish(&bench);
    assert!(of(&events, "agent_crashed").is_empty(), "{events:#?}");
    assert_eq!(texts(&events)[1], "Hello to you.");
    assert_eq!(asked(&bench, prompt), 1, "asked once");
    assert_eq!(bench.clis().len(), 1, "one process");
    eventually("no stray process", || bench.strays().is_empty());
}

/// The daemon goes while a call waits for consent: it waits on, and the first answer counts.
/// Without an answer its time goes on.
async fn daemon_gone_while_asked(agent: &'static Agent, how: Goes, answer: Option<&str>) {
    let Some(mut bench) = Bench::live(agent) else {
        return;
    };
    bench.approve = "ask";
    if answer.is_none() {
        bench.approval_timeout = Some("3s");
    }
    let mut watched = Watched::start(&bench, WAIT).await;
    fs::write(bench.path("here/go"), "").unwrap();
    let is_request = |event: &Value| event["type"] == "permission_request";
    let request = watched.events.event("request", is_request);
    how.make(&mut watched.session, &bench);
    let id = request["request_id"].as_str().unwrap();
    if let Some(answer) = answer {
        eventually("the answer is taken", || {
            let mut command = bench.command(&["approve", id]);
            command.args(Some(answer).filter(|answer| *answer != ALLOW));
            command.arg("--session");
            let output = command.arg(&watched.session.id).output().unwrap();
            output.status.success()
        });
    }
    assert_eq!(watched.end(1)["outcome"], "completed");
    let events = watched.finish(&bench);
    let answers = of(&events, "permission_response");
    assert_eq!(answers.len(), 1, "{answers:?}");
    let (decision, by) = match answer {
        Some(ALLOW) => ("allow", "local"),
        Some(_) => ("deny", "local"),
        None => ("deny", "timeout"),
    };
    assert_eq!(answers[0]["decision"], decision);
    assert_eq!(answers[0]["by"], by);
    assert_eq!(of(&events, "permission_request").len(), 1, "{events:#?}");
    let ran = bench.path("here/begun").exists();
    assert_eq!(ran, decision == "allow", "{events:#?}");
    assert_eq!(asked(&bench, WAIT), 1, "asked once");
    assert_eq!(bench.clis().len(), 1, "one process");
    eventually("no stray process", || bench.strays().is_empty());
}

const ALLOW: &str = "allow";

/// The CLI is killed while a call of it waits for consent: the request goes with it, and the turn
/// goes on.
async fn cli_killed_while_asked(agent: &'static Agent) {
    let Some(mut bench) = Bench::live(agent) else {
        return;
    };
    bench.approve = "ask";
    let watched = Watched::start(&bench, WAIT).await;
    let is_request = |event: &Value| event["type"] == "permission_request";
    let request = watched.events.event("request", is_request);
    stored(&bench, WAIT);
    kill(bench.cli(), Signal::SIGKILL).unwrap();
    assert_eq!(watched.end(1)["outcome"], "completed");
    let id = request["request_id"].as_str().unwrap();
    let mut late = bench.command(&["approve", id, "--session"]);
    late.arg(&watched.session.id);
    assert_eq!(Running::start(&mut late).finish().code(), 75);
    let events = watched.finish(&bench);
    let answers = of(&events, "permission_response");
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0]["decision"], "cancel");
    assert_eq!(of(&events, "agent_crashed").len(), 1, "{events:#?}");
    assert!(!bench.path("here/begun").exists(), "nobody consented");
    assert_eq!(asked(&bench, WAIT), 1, "asked once");
    eventually("no stray process", || bench.strays().is_empty());
}

/// Somebody dies in the middle of an answer to a request: it is given once. `at` is where the daemon
/// dies; the CLI, where that is nowhere, dies when it has begun what it was allowed.
async fn killed_when_answered(agent: &'static Agent, at: Option<&'static str>) {
    let Some(mut bench) = Bench::live(agent) else {
        return;
    };
    (bench.approve, bench.crash) = ("ask", at);
    let mut watched = Watched::start(&bench, WAIT).await;
    let is_request = |event: &Value| event["type"] == "permission_request";
    let request = watched.events.event("request", is_request);
    let approve = |bench: &Bench, watched: &Watched| {
        let mut command = bench.command(&["approve", request["request_id"].as_str().unwrap()]);
        command.arg("--session").arg(&watched.session.id);
        Running::start(&mut command).finish().code()
    };
    let answered = approve(&bench, &watched);
    if at.is_some() {
        assert_ne!(answered, 0, "nobody was told");
        made(&bench.path("crash.crashed"));
        watched.session.start_daemon(&bench);
        // What was stored counts, and another one comes too late; what was not waits on.
        let is_stored = at == Some("live.answer_stored:1");
        eventually("the answer is there", || {
            approve(&bench, &watched) == if is_stored { 75 } else { 0 }
        });
    } else {
        assert_eq!(answered, 0);
        made(&bench.path("here/begun"));
        stored(&bench, WAIT);
        bench.signal(Signal::SIGKILL);
    }
    fs::write(bench.path("here/go"), "").unwrap();
    assert_eq!(watched.end(1)["outcome"], "completed");
    let events = watched.finish(&bench);
    let answers = of(&events, "permission_response");
    assert_eq!(answers.len(), 1, "{events:#?}");
    assert_eq!(answers[0]["decision"], "allow");
    assert_eq!(of(&events, "permission_request").len(), 1, "{events:#?}");
    assert!(bench.path("here/begun").exists());
    assert_eq!(asked(&bench, WAIT), 1, "asked once");
    assert_eq!(bench.clis().len(), if at.is_some() { 1 } else { 2 });
    eventually("no stray process", || bench.strays().is_empty());
}

/// Somebody dies when a message was said into the turn: it is not lost, and not said twice.
async fn killed_when_steered(agent: &'static Agent, cli: bool) {
    let Some(bench) = Bench::live(agent) else {
        return;
    };
    let mut watched = Watched::start(&bench, WAIT).await;
    made(&bench.path("here/begun"));
    watched.session.steer(STEER).await;
    watched
        .events
        .event("message", |event| event["text"] == STEER);
    if cli {
        stored(&bench, WAIT);
        kill(bench.cli(), Signal::SIGKILL).unwrap();
        // Codex is a program below a launcher: what outlives that for a moment could still finish.
        watched
            .events
            .event("crash", |event| event["type"] == "agent_crashed");
    } else {
        watched.session.kill_daemon(&bench);
    }
    // Gemini CLI that is interrupted between a call and the model's answer to it forgets its turn.
    if !gaps::has(agent.key, "steer") {
        fs::write(bench.path("here/go"), "").unwrap();
    }
    assert_eq!(watched.end(1)["outcome"], "completed");
    let events = watched.finish(&bench);
    assert_eq!(of(&events, "end").len(), 1, "one turn: {events:#?}");
    assert_eq!(asked(&bench, STEER), 1, "said once");
    assert_eq!(asked(&bench, WAIT), 1, "asked once");
    assert_eq!(bench.clis().len(), if cli { 2 } else { 1 });
    eventually("no stray process", || bench.strays().is_empty());
}

/// The daemon dies at that place of an interrupt: the next one brings it to its end.
async fn daemon_killed_when_interrupted(agent: &'static Agent, prompt: &str, at: &'static str) {
    let Some(mut bench) = Bench::live(agent) else {
        return;
    };
    bench.crash = Some(at);
    let mut watched = Watched::start(&bench, prompt).await;
    in_the_middle(&bench, &watched, prompt);
    watched.session.abort().await;
    made(&bench.path("crash.crashed"));
    watched.session.start_daemon(&bench);
    assert_eq!(watched.end(1)["outcome"], "cancelled");
    let sleeps = |bench: &Bench| bench.strays().contains(&"sleep".to_owned());
    assert!(!sleeps(&bench), "{:?}", bench.strays());
    let events = watched.finish(&bench);
    assert_eq!(of(&events, "end").len(), 1, "{events:#?}");
    assert_eq!(asked(&bench, prompt), 1, "asked once");
    assert_eq!(bench.clis().len(), 1, "one process");
    eventually("no stray process", || bench.strays().is_empty());
}

/// The CLI dies when it is to end its turn: the turn is cancelled, and does not begin anew.
async fn cli_killed_when_interrupted(agent: &'static Agent, prompt: &str) {
    let Some(bench) = Bench::live(agent) else {
        return;
    };
    let mut watched = Watched::start(&bench, prompt).await;
    in_the_middle(&bench, &watched, prompt);
    watched.session.abort().await;
    kill(bench.cli(), Signal::SIGKILL).ok();
    let outcome = watched.end(1)["outcome"].clone();
    let events = watched.finish(&bench);
    // The kill may have been the quicker one.
    let resumed = !of(&events, "agent_crashed").is_empty();
    assert!(outcome == "cancelled", "{outcome} {resumed}: {events:#?}");
    assert_eq!(of(&events, "end").len(), 1, "{events:#?}");
    assert_eq!(asked(&bench, prompt), 1, "asked once");
    eventually("no stray process", || bench.strays().is_empty());
}

macro_rules! deaths {
    ($($module:ident: $agent:ident),* $(,)?) => {$(
        mod $module {
            use super::*;

            #[tokio::test]
            async fn a_cli_that_is_killed_in_a_text_is_resumed() {
                cli_killed(&$agent, TALK).await;
            }

            #[tokio::test]
            async fn a_cli_that_is_killed_in_a_command_is_resumed() {
                cli_killed(&$agent, WORK).await;
            }

            #[tokio::test]
            async fn a_request_survives_the_daemon_and_is_answered_once() {
                daemon_gone_while_asked(&$agent, Goes::Killed, Some(ALLOW)).await;
            }

            #[tokio::test]
            async fn a_request_survives_the_daemon_and_is_denied_once() {
                daemon_gone_while_asked(&$agent, Goes::Killed, Some("--deny")).await;
            }

            #[tokio::test]
            async fn a_request_that_survives_the_daemon_is_denied_when_its_time_is_up() {
                daemon_gone_while_asked(&$agent, Goes::Killed, None).await;
            }

            #[tokio::test]
            async fn a_request_survives_an_upgrade() {
                daemon_gone_while_asked(&$agent, Goes::Upgraded, Some(ALLOW)).await;
            }

            #[tokio::test]
            async fn a_request_goes_with_a_cli_that_is_killed() {
                cli_killed_while_asked(&$agent).await;
            }

            #[tokio::test]
            async fn an_answer_that_the_daemon_has_not_stored_is_waited_for_on() {
                killed_when_answered(&$agent, Some("live.before_answer:1")).await;
            }

            #[tokio::test]
            async fn an_answer_that_is_stored_survives_the_daemon() {
                killed_when_answered(&$agent, Some("live.answer_stored:1")).await;
            }

            #[tokio::test]
            async fn a_call_that_was_allowed_is_not_asked_for_again_when_the_cli_dies_in_it() {
                killed_when_answered(&$agent, None).await;
            }

            #[tokio::test]
            async fn a_message_survives_the_daemon() {
                killed_when_steered(&$agent, false).await;
            }

            #[tokio::test]
            async fn a_message_survives_the_cli() {
                killed_when_steered(&$agent, true).await;
            }

            #[tokio::test]
            async fn an_interrupt_of_a_text_survives_the_daemon() {
                daemon_killed_when_interrupted(&$agent, TALK, "live.before_stop:1").await;
            }

            #[tokio::test]
            async fn an_interrupt_of_a_command_survives_the_daemon() {
                daemon_killed_when_interrupted(&$agent, WORK, "live.before_stop:1").await;
            }

            #[tokio::test]
            async fn an_interrupt_that_the_cli_has_obeyed_survives_the_daemon() {
                daemon_killed_when_interrupted(&$agent, WORK, "live.turn_over:1").await;
            }

            #[tokio::test]
            async fn a_cli_that_is_killed_when_it_is_interrupted_in_a_text_begins_no_turn() {
                cli_killed_when_interrupted(&$agent, TALK).await;
            }

            #[tokio::test]
            async fn a_cli_that_is_killed_when_it_is_interrupted_in_a_command_begins_no_turn() {
                cli_killed_when_interrupted(&$agent, WORK).await;
            }

            #[tokio::test]
            async fn a_turn_survives_its_daemon_in_a_text() {
                daemon_gone(&$agent, TALK, Goes::Killed).await;
            }

            #[tokio::test]
            async fn a_turn_survives_its_daemon_in_a_command() {
                daemon_gone(&$agent, WAIT, Goes::Killed).await;
            }

            #[tokio::test]
            async fn a_turn_survives_an_upgrade_in_a_text() {
                daemon_gone(&$agent, TALK, Goes::Upgraded).await;
            }

            #[tokio::test]
            async fn a_turn_survives_an_upgrade_in_a_command() {
                daemon_gone(&$agent, WAIT, Goes::Upgraded).await;
            }
        }
    )*};
}

deaths! {
    claude: CLAUDE_LIVE,
    codex: CODEX_LIVE,
    opencode: OPENCODE_LIVE,
    gemini: GEMINI_LIVE,
}
