//! What a Hub offers the agent of a session: its own tools, run by it, and agents to delegate to.

use serde_json::{Value, json};

use crate::agents::Agent;
use crate::led::Led;

const SCRIPT: &str = r#"
[[scenario]]
match = "Recall the heron"
[[scenario.reply]]
steps = [{ mcp = "coder_hub/memory_recall", input = { query = "heron" } }]
[[scenario.reply]]
steps = [{ say = "So it was." }]
"#;

fn init() -> Value {
    json!({
        "type": "init", "role": "lead", "sessionId": "s1", "thinkingLevel": "high",
        "tools": [{
            "name": "memory_recall", "label": "Recall", "description": "Recalls what was learnt.",
            "parameters": {"type": "object", "properties": {"query": {"type": "string"}},
                "required": ["query"]},
            "promptSnippet": "Ask it before you guess.",
        }],
        "agents": [{
            "name": "scout", "description": "Finds out how things are.",
            "systemPrompt": "You are a scout. Look, and change nothing.", "readOnly": true,
        }],
    })
}

/// The Hub's tool gives this result.
fn returning(result: Value) -> impl FnMut(&Value) -> Option<Value> {
    move |frame| {
        let returned = json!([{"action": "RETURN", "result": result}]);
        (frame["type"] == "tool").then_some(returned)
    }
}

fn tools_of(heard: &[Value]) -> Vec<&Value> {
    heard
        .iter()
        .filter(|frame| frame["type"] == "tool")
        .collect()
}

/// The tool is called by the CLI and run by the Hub; the agents are known to the model.
pub(crate) async fn offered(agent: &'static Agent, mode: &'static str) {
    let Some(mut led) = Led::start(agent, mode, SCRIPT, init(), &[]).await else {
        return;
    };
    led.prompt("Recall the heron.").await;
    let heard = led.play(returning(json!({"herons": "grey"}))).await;
    let tools = tools_of(&heard);
    assert_eq!(tools.len(), 1, "{heard:#?}");
    assert_eq!(
        (&tools[0]["name"], &tools[0]["params"]),
        (&json!("memory_recall"), &json!({"query": "heron"}))
    );
    let told = led.told();
    for part in ["herons", "grey", "scout", "Finds out how things are."] {
        assert!(told.contains(part), "{part:?} in {told}");
    }
    // Codex tells its model what a tool is for when the model looks for tools.
    let hint = told.contains("Ask it before you guess.");
    assert!(hint || agent.name == "codex", "{told}");
    // Viewers know it by the name that the Hub gave.
    let of = |name: &str| -> Vec<&Value> {
        let of_name = heard.iter().filter(|frame| frame["event"] == name);
        of_name.map(|frame| &frame["data"]).collect()
    };
    let calls = of("tool_call");
    assert!(
        calls.iter().any(|call| call["toolName"] == "memory_recall"),
        "{calls:?}"
    );
    let results = of("tool_result");
    let is_it = |result: &&&Value| result["toolName"] == "memory_recall";
    let result = results.iter().find(is_it).expect("a result");
    assert!(
        result.to_string().contains("grey") && result["isError"] == false,
        "{result}"
    );
    let notice = |frame: &Value| frame["data"]["code"] == "hub_offer";
    assert!(heard.iter().any(notice), "{heard:#?}");
}

/// The daemon is killed and started again: the CLI's own server of tools goes on with the next one.
pub(crate) async fn kept(agent: &'static Agent) {
    let Some(mut led) = Led::start(agent, "live", SCRIPT, init(), &[]).await else {
        return;
    };
    let state = json!({"type": "rpc_command", "command": {"type": "get_state", "id": "q"}});
    led.peer.send(&state).await;
    led.prompt("Recall the heron.").await;
    let heard = led.play(returning(json!("first"))).await;
    let level = |frame: &Value| frame["response"]["data"]["thinkingLevel"] == "high";
    assert!(heard.iter().any(level), "as `init` says: {heard:#?}");
    led.replace().await;
    led.prompt("Recall the heron.").await;
    // The end of the first run may come again before.
    let mut calls = 0;
    while calls == 0 {
        calls = tools_of(&led.play(returning(json!("second"))).await).len();
    }
    assert!(calls == 1 && led.told().contains("second"));
}
