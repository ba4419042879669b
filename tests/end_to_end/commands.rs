//! Every command that a controller may send, by the official client, to a daemon with a real CLI.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::{Bench, Hub, Model};
use crate::participants::Participants;
use crate::running::{Running, eventually};

const SCRIPT: &str = r#"
[[scenario]]
match = "Write the greeting"
[[scenario.reply]]
steps = [{ say = "I look." }, { shell = "echo seen" }]
[[scenario.reply]]
steps = [{ say = "All is well." }]
usage = { input = 100, output = 7 }

[[scenario]]
match = "Which model"
reply = [{ steps = [{ say = "Another one." }] }]

[[scenario]]
match = "Anew"
reply = [{ steps = [{ say = "I know of nothing." }] }]
"#;

fn daemon(bench: &Bench, hub: &Hub, model: &Model, session: &str) -> Running {
    let words = ["daemon", "--output", "jsonl", "--session", session];
    let mut command = bench.agent(model, &words);
    bench.start(command.args(["--hub", &hub.url]))
}

fn ended(daemon: &Running, after: &Value) -> Value {
    let after = after["seq"].as_u64().unwrap_or(0);
    let turn = daemon.event("end of a turn", |event| {
        event["type"] == "end" && event["seq"].as_u64() > Some(after)
    });
    assert_eq!(turn["outcome"], "completed", "{turn}");
    turn
}

fn ask(all: &mut Participants, name: &str) -> Value {
    all.command(&json!({ "type": name }))
}

fn refused(all: &mut Participants, command: &Value, word: &str) {
    let answer = all.response(command);
    assert_eq!(answer["success"], false, "{command}: {answer}");
    assert_eq!(answer["command"], command["type"]);
    let error = answer["error"].as_str().unwrap();
    assert!(error.contains(word), "{command}: {error}");
}

#[test]
fn every_command_of_a_controller_is_answered_truthfully() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let (hub, model) = (bench.hub(None), bench.model(SCRIPT));
    let Some(mut all) = Participants::start(&bench, &hub, None) else {
        return;
    };
    let repo = format!("file://{}", bench.text("repo"));
    let session = all.create(&json!({"task": "Write the greeting.", "repo": {"url": repo}}));
    let lead = daemon(&bench, &hub, &model, &session);
    let turn = ended(&lead, &Value::Null);
    all.broadcast("agent_end", 1);

    what_was_said(&mut all);
    what_cannot_be(&mut all);
    a_command_in_the_workspace(&bench, &mut all);

    what_is_chosen(&mut all);
    // It counts from the next turn on, and after a restart.
    all.command(&json!({"type": "follow_up", "message": "Which model are you?"}));
    let turn = ended(&lead, &turn);
    let asked = model.requests();
    assert_eq!(asked.last().unwrap()["model"], "claude-sonnet-4-5");
    lead.signal(Signal::SIGTERM);
    lead.finish();
    let lead = daemon(&bench, &hub, &model, &session);
    let state = answered(&mut all, &json!({"type": "get_state"}));
    assert_eq!(state["model"]["id"], "claude-sonnet-4-5");
    assert_eq!(state["thinkingLevel"], "high");
    assert_eq!(state["sessionName"], "Greeting");
    assert_eq!(state["isStreaming"], false);
    assert_eq!(state["messageCount"], 6);

    // A new conversation knows nothing of what was before.
    assert_eq!(ask(&mut all, "new_session")["cancelled"], false);
    assert_eq!(ask(&mut all, "get_messages")["messages"], json!([]));
    all.command(&json!({"type": "prompt", "message": "Anew."}));
    ended(&lead, &turn);
    let asked = model.requests().last().unwrap()["messages"].to_string();
    assert!(!asked.contains("Write the greeting."), "{asked}");
    let last = ask(&mut all, "get_last_assistant_text");
    assert_eq!(last["text"], "I know of nothing.");
}

/// A model, an effort, a name.
fn what_is_chosen(all: &mut Participants) {
    refused(
        all,
        &json!({"type": "set_thinking_level", "level": "off"}),
        "low, medium, high",
    );
    all.command(&json!({"type": "set_thinking_level", "level": "medium"}));
    let cycled = all.command(&json!({"type": "cycle_thinking_level"}));
    assert_eq!(cycled, json!({"level": "high"}), "the next one");
    let wanted =
        json!({"type": "set_model", "provider": "anthropic", "modelId": "claude-sonnet-4-5"});
    let chosen = all.command(&wanted);
    assert_eq!(
        (&chosen["id"], &chosen["provider"]),
        (&json!("claude-sonnet-4-5"), &json!("anthropic"))
    );
    let foreign = json!({"type": "set_model", "provider": "openai", "modelId": "gpt-5"});
    refused(all, &foreign, "anthropic");
    all.command(&json!({"type": "set_session_name", "name": "Greeted"}));
    let detail = all.ask(json!({"do": "get"}));
    assert_eq!(detail["label"], "Greeted", "everybody sees the name");
    // Another one, given at the Hub.
    all.ask(json!({"do": "rename", "label": "Greeting"}));
    eventually("the lead knows the name", || {
        ask(all, "get_state")["sessionName"] == "Greeting"
    });
}

const ASKING: &str = r#"
[[scenario]]
match = "Touch one"
[[scenario.reply]]
steps = [{ shell = "touch one" }]
[[scenario.reply]]
steps = [{ say = "Asked once." }]

[[scenario]]
match = "Touch two"
[[scenario.reply]]
steps = [{ shell = "touch two" }]
[[scenario.reply]]
steps = [{ say = "Asked twice." }]
"#;

#[test]
fn a_controller_consents_to_calls_and_refuses_them() {
    let Some(bench) = Bench::with_claude() else {
        return;
    };
    let (hub, model) = (bench.hub(None), bench.model(ASKING));
    let Some(mut all) = Participants::start(&bench, &hub, None) else {
        return;
    };
    let repo = format!("file://{}", bench.text("repo"));
    let session = all.create(&json!({"task": "Touch one.", "repo": {"url": repo}}));
    let workspace = bench.path("state/workspaces").join(&session);
    let words = [
        "daemon",
        "--output",
        "jsonl",
        "--approve",
        "ask",
        "--session",
        &session,
    ];
    let lead = bench.start(
        bench
            .agent(&model, &words)
            .args(["--hub", &hub.url, "--mode", "live"]),
    );

    let question = all.question("touch one", 0);
    assert_eq!(question["data"]["method"], "confirm");
    // Whoever comes later is asked the same.
    all.join(&session);
    assert_eq!(
        all.question("touch one", 1)["data"]["id"],
        question["data"]["id"]
    );
    let state = ask(&mut all, "get_state");
    assert_eq!(
        (&state["isWaitingForInput"], &state["isStreaming"]),
        (&json!(true), &json!(true))
    );
    all.answer_person(&question, &json!(false));
    let turn = ended(&lead, &Value::Null);
    assert!(
        !workspace.join("one").exists(),
        "what was refused did not run"
    );
    let told = model.requests().last().unwrap()["messages"].to_string();
    assert!(told.contains("Denied by user"), "{told}");

    all.command(&json!({"type": "prompt", "message": "Touch two."}));
    let question = all.question("touch two", 0);
    assert!(!workspace.join("two").exists(), "it waits");
    all.answer_person(&question, &json!(null));
    all.answer_person(&question, &json!(true));
    ended(&lead, &turn);
    assert!(workspace.join("two").exists(), "what was permitted ran");
    let by: Vec<String> = (1..=2).map(|n| response(&lead, n)).collect();
    assert_eq!(by, ["deny controller", "allow controller"]);
}

/// How the nth request was answered, and by whom.
fn response(lead: &Running, nth: usize) -> String {
    let lines = lead.out.all();
    let events = lines
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut answers = events.filter(|event| event["type"] == "permission_response");
    let answer = answers.nth(nth - 1).unwrap();
    format!(
        "{} {}",
        answer["decision"].as_str().unwrap(),
        answer["by"].as_str().unwrap()
    )
}

/// Asks a lead that may not be back yet.
fn answered(all: &mut Participants, command: &Value) -> Value {
    let mut answer = Value::Null;
    eventually("the lead answers", || {
        answer = all.answer(command);
        answer["value"]["success"] == true
    });
    answer["value"]["data"].clone()
}

fn what_was_said(all: &mut Participants) {
    let messages = ask(all, "get_messages")["messages"].clone();
    let roles: Vec<_> = messages
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["user", "assistant", "toolResult", "assistant"]);
    assert_eq!(messages[3]["content"][0]["text"], "All is well.");
    let page = all.command(&json!({"type": "get_messages", "before": 3, "limit": 1}));
    assert_eq!((&page["first"], &page["total"]), (&json!(2), &json!(4)));
    assert_eq!(page["messages"][0]["role"], "toolResult");
    assert_eq!(ask(all, "get_last_assistant_text")["text"], "All is well.");
    let stats = ask(all, "get_session_stats");
    assert_eq!(
        (&stats["userMessages"], &stats["assistantMessages"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(
        (&stats["toolCalls"], &stats["toolResults"]),
        (&json!(1), &json!(1))
    );
    assert!(stats["tokens"]["output"].as_u64() > Some(0), "{stats}");
    assert_eq!(ask(all, "get_fork_messages"), json!({"messages": []}));
    assert_eq!(ask(all, "get_commands"), json!({"commands": []}));
    let models = ask(all, "get_available_models")["models"].clone();
    assert_eq!(models.as_array().unwrap().len(), 1, "{models}");
    assert_eq!(ask(all, "cycle_model"), Value::Null, "there is no other");
    all.command(&json!({"type": "set_steering_mode", "mode": "all"}));
    all.command(&json!({"type": "set_auto_compaction", "enabled": true}));
}

fn what_cannot_be(all: &mut Participants) {
    for (command, word) in [
        (
            json!({"type": "set_follow_up_mode", "mode": "all"}),
            "a turn of its own",
        ),
        (
            json!({"type": "set_auto_retry", "enabled": false}),
            "own rules",
        ),
        (json!({"type": "abort_retry"}), "abort"),
        (json!({"type": "abort_bash"}), "no command"),
        (json!({"type": "export_html"}), "replay"),
        (
            json!({"type": "switch_session", "sessionPath": "/x"}),
            "new_session",
        ),
        (json!({"type": "fork", "entryId": "x"}), "new_session"),
        (json!({"type": "clone"}), "new_session"),
        (json!({"type": "prompt", "message": " "}), "empty"),
        (
            json!({"type": "prompt", "message": "Look.", "images": ["iVBORw0KGgo="]}),
            "--mode live",
        ),
        (
            json!({"type": "steer", "message": "Look.", "images": [{"data": "JVBERi0="}]}),
            "image 1 of the prompt: it is no PNG",
        ),
        (json!({"type": "from_the_future"}), "from_the_future"),
    ] {
        refused(all, &command, word);
    }
}

fn a_command_in_the_workspace(bench: &Bench, all: &mut Participants) {
    let command = "pwd; echo \"$ANTHROPIC_API_KEY\"; echo oops >&2; exit 3";
    let ran = all.command(&json!({"type": "bash", "command": command}));
    let output = ran["output"].as_str().unwrap();
    assert!(
        output.contains("/state/workspaces/") && output.contains("oops"),
        "{ran}"
    );
    assert!(!output.contains(crate::bench::MODEL_KEY), "keys are masked");
    assert_eq!(
        (&ran["exitCode"], &ran["cancelled"]),
        (&json!(3), &json!(false))
    );
    let long = all.command(&json!({"type": "bash", "command": "seq 1 100000"}));
    assert_eq!(long["truncated"], true);
    assert!(
        long["output"].as_str().unwrap().ends_with("100000\n"),
        "the end is told"
    );
    assert!(long["output"].as_str().unwrap().len() <= 50 * 1024);
    assert!(
        bench.files("state/commands").is_empty(),
        "nothing is left of them"
    );
    all.send(
        &json!({"type": "bash", "command": "touch begun; exec sleep 3004", "id": "the-sleeper-1"}),
    );
    eventually("the command runs", || {
        bench
            .files("state/workspaces")
            .iter()
            .any(|file| file.ends_with("begun"))
    });
    refused(all, &json!({"type": "bash", "command": "ls"}), "already");
    all.command(&json!({"type": "abort_bash"}));
    let ended = all.answer_to("the-sleeper-1");
    assert_eq!(ended["data"]["cancelled"], true, "{ended}");
    eventually("its process is gone", || {
        !bench
            .descendants()
            .iter()
            .any(|process| process.arguments.contains("sleep 3004"))
    });
}
