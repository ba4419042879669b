//! The request shapes are those that Codex 0.169.0 sends.

use serde_json::json;

use super::*;
use crate::scripted_model::engine::Turn;

fn parsed(body: &Value) -> Parsed {
    let body = body.to_string();
    Parsed::read(&Incoming {
        path_end: "responses",
        session: None,
        subagent: false,
        body: body.as_bytes(),
    })
    .unwrap()
}

fn conversation(body: &Value) -> Conversation {
    match parsed(body).ask() {
        Ask::Conversation(conversation) => conversation,
        Ask::Side(text) => panic!("a side call: {text}"),
    }
}

fn user(text: &str) -> Value {
    json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]})
}

const CONTEXT: &str = "<environment_context>\n  <cwd>/tmp/my repo</cwd>\n  <shell>bash</shell>\n</environment_context>";

#[test]
fn the_prompt_is_found_among_the_words_of_the_cli() {
    let asked = conversation(&json!({
        "model": "gpt-5.5",
        "stream": true,
        "prompt_cache_key": "thread",
        "tools": [{"type": "function", "name": "exec_command"}],
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "You are Codex"}]},
            user(CONTEXT),
            user("fix it"),
            {"type": "reasoning", "summary": [], "content": null},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "name": "exec_command", "call_id": "a", "arguments": "{}"},
            {"type": "custom_tool_call", "name": "apply_patch", "call_id": "b", "input": ""},
            {"type": "function_call_output", "call_id": "a", "output": "x"},
            {"type": "custom_tool_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "y"}]},
        ],
    }));
    assert_eq!(
        asked.turns,
        [Turn::Prompt("fix it".to_owned()), Turn::Reply]
    );
    assert_eq!(asked.cwd.as_deref(), Some("/tmp/my repo"));
    assert_eq!(asked.id, "thread");
    assert!(!asked.subagent);
}

#[test]
fn the_part_of_a_cut_reply_that_is_sent_back_does_not_count() {
    let body = json!({"model": "m", "input": [
        user("go"),
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "half"}]},
    ]});
    assert_eq!(conversation(&body).turns, [Turn::Prompt("go".to_owned())]);
}

#[test]
fn subagents_are_waited_for_one_by_one_and_the_waiting_does_not_count() {
    let spawn = |id: &str| json!({"type": "function_call", "namespace": "multi_agent_v1", "name": "spawn_agent", "call_id": id, "arguments": "{}"});
    let spawned = |id: &str, agent: &str| {
        let output = json!({"agent_id": agent}).to_string();
        json!({"type": "function_call_output", "call_id": id, "output": output})
    };
    let wait = |id: &str| json!({"type": "function_call", "namespace": "multi_agent_v1", "name": "wait_agent", "call_id": id, "arguments": "{}"});
    let waited = |id: &str, output: &str| json!({"type": "function_call_output", "call_id": id, "output": output});
    let mut input = vec![
        user("go"),
        spawn("a"),
        spawn("b"),
        spawned("a", "one"),
        spawned("b", "two"),
    ];
    let targets = |input: &Vec<Value>| {
        let call = parsed(&json!({"model": "m", "input": input})).interlude();
        call.map(|call| call.arguments()["targets"].clone())
    };
    assert_eq!(targets(&input), Some(json!(["one", "two"])));
    input.extend([wait("w"), waited("w", "{\"status\":{\"two\":{}}}")]);
    assert_eq!(targets(&input), Some(json!(["one"])));
    input.extend([wait("v"), waited("v", "{\"status\":{\"one\":{}}}")]);
    assert_eq!(targets(&input), None);
    let asked = conversation(&json!({"model": "m", "input": input}));
    assert_eq!(asked.turns, [Turn::Prompt("go".to_owned()), Turn::Reply]);
}

#[test]
fn a_subagent_is_told_by_its_metadata() {
    let body = json!({
        "model": "m",
        "client_metadata": {"x-openai-subagent": "collab_spawn"},
        "input": "look",
    });
    assert!(conversation(&body).subagent);
}

#[test]
fn tools_are_also_offered_among_the_input() {
    let body = json!({"model": "m", "input": [
        {"type": "additional_tools", "role": "developer", "tools": [
            {"type": "namespace", "name": "functions", "tools": [{"type": "custom", "name": "exec"}]},
        ]},
        user("go"),
    ]});
    assert!(parsed(&body).toolset.offers("exec"));
}
