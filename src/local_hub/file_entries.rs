//! The session file → the conversation, as far as no event tells of it. Pure.
//!
//! A lead that goes on with a session from elsewhere, or that writes the file alone, has a past that
//! the Hub never got as events. The file's messages are those of the `message_end` events, stamps
//! included: what lies before the first of these is told by the file only.

use serde::Deserialize;
use serde_json::Value;

use super::entries::append_file_message;

/// Reads a file from its start, until the events take over.
pub(crate) struct FileEntries {
    /// The stamp of the first message that is an event.
    until: Option<u64>,
    entries: Vec<Value>,
}

#[derive(Deserialize)]
struct Line {
    r#type: String,
    #[serde(default)]
    message: Value,
}

impl FileEntries {
    /// `until`: the stamp of the first message that is an event.
    pub(crate) const fn new(until: Option<u64>) -> Self {
        Self {
            until,
            entries: Vec::new(),
        }
    }

    /// Takes in a line; whether there may be more. What is no message is no conversation.
    pub(crate) fn line(&mut self, line: &str) -> bool {
        let Ok(Line { r#type, message }) = serde_json::from_str(line) else {
            return true;
        };
        if r#type != "message" {
            return true;
        }
        let at = stamp(&message).unwrap_or(0);
        if self.until.is_some_and(|until| at >= until) {
            return false;
        }
        append_file_message(&message, at, &mut self.entries);
        true
    }

    /// What it was about.
    pub(crate) fn finish(self) -> Vec<Value> {
        self.entries
    }
}

/// A message's own time, in milliseconds since the epoch.
pub(crate) fn stamp(message: &Value) -> Option<u64> {
    message.get("timestamp")?.as_u64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines() -> Vec<String> {
        let usage = json!({"input": 1});
        [
            json!({"type": "session", "version": 3, "id": "x"}),
            json!({"type": "message", "message": {"role": "user", "content": "fix", "timestamp": 5}}),
            json!({"type": "message", "message": {"role": "assistant", "timestamp": 6, "usage": usage,
                "content": [{"type": "thinking", "thinking": "hm"},
                    {"type": "toolCall", "id": "c", "name": "bash", "arguments": {"command": "ls"}}]}}),
            json!({"type": "message", "message": {"role": "toolResult", "toolCallId": "c",
                "toolName": "bash", "isError": true, "timestamp": 7,
                "content": [{"type": "text", "text": "no"}]}}),
            json!({"type": "message", "message": {"role": "user", "content": "again", "timestamp": 9}}),
        ]
        .map(|line| line.to_string())
        .to_vec()
    }

    fn kinds(until: Option<u64>) -> Vec<String> {
        let mut file = FileEntries::new(until);
        for line in lines().iter().chain([&"nonsense".to_owned()]) {
            if !file.line(line) {
                break;
            }
        }
        let kind = |entry: Value| entry["type"].as_str().unwrap().to_owned();
        file.finish().into_iter().map(kind).collect()
    }

    #[test]
    fn a_file_alone_is_the_whole_conversation() {
        let all = [
            "user_prompt",
            "thinking",
            "tool_call",
            "tool_result",
            "user_prompt",
        ];
        assert_eq!(kinds(None), all);
    }

    #[test]
    fn where_events_tell_the_file_does_not() {
        assert_eq!(kinds(Some(7)), ["user_prompt", "thinking", "tool_call"]);
        assert!(kinds(Some(5)).is_empty());
    }
}
