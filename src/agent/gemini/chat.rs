//! Gemini CLI's own record of a conversation, `session-….jsonl` (0.61.0, both forms): what it still
//! knows of it.
//!
//! A message a line, appended as it comes. When the CLI is interrupted while its model is asked, also
//! about what follows on a call, it takes the whole prompt out of the conversation, with all that came
//! of it, and appends the messages that are left (`$set`). It does so before it answers the interrupt.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::agent::json::Text;
use crate::agent::{ConversationFile, Homes};

/// A line, as far as it matters.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    timestamp: Option<Text<'a>>,
    content: Option<&'a RawValue>,
    #[serde(borrow, rename = "$set")]
    set: Option<Set<'a>>,
}

#[derive(Deserialize)]
struct Set<'a> {
    #[serde(borrow)]
    messages: Option<Vec<Message<'a>>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    timestamp: Text<'a>,
    content: Option<&'a RawValue>,
}

/// How the CLI's own account of where it works begins, which is put before what the user says.
const CONTEXT: &str = r#"[{"text":"<session_context>"#;

/// Where the record of a conversation is; nowhere for an id that is none of the CLI's.
pub(super) fn file(homes: &Homes<'_>, id: &str) -> Option<ConversationFile> {
    let short = id.get(..8)?;
    let is_plain = short.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_plain.then(|| ConversationFile {
        folder: homes.home.join(".gemini/tmp"),
        depth: 2,
        name_end: format!("-{short}.jsonl"),
    })
}

/// When the user said the last that the conversation still has, as ISO 8601 text; empty where
/// nothing is left of it. None where nobody has said anything in it yet, as far as this shows.
pub(super) fn last_said(record: &[u8]) -> Option<String> {
    let lines = record.split(|byte| *byte == b'\n');
    let lines = lines.filter_map(|line| serde_json::from_slice::<Line<'_>>(line).ok());
    let mut last = None;
    for line in lines {
        if let Some(left) = line.set.and_then(|set| set.messages) {
            let mut users = left.iter().rev();
            let said = users.find(|left| is_the_users(Some(&left.kind), left.content));
            let said = said.map(|message| message.timestamp.to_string());
            last = said.or(last.map(|_| String::new()));
        } else if let (true, Some(at)) = (
            is_the_users(line.kind.as_deref(), line.content),
            line.timestamp,
        ) {
            last = Some(at.to_string());
        }
    }
    last
}

fn is_the_users(kind: Option<&str>, content: Option<&RawValue>) -> bool {
    kind == Some("user") && !content.is_some_and(|content| content.get().starts_with(CONTEXT))
}

#[cfg(test)]
mod tests {
    use super::*;

    // What 0.61.0 wrote, shortened.
    const BEGUN: &str = r#"{"sessionId":"0b3a1d52-8d1c-4d3a-9d55-0f0c5a1c2a11","projectHash":"x","startTime":"2026-11-21T18:51:10.000Z","lastUpdated":"2026-11-21T18:51:10.000Z","kind":"main"}
{"$set":{"messages":[{"id":"d04923d38bb0f6017037e74183378ef4","timestamp":"2026-11-21T18:51:10.090Z","type":"user","content":[{"text":"<session_context>\nThis is the Gemini CLI."}]}]}}
"#;
    const SAID: &str = r#"{"id":"u1","timestamp":"2026-11-21T18:51:11.000Z","type":"user","content":[{"text":"Work"}]}
{"$set":{"lastUpdated":"2026-11-21T18:51:11.001Z"}}
{"id":"g1","timestamp":"2026-11-21T18:51:12.000Z","type":"gemini","content":"I work."}
"#;
    const AGAIN: &str = r#"{"id":"u2","timestamp":"2026-11-21T18:51:13.000Z","type":"user","content":[{"text":"More"}]}
"#;

    fn last(parts: &[&str]) -> Option<String> {
        last_said(parts.concat().as_bytes())
    }

    #[test]
    fn what_is_taken_out_of_the_conversation_is_no_longer_known() {
        assert_eq!(last(&[BEGUN]), None);
        assert_eq!(last(&[BEGUN, SAID]).unwrap(), "2026-11-21T18:51:11.000Z");
        assert_eq!(
            last(&[BEGUN, SAID, AGAIN]).unwrap(),
            "2026-11-21T18:51:13.000Z"
        );
        let left = r#"{"$set":{"messages":[{"id":"d04923d38bb0f6017037e74183378ef4","timestamp":"2026-11-21T18:51:10.090Z","type":"user","content":[{"text":"<session_context>\nThis is the Gemini CLI."}]},{"id":"u1","timestamp":"2026-11-21T18:51:11.000Z","type":"user","content":[]},{"id":"g1","timestamp":"2026-11-21T18:51:12.000Z","type":"gemini","content":""}]}}
"#;
        assert_eq!(
            last(&[BEGUN, SAID, AGAIN, left]).unwrap(),
            "2026-11-21T18:51:11.000Z"
        );
        let (_, none) = BEGUN.split_once('\n').unwrap();
        assert_eq!(last(&[BEGUN, SAID, none]).unwrap(), "");
        let goes_on = last(&[BEGUN, SAID, none, AGAIN]);
        assert_eq!(goes_on.unwrap(), "2026-11-21T18:51:13.000Z");
    }

    #[test]
    fn what_is_no_such_record_says_nothing() {
        assert_eq!(last(&["\n[]\n\u{0}{", "{\"type\":\"user\"}\n"]), None);
    }
}
