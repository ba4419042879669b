//! A Hub that has a say: what it makes of runs and calls, with the real Claude Code in live form.
//! What it makes of the calls of all CLIs: `tests/conformance/gate.rs`.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::{Bench, Model};
use crate::hand_hub::{Event, Hub, Peer, Said};
use crate::in_time;
use crate::running::{Running, eventually};

/// The overall limit of one test.
pub(crate) const LIMIT: Duration = Duration::from_mins(3);

/// For each name an agent that makes that file when it is asked to.
pub(crate) fn script() -> String {
    let scenario = |name| {
        // Until somebody ends it.
        let rest = if name == "long" { "; sleep 60" } else { "" };
        format!(
            "[[scenario]]\nmatch = \"Touch {name}\"\n\
             [[scenario.reply]]\nsteps = [{{ shell = \"touch {name}{rest}\" }}]\n\
             [[scenario.reply]]\nsteps = [{{ say = \"So be it.\" }}]\n"
        )
    };
    let script: String = ["one", "two", "three", "four", "five", "long"]
        .map(scenario)
        .concat();
    let injected = "steps = [{ say = \"The Hub asks, I answer.\" }]";
    script + "[[scenario]]\nmatch = \"From the Hub\"\n[[scenario.reply]]\n" + injected
}

/// A daemon that a hand-played Hub has a say over.
pub(crate) struct Led {
    bench: Bench,
    model: Model,
    pub(crate) daemon: Running,
    peer: Peer,
    prompts: usize,
}

impl Led {
    pub(crate) async fn start(settings: &str) -> Option<Self> {
        Self::start_in("auto", settings).await
    }

    pub(crate) async fn start_in(mode: &str, settings: &str) -> Option<Self> {
        let bench = Bench::with_claude()?;
        let model = bench.model(&script());
        Some(Self::lead(bench, model, mode, settings).await)
    }

    async fn lead(bench: Bench, model: Model, mode: &str, settings: &str) -> Self {
        let hub = Hub::start().await;
        let config = bench.file("config.toml", settings);
        let repo = format!("file://{}", bench.text("repo"));
        let words = [
            "daemon",
            "--output",
            "jsonl",
            "--config",
            &config,
            "--session",
            "s1",
        ];
        let mut command = bench.agent(&model, &words);
        command.args(["--repo", &repo, "--hub", &hub.url()]);
        command.env("AGENT_RUNNER_HUB_KEY", "agc_KEY");
        command.env("AGENT_RUNNER_MODE", mode);
        let daemon = bench.start(&mut command);
        let mut peer = hub.accept().await;
        let config = json!({"systemPromptSuffix": "The Hub's own suffix."});
        let init = json!({"type": "init", "role": "lead", "sessionId": "s1", "config": config});
        peer.send(&init).await;
        Self {
            bench,
            model,
            daemon,
            peer,
            prompts: 0,
        }
    }

    pub(crate) async fn prompt(&mut self, text: &str) {
        self.prompts += 1;
        let id = format!("a-unique-prompt-{}", self.prompts);
        let command = json!({"type": "prompt", "id": id, "message": text});
        let frame = json!({"type": "rpc_command", "command": command});
        self.peer.send(&frame).await;
    }

    /// Plays the Hub until the run is over: `actions` says what it makes of an event, `people` what
    /// they answer to a question. Gives what it heard.
    pub(crate) async fn play(
        &mut self,
        actions: impl Fn(&Event) -> Option<Value>,
        people: impl Fn(&Value) -> Option<Value>,
    ) -> Vec<Value> {
        let mut heard = Vec::new();
        loop {
            match self.peer.said().await {
                Said::Event(event) => {
                    let all = actions(&event).unwrap_or_else(|| json!([{"action": "ACK"}]));
                    if !all.is_null() && all != json!("silent") {
                        self.peer
                            .send(&json!({"id": event.id, "actions": all}))
                            .await;
                    }
                    heard.push(json!({"event": event.name, "data": event.data}));
                    if event.name == "agent_end" {
                        return heard;
                    }
                }
                Said::Other(frame) => {
                    if frame["type"] == "rpc_ui_request"
                        && let Some(result) = people(&frame)
                    {
                        let id = frame["id"].clone();
                        let answer = json!({"type": "rpc_ui_response", "id": id, "result": result});
                        self.peer.send(&answer).await;
                    }
                    heard.push(frame);
                }
                end => panic!("the lead left: {end:?}"),
            }
        }
    }

    /// Sends a command; its answer.
    pub(crate) async fn command(&mut self, command: Value) -> Value {
        let frame = json!({"type": "rpc_command", "command": command});
        self.peer.send(&frame).await;
        loop {
            match self.peer.said().await {
                Said::Event(event) => self.peer.ack(&event.id).await,
                Said::Other(frame) if frame["type"] == "rpc_response" => {
                    let response = &frame["response"];
                    if response["command"] == command["type"] {
                        assert_eq!(response["success"], true, "{response}");
                        return response["data"].clone();
                    }
                }
                Said::Other(_) => {}
                end => panic!("the lead left: {end:?}"),
            }
        }
    }

    pub(crate) fn made(&self, name: &str) -> PathBuf {
        self.bench.path("state/workspaces/s1").join(name)
    }

    /// How the turns so far have ended.
    pub(crate) fn outcomes(&self) -> Vec<String> {
        let lines = self.daemon.out.all();
        let events = lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ends = events.filter(|event| event["type"] == "end");
        ends.map(|event| event["outcome"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The process of the CLI.
    fn cli(&self) -> i32 {
        let processes = self.bench.descendants();
        let is_cli = |arguments: &str| arguments.contains("--input-format");
        let cli = processes.iter().find(|p| is_cli(&p.arguments));
        cli.map(|process| process.pid).expect("a live process")
    }

    /// What the model was told last: the system prompt and the messages.
    pub(crate) fn told(&self) -> String {
        let request = self.model.requests().pop().unwrap();
        format!("{}{}", request["system"], request["messages"])
    }

    fn answered_by(&self) -> Vec<String> {
        let lines = self.daemon.out.all();
        let events = lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let answers = events.filter(|event| event["type"] == "permission_response");
        let word = |event: &Value, key: &str| event[key].as_str().unwrap().to_owned();
        answers
            .map(|event| format!("{} {}", word(&event, "decision"), word(&event, "by")))
            .collect()
    }
}

pub(crate) fn run(test: impl Future<Output = ()>) {
    in_time::run(LIMIT, test);
}

pub(crate) fn on(event: &Event, name: &str, actions: Value) -> Option<Value> {
    (event.name == name).then_some(actions)
}

pub(crate) fn nobody(_: &Value) -> Option<Value> {
    None
}

pub(crate) fn has(heard: &[Value], fits: impl Fn(&Value) -> bool) -> bool {
    heard.iter().any(fits)
}

#[test]
fn a_call_waits_for_the_hub_which_permits_blocks_or_asks_people() {
    run(async {
        let settings = "hub_gate = \"ask\"\nhub_gate_timeout = \"2s\"\n";
        let Some(mut led) = Led::start(settings).await else {
            return;
        };
        // Blocked: it did not run, and the agent was told why.
        led.prompt("Touch one").await;
        let block = json!([{"action": "BLOCK", "reason": "not on my watch"}]);
        led.play(|event| on(event, "tool_call", block.clone()), nobody)
            .await;
        assert!(!led.made("one").exists());
        assert!(
            led.told().contains("not on my watch"),
            "{:#?}",
            led.daemon.out.all()
        );
        // Acknowledged: it ran.
        led.prompt("Touch two").await;
        led.play(|_| None, nobody).await;
        assert!(led.made("two").exists());
        // Left to people, who refuse and then consent.
        let confirm = json!([{"action": "CONFIRM", "title": "Sure?", "message": "m",
            "deny_reason": "they would rather not"}]);
        for (name, answer) in [("three", false), ("four", true)] {
            led.prompt(&format!("Touch {name}")).await;
            let heard = led
                .play(
                    |event| on(event, "tool_call", confirm.clone()),
                    |frame| (frame["method"] == "confirm").then(|| json!(answer)),
                )
                .await;
            assert!(has(&heard, |frame| frame["params"]["title"] == "Sure?"));
            assert_eq!(led.made(name).exists(), answer, "{name}");
        }
        assert!(led.told().contains("they would rather not"));
        // Nothing said in time: the default.
        led.prompt("Touch five").await;
        led.play(|event| on(event, "tool_call", json!("silent")), nobody)
            .await;
        assert!(!led.made("five").exists());
        let expected = [
            "deny hub",
            "allow hub",
            "deny controller",
            "allow controller",
            "deny timeout",
        ];
        eventually("each was answered so", || led.answered_by() == expected);
    });
}

#[test]
fn a_run_is_briefed_or_refused_before_it_begins() {
    run(async {
        let Some(mut led) = Led::start("").await else {
            return;
        };
        let brief = json!([{"action": "SYSTEM_PROMPT", "systemPrompt": "Speak of whales."}]);
        led.prompt("Touch one").await;
        led.play(
            |event| on(event, "before_agent_start", brief.clone()),
            nobody,
        )
        .await;
        let told = led.told();
        assert!(told.contains("Speak of whales.") && told.contains("The Hub's own suffix."));
        // Each run has its own.
        led.prompt("Touch two").await;
        led.play(|_| None, nobody).await;
        let told = led.told();
        assert!(!told.contains("Speak of whales.") && told.contains("The Hub's own suffix."));
        assert!(
            told.contains("Touch one"),
            "the conversation goes on: {told}"
        );
        // Refused: the agent never hears of it.
        led.prompt("Touch three").await;
        let block = json!([{"action": "BLOCK", "reason": "the office is closed"}]);
        let heard = led
            .play(
                |event| on(event, "before_agent_start", block.clone()),
                nobody,
            )
            .await;
        assert!(!led.made("three").exists());
        let why = |frame: &Value| frame.to_string().contains("the office is closed");
        assert!(has(&heard, why), "{heard:?}");
        // People are asked first.
        led.prompt("Touch four").await;
        let confirm = json!([{"action": "CONFIRM", "title": "Begin?", "message": "m"}]);
        led.play(
            |event| on(event, "before_agent_start", confirm.clone()),
            |frame| (frame["method"] == "confirm").then_some(json!(true)),
        )
        .await;
        assert!(led.made("four").exists());
    });
}

#[test]
fn what_the_hub_says_beside_is_shown_and_its_messages_run_once() {
    run(async {
        let Some(mut led) = Led::start("").await else {
            return;
        };
        led.prompt("Touch one").await;
        let words = json!([
            {"action": "NOTIFY", "message": "the budget is low", "level": "warning"},
            {"action": "STATUS", "key": "budget", "text": "low"},
            {"action": "INJECT_MESSAGE", "message": {"role": "user", "content": "From the Hub"}},
        ]);
        let heard = led
            .play(|event| on(event, "agent_start", words.clone()), nobody)
            .await;
        assert!(has(&heard, |frame| frame["method"] == "notify"
            && frame["params"]["message"] == "the budget is low"));
        assert!(has(&heard, |frame| frame["method"] == "setStatus"));
        // The message is a turn of its own; the same answer again is none.
        let again = words.clone();
        let heard = led
            .play(
                |event| match event.name.as_str() {
                    "agent_start" => Some(json!([{"action": "ACK"}])),
                    // A Hub that has a word for each notice would hear itself for ever.
                    "runtime_process_error" => Some(again.clone()),
                    _ => None,
                },
                nobody,
            )
            .await;
        assert!(heard.iter().any(|frame| frame["event"] == "agent_end"));
        let state = led.command(json!({"type": "get_state"})).await;
        assert_eq!(state["statuses"], json!({"budget": "low"}));
    });
}

#[test]
fn a_call_that_cannot_be_held_ends_its_turn_when_it_is_blocked() {
    run(async {
        let Some(mut led) = Led::start_in("exec", "").await else {
            return;
        };
        led.prompt("Touch one").await;
        let block = json!([{"action": "BLOCK", "reason": "not on my watch"}]);
        let heard = led
            .play(|event| on(event, "tool_call", block.clone()), nobody)
            .await;
        let told = |frame: &Value| {
            let text = frame["data"]["message"].as_str().unwrap_or_default();
            frame["data"]["code"] == "hub_blocked" && text.contains("not on my watch")
        };
        assert!(has(&heard, told), "{heard:?}");
        let ended = led.daemon.event("end", |event| event["type"] == "end");
        assert_eq!(ended["outcome"], "cancelled");
        // The next one is no business of that word.
        led.prompt("Touch two").await;
        led.play(|_| None, nobody).await;
        assert!(led.made("two").exists());
    });
}

#[test]
fn what_is_chosen_reaches_a_live_process() {
    run(async {
        let Some(mut led) = Led::start("").await else {
            return;
        };
        led.prompt("Touch one").await;
        led.play(|_| None, nobody).await;
        let pid = led.cli();
        // The model is taken up as it is.
        let model = json!({"type": "set_model", "modelId": "claude-sonnet-4-6"});
        led.command(model).await;
        led.prompt("Touch two").await;
        led.play(|_| None, nobody).await;
        let asked = led.model.requests().pop().unwrap();
        assert_eq!(asked["model"], "claude-sonnet-4-6");
        assert_eq!(led.cli(), pid, "the same process");
        // So is how hard it thinks.
        led.command(json!({"type": "set_thinking_level", "level": "low"}))
            .await;
        led.prompt("Touch three").await;
        led.play(|_| None, nobody).await;
        let asked = led.model.requests().pop().unwrap();
        assert_eq!(asked["output_config"]["effort"], "low");
        assert_eq!(led.cli(), pid, "the same process");
        assert!(led.told().contains("Touch one"));
        // The CLI's own command is a turn.
        led.command(json!({"type": "compact"})).await;
        let heard = led.play(|_| None, nobody).await;
        assert!(has(&heard, |frame| frame["event"] == "session_compact"));
        eventually("all four have completed", || {
            led.outcomes() == ["completed"; 4]
        });
        // A new conversation is begun with a new process.
        led.command(json!({"type": "new_session"})).await;
        led.prompt("Touch four").await;
        led.play(|_| None, nobody).await;
        assert!(!led.told().contains("Touch one"));
    });
}
