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
