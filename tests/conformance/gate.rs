//! A Hub that has a say over the calls of the real CLIs: what it denies does not run and the agent
//! goes on, what it permits runs, and what it says nothing about is denied in time.

use serde_json::{Value, json};

use crate::agents::Agent;
use crate::led::Led;
use crate::running::eventually;

const SCRIPT: &str = r#"
[[scenario]]
match = "Touch twice"
[[scenario.reply]]
steps = [{ shell = "touch denied" }]
[[scenario.reply]]
steps = [{ shell = "touch allowed" }]
[[scenario.reply]]
steps = [{ say = "One of two." }]
[[scenario]]
match = "Touch late"
[[scenario.reply]]
steps = [{ shell = "touch late" }]
[[scenario.reply]]
steps = [{ say = "It was not to be." }]
"#;

/// Each call waits for the Hub, with a time limit that the last step shows.
const GATE: &[(&str, &str)] = &[
    ("AGENT_RUNNER_HUB_GATE", "ask"),
    ("AGENT_RUNNER_HUB_GATE_TIMEOUT", "3s"),
];

fn init() -> Value {
    json!({"type": "init", "role": "lead", "sessionId": "s1"})
}

/// The command of the call that the Hub is asked about.
fn command(frame: &Value) -> Option<&str> {
    let call = Some(frame).filter(|frame| frame["event"] == "tool_call")?;
    call["data"]["input"]["command"].as_str()
}

/// The Hub denies a call and permits the next of the same turn; of a third it says nothing.
pub(crate) async fn waits(agent: &'static Agent) {
    let Some(mut led) = Led::start(agent, "auto", SCRIPT, init(), GATE).await else {
        return;
    };
    let block = json!([{"action": "BLOCK", "reason": "not on my watch"}]);
    led.prompt("Touch twice.").await;
    let heard = led
        .play(|frame| (command(frame)? == "touch denied").then(|| block.clone()))
        .await;
    assert!(!led.made("denied") && led.made("allowed"), "{heard:#?}");
    let commands: Vec<_> = heard.iter().filter_map(command).collect();
    assert_eq!(commands, ["touch denied", "touch allowed"], "once each");
    let failed =
        |frame: &&Value| frame["event"] == "tool_result" && frame["data"]["isError"] == true;
    assert_eq!(heard.iter().filter(failed).count(), 1, "{heard:#?}");
    // The others' protocols have no place for the reason.
    let why = match agent.name {
        "claude" => "not on my watch",
        "codex" => "rejected by user",
        "opencode" => "The user rejected permission to use this specific tool call.",
        _ => "was canceled by the user.",
    };
    assert!(led.told().contains(why), "{}", led.told());
    led.prompt("Touch late.").await;
    led.play(|frame| command(frame).map(|_| Value::Null)).await;
    assert!(!led.made("late"));
    let expected = ["deny hub", "allow hub", "deny timeout"];
    eventually("each was answered so", || led.answers() == expected);
    eventually("both turns have completed", || {
        let ends = led.events("end");
        ends.len() == 2 && ends.iter().all(|end| end["outcome"] == "completed")
    });
}

/// Each call waits for the Hub, longer than any daemon is away here.
const PATIENT: &[(&str, &str)] = &[
    ("AGENT_RUNNER_HUB_GATE", "ask"),
    ("AGENT_RUNNER_HUB_GATE_TIMEOUT", "10s"),
];

/// While a call waits for the Hub the daemon is killed: the next one asks again, and the call runs
/// once. Then the Hub leaves: the call is denied when the time is up, and the turn goes on without it.
pub(crate) async fn outlives(agent: &'static Agent) {
    let Some(mut led) = Led::start(agent, "auto", SCRIPT, init(), PATIENT).await else {
        return;
    };
    led.prompt("Touch twice.").await;
    while command(&led.hears().await).is_none() {}
    led.replace().await;
    let heard = led.play(|_| None).await;
    assert!(led.made("denied") && led.made("allowed"), "{heard:#?}");
    let results = heard.iter().filter(|frame| frame["event"] == "tool_result");
    let results: Vec<_> = results.collect();
    assert!(
        results
            .iter()
            .all(|frame| frame["data"]["isError"] == false),
        "{results:#?}"
    );
    eventually("each was answered once", || {
        led.answers() == ["allow hub", "allow hub"]
    });
    led.prompt("Touch late.").await;
    while command(&led.hears().await).is_none() {}
    led.leave().await;
    eventually("the call was denied", || {
        led.answers()
            .last()
            .is_some_and(|last| last == "deny timeout")
    });
    led.rejoin().await;
    led.play(|_| None).await;
    assert!(!led.made("late"));
    eventually("the turn has completed", || {
        let ends = led.events("end");
        ends.last().is_some_and(|end| end["outcome"] == "completed")
    });
}

/// Two people answer at once, and again when all is over: the first answer counts, and no other.
pub(crate) async fn first_counts(agent: &'static Agent) {
    let Some(mut led) = Led::start(agent, "auto", SCRIPT, init(), GATE).await else {
        return;
    };
    let confirm = json!([{"action": "CONFIRM", "title": "Sure?", "message": "m"}]);
    led.prompt("Touch twice.").await;
    let mut asked = Vec::new();
    let mut called = Vec::new();
    loop {
        let frame = led.hears().await;
        if command(&frame).is_some() {
            called.push(frame.clone());
            led.answer(&frame, confirm.clone()).await;
        } else if frame["method"] == "confirm" {
            // The first call is refused and the second is permitted, each by whoever is quicker.
            let consents = !asked.is_empty();
            asked.push(frame["id"].clone());
            for result in [consents, !consents] {
                let answer =
                    json!({"type": "rpc_ui_response", "id": frame["id"], "result": result});
                led.peer.send(&answer).await;
            }
        } else if frame["event"] == "agent_end" {
            led.answer(&frame, json!([{"action": "ACK"}])).await;
            break;
        } else if frame.get("event").is_some() {
            led.answer(&frame, json!([{"action": "ACK"}])).await;
        }
    }
    assert!(!led.made("denied") && led.made("allowed"));
    // It is over: neither people nor the Hub say anything to it any more.
    let block = json!([{"action": "BLOCK", "reason": "not on my watch"}]);
    for id in &asked {
        let answer = json!({"type": "rpc_ui_response", "id": id, "result": false});
        led.peer.send(&answer).await;
    }
    for frame in &called {
        led.answer(frame, block.clone()).await;
    }
    led.prompt("Touch late.").await;
    led.play(|_| None).await;
    assert!(led.made("late"));
    eventually("each was answered once", || {
        led.answers() == ["deny controller", "allow controller", "allow hub"]
    });
    let ends = || led.events("end");
    eventually("both turns have completed", || ends().len() == 2);
    assert!(ends().iter().all(|end| end["outcome"] == "completed"));
}
