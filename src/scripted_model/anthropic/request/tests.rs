//! The request shapes are those that Claude Code 2.1.197 sends.

use serde_json::json;

use super::*;

fn conversation(body: Value) -> Conversation {
    match serde_json::from_value::<Request>(body).unwrap().ask() {
        Ask::Conversation(conversation) => conversation,
        Ask::Side(text) => panic!("a side call: {text}"),
    }
}

fn prompt(text: &str) -> Turn {
    Turn::Prompt(text.to_owned())
}

#[test]
fn the_prompt_is_found_among_reminders_results_and_lists_of_skills() {
    let asked = conversation(json!({
        "model": "claude-opus-4-8",
        "stream": true,
        "metadata": {"user_id": "{\"session_id\":\"51d2584a\"}"},
        "tools": [{"name": "Bash", "input_schema": {}}],
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197.fb5; cc_entrypoint=sdk-cli;"},
            {"type": "text", "text": "# Environment\nYou have been invoked: \n - Primary working directory: /tmp/my repo\n - Platform: linux"},
        ],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "<system-reminder>\nToday's date is 2026-11-21.\n</system-reminder>\n\n"},
                {"type": "text", "text": "fix it please\n", "cache_control": {"type": "ephemeral"}},
            ]},
            {"role": "system", "content": "Available agent types"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": "ls"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "a\nb"}]},
        ],
    }));
    assert_eq!(asked.turns, [prompt("fix it please\n"), Turn::Reply]);
    assert_eq!(asked.cwd.as_deref(), Some("/tmp/my repo"));
    assert_eq!(asked.id, "{\"session_id\":\"51d2584a\"}");
    assert!(!asked.subagent);
}

#[test]
fn a_subagent_is_told_by_the_billing_line() {
    let asked = conversation(json!({
        "model": "m",
        "tools": [{"name": "Bash"}],
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197.3d1; cc_is_subagent=true;"},
            {"type": "text", "text": "<env>\nWorking directory: /repo\n</env>"},
        ],
        "messages": [{"role": "user", "content": "look"}],
    }));
    assert!(asked.subagent);
    assert_eq!(asked.cwd.as_deref(), Some("/repo"));
}

#[test]
fn the_reply_that_resume_makes_up_does_not_count() {
    let asked = conversation(json!({
        "model": "m",
        "messages": [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": [{"type": "text", "text": "No response requested."}]},
            {"role": "user", "content": "two"},
        ],
    }));
    assert_eq!(asked.turns, [prompt("one"), prompt("two")]);
}

#[test]
fn a_title_call_is_answered_in_its_schema_and_plays_nothing() {
    let request: Request = serde_json::from_value(json!({
        "model": "m",
        "system": [{"type": "text", "text": "Generate a concise, sentence-case title"}],
        "output_config": {"format": {"type": "json_schema", "schema": {
            "type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"],
        }}},
        "messages": [{"role": "user", "content": "<session>\nfix it\n</session>"}],
    }))
    .unwrap();
    let title = r#"{"title":"Scripted, no model"}"#.to_owned();
    assert_eq!(request.ask(), Ask::Side(title));
}

#[test]
fn the_tokens_of_a_prompt_are_estimated_by_its_length() {
    let body = json!({"model": "m", "system": "1234", "messages": [{"role": "user", "content": "12345678"}]});
    let request: Request = serde_json::from_value(body).unwrap();
    assert_eq!(request.estimated_tokens(), 3);
}
