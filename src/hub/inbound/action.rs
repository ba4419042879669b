//! What the Hub's answer to an event asks of us.
//!
//! The actions of one answer are taken together: of `ACK`, `BLOCK` and `RETURN` the last one counts,
//! and a `BLOCK` that stands goes before every `CONFIRM`.

use serde_json::Value;

use super::field;

/// The most that is read of one text, in bytes: it goes into events and prompts.
const MAX_TEXT: usize = 256 * 1024;
/// The most actions of one answer.
const MAX_ACTIONS: usize = 64;

/// The actions of one answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actions {
    /// What it is about must not go on, for this reason.
    pub block: Option<String>,
    /// People who have to consent first, one after the other.
    pub confirm: Vec<Confirm>,
    /// Text for the system prompt of the run that begins.
    pub system_prompts: Vec<SystemPrompt>,
    /// What people should know.
    pub notices: Vec<Notify>,
    /// Lines of status by their keys; none: the line goes.
    pub statuses: Vec<(String, Option<String>)>,
    /// Messages of the user that begin turns.
    pub injected: Vec<String>,
    /// The value of the request: a tool's output, or what the handler of an event gives back.
    pub returned: Option<Value>,
}

/// A question to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirm {
    /// Its first line.
    pub title: String,
    /// What it is about.
    pub message: String,
    /// What the agent is told when they refuse.
    pub deny_reason: Option<String>,
}

/// Text for a system prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemPrompt {
    /// The text.
    pub text: String,
    /// Where it goes.
    pub place: Place,
}

/// Where text goes in a system prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before what is there.
    Before,
    /// Behind it: also without a word of where, since to replace destroys.
    Behind,
    /// In its place.
    Instead,
}

/// Something that people should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// What.
    pub message: String,
    /// `info`, `warning` or `error`.
    pub level: Level,
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Level {
    Info,
    Warning,
    Error,
}

impl Actions {
    /// Whether it is nothing but an acknowledgement.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// What a handler that gave the returned value back would have refused: in Pi, `tool_call` is
    /// answered with `{block: true, reason?}`.
    pub fn refuse_as_returned(&mut self) {
        let Some(value) = &self.returned else { return };
        if value.get("block").and_then(Value::as_bool) == Some(true) {
            let reason = text(value, "reason").unwrap_or_else(refused);
            self.block = Some(reason);
        }
    }

    /// Reads the actions of a response; what is not known is left out.
    pub(super) fn read(frame: &Value) -> Self {
        let mut actions = Self::default();
        let list = frame.get("actions").and_then(Value::as_array);
        for action in list.into_iter().flatten().take(MAX_ACTIONS) {
            actions.take(action);
        }
        actions
    }

    fn take(&mut self, action: &Value) {
        match field(action, "action") {
            Some("ACK") => {
                self.block = None;
                self.returned = None;
                self.system_prompts.clear();
            }
            Some("BLOCK") => {
                let reason = text(action, "reason").unwrap_or_else(refused);
                self.block = Some(reason);
                self.returned = None;
            }
            Some("CONFIRM") => self.confirm.push(Confirm {
                title: text(action, "title").unwrap_or_else(|| "Confirm".to_owned()),
                message: text(action, "message").unwrap_or_default(),
                deny_reason: text(action, "deny_reason"),
            }),
            Some("NOTIFY") => self.notices.extend(notify(action)),
            Some("STATUS") => {
                if let Some(key) = text(action, "key") {
                    self.statuses.push((key, text(action, "text")));
                }
            }
            Some("SYSTEM_PROMPT") => self.system_prompts.extend(system_prompt(action)),
            Some("INJECT_MESSAGE") => self.inject(action),
            Some("RETURN") => {
                self.block = None;
                self.returned = Some(action.get("result").cloned().unwrap_or_default());
            }
            other => tracing::debug!(action = ?other, "an action that is not known"),
        }
    }

    /// A message of the user begins a turn; one of the assistant is shown.
    fn inject(&mut self, action: &Value) {
        let Some(message) = action.get("message") else {
            return;
        };
        let Some(content) = text(message, "content") else {
            return;
        };
        match field(message, "role") {
            Some("user") => self.injected.push(content),
            Some("assistant") => self.notices.push(Notify {
                message: content,
                level: Level::Info,
            }),
            _ => {}
        }
    }
}

fn refused() -> String {
    "the Hub says no".to_owned()
}

fn notify(action: &Value) -> Option<Notify> {
    Some(Notify {
        message: text(action, "message")?,
        level: match field(action, "level") {
            Some("warning") => Level::Warning,
            Some("error") => Level::Error,
            _ => Level::Info,
        },
    })
}

fn system_prompt(action: &Value) -> Option<SystemPrompt> {
    Some(SystemPrompt {
        text: text(action, "systemPrompt")?,
        place: match field(action, "mode") {
            Some("replace") => Place::Instead,
            Some("prefix") => Place::Before,
            _ => Place::Behind,
        },
    })
}

/// A text with something in it, cut to what is read of one.
fn text(value: &Value, name: &str) -> Option<String> {
    let text = field(value, name).filter(|text| !text.trim().is_empty())?;
    let end = text.floor_char_boundary(MAX_TEXT);
    text.get(..end).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(actions: &Value) -> Actions {
        Actions::read(&json!({"id": "1", "actions": actions}))
    }

    #[test]
    fn each_action_is_read_in_the_form_that_the_official_schema_has() {
        let all = read(&json!([
            {"action": "NOTIFY", "message": "mind the gap", "level": "warning"},
            {"action": "STATUS", "key": "k", "text": "busy"},
            {"action": "STATUS", "key": "k"},
            {"action": "SYSTEM_PROMPT", "systemPrompt": "a", "mode": "prefix"},
            {"action": "SYSTEM_PROMPT", "systemPrompt": "b"},
            {"action": "CONFIRM", "title": "T", "message": "M", "deny_reason": "D"},
            {"action": "RETURN", "result": null},
            {"action": "INJECT_MESSAGE", "message": {"role": "user", "content": "go on"}},
            {"action": "INJECT_MESSAGE", "message": {"role": "assistant", "content": "x"}},
            {"action": "BLOCK", "reason": "R"},
            {"action": "FUTURE"},
        ]));
        assert_eq!(all.block.as_deref(), Some("R"));
        assert_eq!(all.confirm[0].deny_reason.as_deref(), Some("D"));
        assert_eq!(all.notices[0].level, Level::Warning);
        assert_eq!(all.notices[1].message, "x");
        assert_eq!(all.statuses[1], ("k".to_owned(), None));
        assert_eq!(all.system_prompts[0].place, Place::Before);
        assert_eq!(all.system_prompts[1].place, Place::Behind);
        assert_eq!(all.injected, ["go on"]);
        assert_eq!(all.returned, None, "a refusal stands in its place");
    }

    #[test]
    fn a_returned_value_counts_as_its_handler_would_have_meant_it() {
        let block = json!({"action": "BLOCK", "reason": "R"});
        let returned = |value: &Value| json!({"action": "RETURN", "result": value});
        let all = read(&json!([block, returned(&json!("x"))]));
        assert_eq!((all.block, all.returned), (None, Some(json!("x"))));
        let mut all = read(&json!([returned(
            &json!({"block": true, "reason": "not now"})
        )]));
        all.refuse_as_returned();
        assert_eq!(all.block.as_deref(), Some("not now"));
        let mut all = read(&json!([returned(&json!({"block": false}))]));
        all.refuse_as_returned();
        assert_eq!(all.block, None);
        assert!(read(&json!([returned(&json!(1)), {"action": "ACK"}])).is_plain());
    }

    #[test]
    fn an_acknowledgement_takes_back_what_was_refused_before_it() {
        let actions = read(&json!([
            {"action": "BLOCK", "reason": "R"},
            {"action": "SYSTEM_PROMPT", "systemPrompt": "a"},
            {"action": "ACK"},
        ]));
        assert!(actions.is_plain());
        assert!(read(&json!([{"action": "ACK"}])).is_plain());
        assert!(read(&json!([])).is_plain());
        assert!(read(&json!("x")).is_plain());
    }
}
