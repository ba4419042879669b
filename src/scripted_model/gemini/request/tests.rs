//! The request shapes are those that Gemini CLI 0.61.0 sends.

use serde_json::json;

use super::*;
use crate::scripted_model::engine::Turn;

fn ask(body: &Value) -> Ask {
    let parsed = Parsed::read("m", true, body.to_string().as_bytes());
    parsed.unwrap().ask
}

const CONTEXT: &str = "<session_context>\nThis is the Gemini CLI.\n- **Workspace Directories:**\n  - /tmp/my repo\n- **Directory Structure:**\n</session_context>";

#[test]
fn the_prompt_stands_behind_the_context() {
    let response = json!({"functionResponse": {"name": "read_file", "response": {}}});
    let asked = ask(&json!({
        "systemInstruction": {"parts": [{"text": "You are Gemini CLI"}], "role": "user"},
        "tools": [{"functionDeclarations": [{"name": "read_file"}]}],
        "contents": [
            {"role": "user", "parts": [{"text": CONTEXT}, {"text": "fix it"}]},
            {"role": "model", "parts": [{"text": "I look."}, {"functionCall": {"name": "read_file"}}]},
            // twice, as the CLI sends it after a resume
            {"role": "user", "parts": [response, response]},
        ],
    }));
    let conversation = Conversation {
        id: "/tmp/my repo".to_owned(),
        turns: vec![Turn::Prompt("fix it".to_owned()), Turn::Reply],
        cwd: Some("/tmp/my repo".to_owned()),
        subagent: false,
    };
    assert_eq!(asked, Ask::Conversation(conversation));
}

#[test]
fn the_choice_of_a_model_is_answered_in_its_schema_and_plays_nothing() {
    let asked = ask(&json!({
        "systemInstruction": {"parts": [{"text": "You are a specialized Task Routing AI."}]},
        "contents": [{"role": "user", "parts": [{"text": "fix it"}]}],
        "generationConfig": {"responseJsonSchema": {"type": "OBJECT", "properties": {"complexity_score": {"type": "INTEGER"}}}},
    }));
    assert_eq!(asked, Ask::Side("{\"complexity_score\":1}".to_owned()));
}

#[test]
fn a_subagent_is_told_by_the_tool_that_ends_it() {
    let asked = ask(&json!({
        "tools": [{"functionDeclarations": [{"name": "complete_task"}]}],
        "contents": [{"role": "user", "parts": [{"text": "look"}]}],
    }));
    assert!(matches!(asked, Ask::Conversation(conversation) if conversation.subagent));
}
