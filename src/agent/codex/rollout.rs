//! Codex's own record of a thread, `rollout-….jsonl` (0.169.0, both forms): what it shows of a call
//! before its output does.
//!
//! The model's items are in it before the CLI acts on them (a call some 20 ms before its command
//! runs), while the output tells of a command only some 150 ms after it began. Only appended to,
//! one item a line.

use serde::Deserialize;

use crate::agent::json::Text;
use crate::clock::{Timestamp, iso};

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    timestamp: Text<'a>,
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    role: Option<Text<'a>>,
}

/// Whether the model has said, thought or called anything in a turn that began at `since` or later.
/// What is no line of such a file says nothing.
pub(super) fn has_answered(record: &[u8], since: Timestamp) -> bool {
    let since = iso(since);
    let lines = record.split(|byte| *byte == b'\n');
    let lines = lines.filter_map(|line| serde_json::from_slice::<Line<'_>>(line).ok());
    // Same form, same length: text in the order of time.
    let mut lines = lines.skip_while(|line| !(line.begins_turn() && *line.timestamp >= *since));
    lines.any(|line| line.is_the_models())
}

impl Line<'_> {
    fn begins_turn(&self) -> bool {
        &*self.kind == "event_msg" && &*self.payload.kind == "task_started"
    }

    fn is_the_models(&self) -> bool {
        let role = self.payload.role.as_deref();
        &*self.kind == "response_item"
            && match &*self.payload.kind {
                "reasoning" => true,
                "message" => role == Some("assistant"),
                // function_call, custom_tool_call, local_shell_call, web_search_call, …
                kind => kind.ends_with("_call"),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // What 0.169.0 wrote of a turn whose answer began with a call.
    const RECORD: &str = r#"{"timestamp":"2026-11-21T18:51:11.160Z","ordinal":0,"type":"session_meta","payload":{"id":"01a1ff72-b98f-7213-8a0c-6c6f4b1f6b51"}}
{"timestamp":"2026-11-21T18:51:11.177Z","ordinal":1,"type":"event_msg","payload":{"type":"task_started","turn_id":"01a1ff72-b9c4-7c10-9aa1-3b311ccb9ae0"}}
{"timestamp":"2026-11-21T18:51:11.189Z","ordinal":2,"type":"response_item","payload":{"type":"message","role":"developer","content":[]}}
{"timestamp":"2026-11-21T18:51:11.201Z","ordinal":7,"type":"response_item","payload":{"type":"message","role":"user","content":[{"type":"input_text","text":"Work"}]}}
"#;
    const CALL: &str = r#"{"timestamp":"2026-11-21T18:51:11.224Z","ordinal":9,"type":"response_item","payload":{"type":"function_call","status":"completed","name":"exec_command","arguments":"{\"cmd\":\"touch begun\"}","call_id":"call_1"}}"#;
    // 2026-11-21T18:51:11.000Z
    const SINCE: Timestamp = Timestamp::from_millis(1_795_287_071_000);

    #[test]
    fn a_call_shows_that_the_model_has_answered() {
        assert!(!has_answered(RECORD.as_bytes(), SINCE));
        let called = format!("{RECORD}{CALL}\n");
        assert!(has_answered(called.as_bytes(), SINCE));
        let said = CALL.replace(
            r#""type":"function_call""#,
            r#""type":"message","role":"assistant""#,
        );
        assert!(has_answered(format!("{RECORD}{said}").as_bytes(), SINCE));
    }

    #[test]
    fn an_earlier_turns_answer_is_none_to_this_prompt() {
        let earlier = format!("{RECORD}{CALL}\n");
        let later = Timestamp::from_millis(SINCE.millis() + 5_000);
        assert!(!has_answered(earlier.as_bytes(), later));
        let again = RECORD.replace("18:51:11", "18:51:17");
        let both = |last: &str| format!("{earlier}{again}{last}");
        assert!(!has_answered(both("").as_bytes(), later));
        assert!(has_answered(both(CALL).as_bytes(), later));
    }

    #[test]
    fn a_record_that_begins_or_ends_in_the_middle_of_a_line_is_read() {
        let called = format!("{RECORD}{CALL}");
        let whole = called.as_bytes();
        assert!(has_answered(whole.get(9..).unwrap(), SINCE));
        let cut = whole.len() - 4;
        assert!(!has_answered(whole.get(..cut).unwrap(), SINCE));
        assert!(!has_answered(b"\n\n[]\n\xff{", SINCE));
    }
}
