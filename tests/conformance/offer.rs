//! What a Hub offers the agent of a session: its own tools, run by it, and agents to delegate to.

use std::future::Future;
use std::time::Duration;

use serde_json::{Value, json};

use crate::agents::Agent;
use crate::bench::Bench;
use crate::hand_hub::{Hub, Peer, Said};
use crate::running::Running;

/// The overall limit of one test.
const LIMIT: Duration = Duration::from_mins(3);

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

/// A daemon that is led by a hand-played Hub.
struct Led {
    bench: Bench,
    hub: Hub,
    daemon: Running,
    peer: Peer,
}

impl Led {
    async fn start(agent: &'static Agent, mode: &'static str, words: &[&str]) -> Option<Self> {
        let bench = Bench::playing(agent, mode, SCRIPT)?;
        let hub = Hub::start().await;
        let mut command = Self::command(&bench, &hub, words);
        let daemon = Running::start(&mut command);
        let peer = Self::join(&hub).await;
        Some(Self {
            bench,
            hub,
            daemon,
            peer,
        })
    }

    fn command(bench: &Bench, hub: &Hub, words: &[&str]) -> std::process::Command {
        let here = bench.path("here");
        let here = here.to_str().unwrap();
        let mut command = bench.agent_command(&["daemon", "--session", "s1"], false);
        command.args(["--hub", &hub.url(), "--workspace-dir", here]);
        command.args(words).env("AGENT_RUNNER_HUB_KEY", "agc_KEY");
        command
    }

    async fn join(hub: &Hub) -> Peer {
        let mut peer = hub.accept().await;
        peer.send(&init()).await;
        peer
    }

    async fn prompt(&mut self, text: &str, id: &str) {
        let command = json!({"type": "prompt", "id": id, "message": text});
        let frame = json!({"type": "rpc_command", "command": command});
        self.peer.send(&frame).await;
    }

    /// Plays the Hub until the run is over; what it heard. Its tool says `result`.
    async fn play(&mut self, result: &Value) -> Vec<Value> {
        let mut heard = Vec::new();
        loop {
            let said = tokio::select! {
                said = self.peer.said() => said,
                () = self.hub.answer_rest() => continue,
            };
            match said {
                Said::Event(event) => {
                    self.peer.ack(&event.id).await;
                    heard.push(json!({"event": event.name, "data": event.data}));
                    if event.name == "agent_end" {
                        return heard;
                    }
                }
                Said::Other(frame) => {
                    if frame["type"] == "tool" {
                        let actions = json!([{"action": "RETURN", "result": result}]);
                        let answer = json!({"id": frame["id"], "actions": actions});
                        self.peer.send(&answer).await;
                    }
                    heard.push(frame);
                }
                end => panic!("the lead left: {end:?}; {:?}", self.daemon.err.all()),
            }
        }
    }

    /// All that the model was told.
    fn told(&self) -> String {
        Value::from(self.bench.requests()).to_string()
    }
}

pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(LIMIT, test).await.expect("in time");
    });
}

fn tools_of(heard: &[Value]) -> Vec<&Value> {
    heard
        .iter()
        .filter(|frame| frame["type"] == "tool")
        .collect()
}

/// The tool is called by the CLI and run by the Hub; the agents are known to the model.
pub(crate) async fn offered(agent: &'static Agent, mode: &'static str) {
    let Some(mut led) = Led::start(agent, mode, &[]).await else {
        return;
    };
    led.prompt("Recall the heron.", "a-unique-prompt-1").await;
    let heard = led.play(&json!({"herons": "grey"})).await;
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
    let Some(mut led) = Led::start(agent, "live", &[]).await else {
        return;
    };
    let state = json!({"type": "rpc_command", "command": {"type": "get_state", "id": "q"}});
    led.peer.send(&state).await;
    led.prompt("Recall the heron.", "a-unique-prompt-1").await;
    let heard = led.play(&json!("first")).await;
    let level = |frame: &Value| frame["response"]["data"]["thinkingLevel"] == "high";
    assert!(heard.iter().any(level), "as `init` says: {heard:#?}");
    led.daemon.signal(nix::sys::signal::Signal::SIGKILL);
    let again = Running::start(&mut Led::command(&led.bench, &led.hub, &[]));
    drop(std::mem::replace(&mut led.daemon, again));
    led.peer = Led::join(&led.hub).await;
    led.prompt("Recall the heron.", "a-unique-prompt-2").await;
    // The end of the first run may come again before.
    let mut calls = 0;
    while calls == 0 {
        calls = tools_of(&led.play(&json!("second")).await).len();
    }
    assert!(calls == 1 && led.told().contains("second"));
}
