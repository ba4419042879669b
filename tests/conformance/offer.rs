//! What a Hub offers the agent of a session: its own tools, run by it, and agents to delegate to.

use serde_json::{Value, json};

use crate::agents::Agent;
use crate::led::Led;
use crate::running::eventually;

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
    let notice = |code: &str| heard.iter().any(|frame| frame["data"]["code"] == code);
    assert!(notice("hub_offer"), "{heard:#?}");
    // In a role nothing keeps the agent from anything.
    let is_role = !matches!(agent.name, "claude" | "opencode");
    assert_eq!(notice("hub_agents_unbound"), is_role, "{heard:#?}");
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

/// The Hub gives what it has found where people confirm; else it says so in these words.
fn if_people_confirm(found: &str, words: Option<&str>) -> Value {
    let mut confirm =
        json!({"action": "CONFIRM", "title": "Tell it?", "message": "It is private."});
    if let Some(words) = words {
        confirm["deny_reason"] = words.into();
    }
    json!([confirm, {"action": "RETURN", "result": found}])
}

/// What the Hub's tool gives reaches the model when people have consented: over the Hub, or at this
/// machine. The official lead's model is told `Denied by user` where they refuse.
pub(crate) async fn confirmed(agent: &'static Agent) {
    let Some(mut led) = Led::start(agent, "live", SCRIPT, init(), &[]).await else {
        return;
    };
    // Controllers refuse, with the Hub's words and without, and consent.
    let own = Some("it stays here");
    for (found, words, consents, told) in [
        ("a goose", None, false, "Denied by user"),
        ("a swan", own, false, "it stays here"),
        ("a heron", own, true, "a heron"),
    ] {
        led.prompt("Recall the heron.").await;
        let actions = if_people_confirm(found, words);
        let heard = led
            .play(|frame| {
                if frame["type"] == "tool" {
                    return Some(actions.clone());
                }
                let is_asked =
                    frame["method"] == "confirm" && frame["params"]["title"] == "Tell it?";
                is_asked.then(
                    || json!({"type": "rpc_ui_response", "id": frame["id"], "result": consents}),
                )
            })
            .await;
        assert!(led.told().contains(told), "{heard:#?}");
        assert_eq!(led.told().contains(found), consents);
    }
    // Somebody at this machine, while it waits.
    led.prompt("Recall the heron.").await;
    let actions = if_people_confirm("a stork", own);
    let mut approving = None;
    led.play_beside(
        |frame| (frame["type"] == "tool").then(|| actions.clone()),
        |led, frame| {
            if frame["method"] == "confirm" {
                let answered = led.approve(&["--list"]);
                assert!(
                    answered.out[0].contains("mcp__coder_hub__memory_recall"),
                    "{answered:#?}"
                );
                approving = Some(led.approve(&[]));
            }
        },
    )
    .await;
    assert_eq!(approving.unwrap().code(), 0);
    assert!(led.told().contains("a stork"));
    let expected = [
        "deny controller",
        "deny controller",
        "allow controller",
        "allow local",
    ];
    eventually("each was answered so", || led.answers() == expected);
}

const DELEGATED: &str = r#"
[[scenario]]
match = "Delegate it"
[[scenario.reply]]
steps = [{ DELEGATE(scout) }]
[[scenario.reply]]
steps = [{ DELEGATE(maker) }]
[[scenario.reply]]
steps = [{ say = "They looked." }]
[[scenario]]
match = "Look as scout"
[[scenario.reply]]
steps = [{ RUN(scout) }]
[[scenario.reply]]
steps = [{ WRITE(scout) }]
[[scenario.reply]]
steps = [{ DELEGATE(HELPER) }]
[[scenario.reply]]
steps = [{ say = "The scout has looked." }]
[[scenario]]
match = "Look as HELPER"
[[scenario.reply]]
steps = [{ RUN(HELPER) }]
[[scenario.reply]]
steps = [{ say = "The helper has helped." }]
[[scenario]]
match = "Look as maker"
[[scenario.reply]]
steps = [{ RUN(maker) }]
[[scenario.reply]]
steps = [{ WRITE(maker) }]
[[scenario.reply]]
steps = [{ say = "The maker has made." }]
"#;

/// What a sub-agent is not to do is not done, by itself or through another one: the scout changes
/// nothing, the maker runs no commands.
pub(crate) async fn restricted(agent: &'static Agent, form: &'static str) {
    let (run, write, delegate) = match agent.name {
        "claude" => (
            r#"tool = "Bash", input = { command = "touch ran-by-NAME" }"#,
            r#"tool = "Write", input = { file_path = "{{cwd}}/written-by-NAME", content = "x" }"#,
            r#"tool = "Agent", input = { description = "Look", prompt = "Look as NAME.", subagent_type = "NAME" }"#,
        ),
        _ => (
            r#"tool = "bash", input = { command = "touch ran-by-NAME", description = "x" }"#,
            r#"tool = "write", input = { filePath = "{{cwd}}/written-by-NAME", content = "x" }"#,
            r#"tool = "task", input = { description = "Look", prompt = "Look as NAME.", subagent_type = "NAME" }"#,
        ),
    };
    let mut script = DELEGATED.to_owned();
    let helper = if agent.name == "claude" {
        "general-purpose"
    } else {
        "general"
    };
    for name in ["scout", "maker", "HELPER"] {
        for (mark, step) in [("RUN", run), ("WRITE", write), ("DELEGATE", delegate)] {
            script = script.replace(&format!("{mark}({name})"), &step.replace("NAME", name));
        }
    }
    let script = script.replace("HELPER", helper);
    let mut init = init();
    init["agents"] = json!([
        {"name": "scout", "description": "Finds out.", "systemPrompt": "You look.", "readOnly": true},
        {"name": "maker", "description": "Makes files.", "systemPrompt": "You write.",
            "tools": ["read", "write"]},
    ]);
    let Some(mut led) = Led::start(agent, form, &script, init, &[]).await else {
        return;
    };
    led.prompt("Delegate it.").await;
    let heard = led.play(|_| None).await;
    let told = led.told();
    for said in ["The scout has looked.", "The maker has made."] {
        assert!(told.contains(said), "{said}: {heard:#?}");
    }
    let by_general = format!("ran-by-{helper}");
    let others = [
        "ran-by-scout",
        "written-by-scout",
        "ran-by-maker",
        &by_general,
    ];
    assert_eq!(others.map(|name| led.made(name)), [false; 4], "{heard:#?}");
    assert!(led.made("written-by-maker"), "{heard:#?}");
}
