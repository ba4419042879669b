//! Event history → the conversation that replay and hydration show. Pure.
//!
//! Only finished things become entries: whole messages (not their deltas), tool calls with their
//! results, sub-agents' results, what the runtime said. Data that does not have the expected
//! shape gives no entry and no error: history is whatever leads have sent.

use serde_json::{Map, Value, json};

/// One stored event, as far as entries need it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recorded<'a> {
    pub(crate) id: i64,
    pub(crate) event: &'a str,
    pub(crate) data: &'a Value,
    /// Milliseconds since the epoch.
    pub(crate) at: u64,
}

/// Whether events of this name become entries: the store marks them so that a replay need not
/// read the deltas.
pub(crate) fn becomes_entry(event: &str) -> bool {
    matches!(
        event,
        "message_end"
            | "tool_call"
            | "tool_result"
            | "task_complete"
            | "task_error"
            | "session_error"
            | "runtime_process_start"
            | "runtime_process_output"
            | "runtime_process_error"
            | "runtime_process_stop"
            | "runtime_preview_available"
    )
}

/// Appends the entries of one event.
pub(crate) fn append_entries(recorded: Recorded<'_>, out: &mut Vec<Value>) {
    let data = recorded.data;
    let call = |kind: &str| {
        let mut entry = entry(&recorded, kind);
        copy(data, "toolCallId", &mut entry, "toolCallId");
        copy(data, "toolName", &mut entry, "toolName");
        copy(data, "taskId", &mut entry, "taskId");
        entry
    };
    let one = match recorded.event {
        "message_end" => return append_message(&recorded, out),
        "tool_call" => {
            let mut entry = call("tool_call");
            if let Some(input) = data.get("input").filter(|input| input.is_object()) {
                entry.insert("toolArgs".into(), input.clone());
            }
            entry
        }
        "tool_result" => {
            let mut entry = call("tool_result");
            entry.insert("content".into(), plain_text(data.get("content")).into());
            let failed = data.get("isError").and_then(Value::as_bool);
            entry.insert("isError".into(), failed.unwrap_or(false).into());
            entry
        }
        "task_complete" | "task_error" => {
            let mut entry = call("task_result");
            copy(data, "agent", &mut entry, "agent");
            copy(data, "result", &mut entry, "content");
            copy(data, "error", &mut entry, "content");
            if recorded.event == "task_error" {
                entry.insert("isError".into(), true.into());
            }
            entry
        }
        "session_error" => {
            let mut entry = entry(&recorded, "message");
            copy(data, "error", &mut entry, "content");
            entry.insert("isError".into(), true.into());
            entry
        }
        "runtime_preview_available" => runtime(&recorded, "runtime_preview", "preview"),
        "runtime_process_output" => runtime(&recorded, "runtime_output", "runtime"),
        "runtime_process_start" | "runtime_process_error" | "runtime_process_stop" => {
            runtime(&recorded, "runtime_status", "runtime")
        }
        _ => return,
    };
    out.push(Value::Object(one));
}

/// Appends the entries of a message that stands in a session file only: its tool calls and their
/// results as well, which have events of their own elsewhere.
pub(crate) fn append_file_message(message: &Value, at: u64, out: &mut Vec<Value>) {
    let field = |from: &Value, name: &str| from.get(name).cloned().unwrap_or_default();
    let tell = |event: &str, data: &Value, out: &mut Vec<Value>| {
        let id = 0; // it has no place among the events
        append_entries(
            Recorded {
                id,
                event,
                data,
                at,
            },
            out,
        );
    };
    if message.get("role").and_then(Value::as_str) == Some("toolResult") {
        return tell("tool_result", message, out);
    }
    tell("message_end", &json!({"message": message}), out);
    let blocks = message.get("content").and_then(Value::as_array);
    let is_call = |block: &&Value| block.get("type").and_then(Value::as_str) == Some("toolCall");
    for call in blocks.into_iter().flatten().filter(is_call) {
        let data = json!({"toolCallId": field(call, "id"), "toolName": field(call, "name"),
            "input": field(call, "arguments")});
        tell("tool_call", &data, out);
    }
}

fn append_message(recorded: &Recorded<'_>, out: &mut Vec<Value>) {
    let Some(message) = recorded.data.get("message") else {
        return;
    };
    match message.get("role").and_then(Value::as_str) {
        Some("user") => {
            let mut entry = entry(recorded, "user_prompt");
            entry.insert("content".into(), plain_text(message.get("content")).into());
            if let Some(author) = message.get("author").and_then(author) {
                entry.insert("author".into(), author.into());
            }
            out.push(Value::Object(entry));
        }
        Some("assistant") => {
            let blocks = message.get("content").and_then(Value::as_array);
            for block in blocks.into_iter().flatten() {
                append_block(recorded, block, out);
            }
            if let Some(error) = message.get("errorMessage").and_then(Value::as_str) {
                let mut entry = entry(recorded, "message");
                entry.insert("content".into(), error.into());
                entry.insert("isError".into(), true.into());
                out.push(Value::Object(entry));
            }
        }
        // Tool results come as `tool_result` events too; anything else is not conversation.
        _ => {}
    }
}

/// Who said something, as far as viewers' schemas admit it.
fn author(author: &Value) -> Option<Map<String, Value>> {
    const TEXTS: [&str; 5] = ["userId", "displayName", "email", "avatarUrl", "apiKeyLabel"];
    const ACTORS: [&str; 3] = ["user", "api_key", "service"];
    let fits = |(name, value): &(&String, &Value)| {
        let text = value.as_str();
        TEXTS.contains(&name.as_str()) && text.is_some()
            || *name == "actorType" && text.is_some_and(|actor| ACTORS.contains(&actor))
    };
    let fields = author.as_object()?.iter().filter(fits);
    let kept: Map<_, _> = fields
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    (!kept.is_empty()).then_some(kept)
}

fn append_block(recorded: &Recorded<'_>, block: &Value, out: &mut Vec<Value>) {
    let text = |key| {
        block
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    match block.get("type").and_then(Value::as_str) {
        Some("text") => {
            if let Some(text) = text("text") {
                let mut entry = entry(recorded, "message");
                entry.insert("content".into(), text.into());
                out.push(Value::Object(entry));
            }
        }
        Some("thinking") => {
            if let Some(text) = text("thinking") {
                let mut entry = entry(recorded, "thinking");
                entry.insert("thinking".into(), text.into());
                entry.insert("content".into(), text.into());
                out.push(Value::Object(entry));
            }
        }
        // A tool call has its own event.
        _ => {}
    }
}

fn entry(recorded: &Recorded<'_>, kind: &str) -> Map<String, Value> {
    let mut entry = Map::new();
    entry.insert("type".into(), kind.into());
    entry.insert("timestamp".into(), recorded.at.into());
    if recorded.id > 0 {
        entry.insert("sequence".into(), recorded.id.into());
    }
    let agent = ["agentName", "agentRole"]
        .iter()
        .find_map(|key| recorded.data.get(key).and_then(Value::as_str));
    if let Some(agent) = agent.filter(|_| kind != "user_prompt") {
        entry.insert("agent".into(), agent.into());
    }
    entry
}

fn runtime(recorded: &Recorded<'_>, kind: &str, field: &str) -> Map<String, Value> {
    let mut entry = entry(recorded, kind);
    let described = recorded.data.get(field).filter(|value| value.is_object());
    if let Some(described) = described {
        entry.insert(field.into(), described.clone());
    }
    for key in ["text", "output", "error", "message"] {
        copy(recorded.data, key, &mut entry, "content");
    }
    entry
}

/// Copies a string field; the schema has no place for other types.
fn copy(from: &Value, key: &str, to: &mut Map<String, Value>, name: &str) {
    if let Some(text) = from.get(key).and_then(Value::as_str) {
        to.insert(name.into(), text.into());
    }
}

/// The text of a message's or result's `content`: a string, or blocks of which the text counts.
fn plain_text(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(blocks)) => {
            let texts = blocks
                .iter()
                .filter_map(|block| block.get("text").and_then(Value::as_str));
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

/// The newest entries whose JSON stays within `budget` bytes, in order, after a mark that says
/// how many older ones were left out.
pub(crate) fn newest_within(entries: Vec<Value>, budget: usize) -> Vec<Value> {
    let mut left = budget;
    let total = entries.len();
    let mut kept: Vec<Value> = entries
        .into_iter()
        .rev()
        .take_while(|entry| {
            let size = entry.to_string().len();
            let fits = size <= left;
            left = left.saturating_sub(size);
            fits
        })
        .collect();
    if kept.len() < total {
        let stamp = kept
            .last()
            .and_then(|entry| entry.get("timestamp"))
            .cloned();
        let count = total - kept.len();
        kept.push(json!({
            "type": "message",
            "timestamp": stamp.unwrap_or_else(|| 0.into()),
            "content": format!("[{count} earlier entries are in the session's replay]"),
        }));
    }
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(events: &[(&str, Value)]) -> Vec<Value> {
        let mut out = Vec::new();
        for (id, (event, data)) in (1..).zip(events) {
            let at = 100;
            append_entries(
                Recorded {
                    id,
                    event,
                    data,
                    at,
                },
                &mut out,
            );
        }
        out
    }

    #[test]
    fn a_turn_becomes_prompt_thought_call_result_and_answer_in_order() {
        let shown = entries(&[
            (
                "message_end",
                json!({"message": {"role": "user", "content": "fix it", "author":
                    {"displayName": "Ada", "email": 7, "actorType": "robot"}},
                    "agentRole": "lead"}),
            ),
            (
                "message_end",
                json!({"message": {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm"},
                    {"type": "toolCall", "id": "t1", "name": "bash", "arguments": {}},
                ]}, "agentRole": "lead"}),
            ),
            (
                "tool_call",
                json!({"toolCallId": "t1", "toolName": "bash", "input": {"command": "ls"}}),
            ),
            (
                "tool_result",
                json!({"toolCallId": "t1", "toolName": "bash", "isError": false,
                       "content": [{"type": "text", "text": "a.rs"}]}),
            ),
            (
                "message_end",
                json!({"message": {"role": "assistant",
                       "content": [{"type": "text", "text": "done"}]}}),
            ),
        ]);
        let kinds: Vec<_> = shown.iter().map(|e| e["type"].as_str().unwrap()).collect();
        assert_eq!(
            kinds,
            [
                "user_prompt",
                "thinking",
                "tool_call",
                "tool_result",
                "message"
            ]
        );
        assert_eq!(shown[0]["content"], "fix it");
        assert_eq!(shown[0]["author"], json!({"displayName": "Ada"}));
        assert_eq!(shown[1]["agent"], "lead");
        assert_eq!(shown[2]["toolArgs"]["command"], "ls");
        assert_eq!(shown[3]["content"], "a.rs");
        assert_eq!(shown[4]["sequence"], 5);
    }

    #[test]
    fn a_failed_message_shows_its_error() {
        let shown = entries(&[(
            "message_end",
            json!({"message": {"role": "assistant", "content": [], "stopReason": "error",
                   "errorMessage": "overloaded"}}),
        )]);
        assert_eq!(shown[0]["content"], "overloaded");
        assert_eq!(shown[0]["isError"], true);
    }

    #[test]
    fn odd_data_gives_no_entry_and_no_null() {
        let shown = entries(&[
            ("message_end", json!({})),
            (
                "message_end",
                json!({"message": {"role": "assistant", "content": "x"}}),
            ),
            ("tool_call", json!({"toolName": 5, "input": "x"})),
            ("agent_start", json!({"agentName": "lead"})),
        ]);
        assert_eq!(shown.len(), 1);
        assert!(shown[0].as_object().unwrap().values().all(|v| !v.is_null()));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let all: Vec<Value> = (0..10)
            .map(|n| json!({"type": "message", "timestamp": n}))
            .collect();
        let kept = newest_within(all, 100);
        assert_eq!(kept.len(), 4);
        assert!(kept[0]["content"].as_str().unwrap().contains("7 earlier"));
        assert_eq!(kept[3]["timestamp"], 9);
    }
}
