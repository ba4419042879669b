//! What becomes of the Hub's answers where they come too late to hold anything, and where the daemon
//! dies before they are carried out.

#[cfg(feature = "crash-points")]
use std::os::unix::process::ExitStatusExt as _;

use serde_json::{Value, json};

#[cfg(feature = "crash-points")]
use crate::bench::{Bench, Model};
use crate::gate::{Led, has, nobody, on, run};
#[cfg(feature = "crash-points")]
use crate::hand_hub::{Hub, Said};
#[cfg(feature = "crash-points")]
use crate::running::Running;
use crate::running::eventually;

fn told(heard: &[Value], code: &str, part: &str) -> bool {
    has(heard, |frame| {
        let text = frame["data"]["message"].as_str().unwrap_or_default();
        frame["data"]["code"] == code && text.contains(part)
    })
}

#[test]
fn people_are_asked_about_a_call_that_cannot_be_held_and_their_refusal_ends_its_turn() {
    run(async {
        let Some(mut led) = Led::start_in("exec", "").await else {
            return;
        };
        let confirm = json!([{"action": "CONFIRM", "title": "Sure?", "message": "m",
            "deny_reason": "they would rather not"}]);
        for (name, answer, outcome) in [("one", true, "completed"), ("long", false, "cancelled")] {
            led.prompt(&format!("Touch {name}")).await;
            let heard = led
                .play(
                    |event| on(event, "tool_call", confirm.clone()),
                    |frame| (frame["method"] == "confirm").then(|| json!(answer)),
                )
                .await;
            assert!(told(&heard, "hub_unheld", "cannot hold"), "{heard:?}");
            let refused = told(&heard, "hub_blocked", "they would rather not");
            assert_eq!(refused, !answer, "{heard:?}");
            eventually("the turn has ended so", || {
                led.outcomes().last().is_some_and(|last| last == outcome)
            });
        }
    });
}

#[test]
fn a_returned_value_refuses_a_call_and_replaces_no_result() {
    run(async {
        let Some(mut led) = Led::start("hub_gate = \"ask\"\n").await else {
            return;
        };
        led.prompt("Touch one").await;
        let refuse = json!([{"action": "RETURN", "result": {"block": true, "reason": "not so"}}]);
        led.play(|event| on(event, "tool_call", refuse.clone()), nobody)
            .await;
        assert!(!led.made("one").exists());
        assert!(led.told().contains("not so"));
        led.prompt("Touch two").await;
        let other = json!([{"action": "RETURN", "result": {"content": [], "isError": true}}]);
        let heard = led
            .play(|event| on(event, "tool_result", other.clone()), nobody)
            .await;
        assert!(led.made("two").exists());
        assert!(
            told(&heard, "hub_return_unused", "nothing was replaced"),
            "{heard:?}"
        );
    });
}

/// What a Hub says, always the same, to the first event of a name.
#[cfg(feature = "crash-points")]
struct Word {
    event: &'static str,
    actions: Value,
    /// How many runs the second daemon ends.
    runs: usize,
}

/// A session in which the Hub has a word: the daemon dies at `point`, and the next goes on. The
/// session's place, its model, and that next one.
#[cfg(feature = "crash-points")]
fn across_a_death(point: &str, script: &str, word: &Word) -> Option<(Bench, Model, Running)> {
    let bench = Bench::with_claude()?;
    let model = bench.model(script);
    let repo = format!("file://{}", bench.text("repo"));
    let mut second = None;
    run(async {
        let hub = Hub::start().await;
        let words = ["daemon", "--output", "jsonl", "--session", "s1"];
        let start = |crash: Option<&str>| {
            let mut command = bench.agent(&model, &words);
            command.args(["--repo", &repo, "--hub", &hub.url()]);
            command.env("AGENT_RUNNER_HUB_KEY", "agc_KEY");
            if let Some(crash) = crash {
                command.env("AGENT_RUNNER_CRASH", crash);
            }
            bench.start(&mut command)
        };
        let mut first = Some(start(Some(point)));
        let mut answered = None;
        let mut runs = 0;
        while runs < word.runs {
            let mut peer = hub.accept().await;
            let config = json!({"type": "init", "role": "lead", "sessionId": "s1"});
            peer.send(&config).await;
            let prompt = json!({"type": "prompt", "id": "the-only-prompt-1", "message": "Begin"});
            peer.send(&json!({"type": "rpc_command", "command": prompt}))
                .await;
            loop {
                // Questions by REST are answered by nobody.
                let said_of_lead = tokio::select! {
                    said = peer.said() => said,
                    () = hub.hang_up() => return,
                };
                match said_of_lead {
                    Said::Event(event) => {
                        // The same answer to the same event, however often it comes.
                        let id = event.id.clone();
                        let is_it = event.name == word.event
                            && *answered.get_or_insert_with(|| id.clone()) == id;
                        let ack = json!([{"action": "ACK"}]);
                        let actions = if is_it { word.actions.clone() } else { ack };
                        peer.send(&json!({"id": id, "actions": actions})).await;
                        runs += usize::from(event.name == "agent_end" && second.is_some());
                    }
                    Said::Other(_) => {}
                    Said::Close(_) | Said::Gone => break,
                }
                if runs == word.runs {
                    break;
                }
            }
            if let Some(daemon) = first.take() {
                assert_eq!(
                    daemon.finish().status.signal(),
                    Some(9),
                    "{point} was reached"
                );
                second = Some(start(None));
            }
        }
    });
    Some((bench, model, second?))
}

/// How many of the session's events have this text.
#[cfg(feature = "crash-points")]
fn events_with(bench: &Bench, text: &str) -> usize {
    let events = bench
        .command(&["events", "--session", "s1", "--output", "jsonl"])
        .output()
        .unwrap();
    let events = String::from_utf8(events.stdout).unwrap();
    events.lines().filter(|line| line.contains(text)).count()
}

/// The daemon dies where the Hub's words were heard, done or reported: they are done once.
#[cfg(feature = "crash-points")]
#[test]
fn what_the_hub_said_is_done_once_wherever_the_daemon_dies() {
    const SCRIPT: &str = "[[scenario]]\nmatch = \"From the Hub\"\n\
        [[scenario.reply]]\nsteps = [{ say = \"The Hub asks, I answer.\" }]\n\
        [[scenario]]\nmatch = \"Begin\"\n[[scenario.reply]]\nsteps = [{ say = \"Begun.\" }]\n";
    let word = Word {
        event: "agent_start",
        actions: json!([
            {"action": "NOTIFY", "message": "mind the gap", "level": "warning"},
            {"action": "INJECT_MESSAGE", "message": {"role": "user", "content": "From the Hub"}},
        ]),
        runs: 2,
    };
    for point in [
        "hub.words_carried_out:2",
        "hub.before_carried_out:2",
        "hub.ack_received:5",
    ] {
        let Some((bench, model, _daemon)) = across_a_death(point, SCRIPT, &word) else {
            return;
        };
        let asked = model.requests();
        let injected = asked
            .iter()
            .filter(|body| {
                let last = body["messages"].as_array().and_then(|all| all.last());
                last.is_some_and(|last| last.to_string().contains("From the Hub"))
            })
            .count();
        assert_eq!(injected, 1, "{point}: {asked:?}");
        assert_eq!(events_with(&bench, "mind the gap"), 1, "{point}");
    }
}

/// The daemon dies when it has told that a word of the Hub came too late: it is told once.
#[cfg(feature = "crash-points")]
#[test]
fn that_the_hub_was_too_late_is_told_once_wherever_the_daemon_dies() {
    const SCRIPT: &str = "[[scenario]]\nmatch = \"Begin\"\n\
        [[scenario.reply]]\nsteps = [{ shell = \"touch made\" }]\n\
        [[scenario.reply]]\nsteps = [{ say = \"Begun.\" }]\n";
    let word = Word {
        event: "tool_result",
        actions: json!([{"action": "RETURN", "result": {"content": []}}]),
        runs: 1,
    };
    let point = "hub.before_carried_out:3";
    let Some((bench, _model, _daemon)) = across_a_death(point, SCRIPT, &word) else {
        return;
    };
    assert_eq!(events_with(&bench, "hub_return_unused"), 1);
}
