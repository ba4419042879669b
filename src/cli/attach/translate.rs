//! A Hub's events and history in our own events, for the transcript that `run` shows. Pure.
//!
//! The shapes are Pi's, from any lead: what does not have them gives nothing.

use serde_json::Value;

use crate::event::{Event, NoticeLevel, Outcome, TurnError, Usage};

/// Follows one lead's events.
#[derive(Debug, Default)]
pub(super) struct Translator {
    /// The open message has shown text; its end then needs not to.
    streamed: bool,
    usage: Usage,
    /// What the last answer ended with.
    failure: Option<TurnError>,
    aborted: bool,
}

impl Translator {
    /// What an event says.
    pub(super) fn event(&mut self, name: &str, data: &Value) -> Vec<Event> {
        let text = |key: &str| text(data, key);
        match name {
            "agent_start" => {
                *self = Self::default();
                Vec::new()
            }
            "message_start" => {
                self.streamed = false;
                Vec::new()
            }
            "message_update" => self.delta(data).into_iter().collect(),
            "message_end" => self.message(data.get("message").unwrap_or(&Value::Null)),
            "tool_execution_start" => vec![call(data, "args")],
            "tool_execution_end" => {
                let result = data.get("result").unwrap_or(&Value::Null);
                vec![result_of(
                    data,
                    plain(result.get("content")),
                    result.get("details"),
                )]
            }
            "agent_end" => self.end(),
            "session_error" => {
                let why = text("error").or_else(|| text("message"));
                vec![notice(NoticeLevel::Error, why.unwrap_or_default())]
            }
            "session_label_updated" => {
                let label = text("label").unwrap_or_default();
                vec![notice(
                    NoticeLevel::Info,
                    &format!("this session is now called {label}"),
                )]
            }
            "task_start" | "task_complete" | "task_error" => {
                let agent = text("agent").unwrap_or("an agent");
                let did = match name {
                    "task_start" => "begins",
                    "task_complete" => "is done",
                    _ => "has failed",
                };
                vec![notice(NoticeLevel::Info, &format!("{agent} {did}"))]
            }
            _ => Vec::new(),
        }
    }

    fn delta(&mut self, data: &Value) -> Option<Event> {
        let event = data.get("assistantMessageEvent")?;
        let text = text(event, "delta")?.to_owned();
        // A sub-agent's words are not the answer.
        let nested = self::text(data, "taskId").map(str::to_owned);
        match self::text(event, "type")? {
            "text_delta" => {
                self.streamed |= nested.is_none();
                Some(Event::Token {
                    text,
                    message_id: None,
                    parent_call_id: nested,
                })
            }
            "thinking_delta" => Some(Event::Thinking {
                text,
                message_id: None,
                parent_call_id: nested,
            }),
            _ => None,
        }
    }

    fn message(&mut self, message: &Value) -> Vec<Event> {
        match text(message, "role") {
            Some("user") => vec![prompt(message)],
            Some("assistant") => {
                self.count(message);
                let answer = plain(message.get("content"));
                let mut events = Vec::new();
                if !self.streamed && !answer.is_empty() {
                    events.push(token(answer));
                }
                if self.streamed || !events.is_empty() {
                    events.push(token("\n".to_owned()));
                }
                self.streamed = false;
                events
            }
            _ => Vec::new(),
        }
    }

    fn count(&mut self, message: &Value) {
        let usage = message.get("usage").unwrap_or(&Value::Null);
        let number = |key: &str| usage.get(key).and_then(Value::as_u64).unwrap_or(0);
        self.usage.input_tokens += number("input");
        self.usage.output_tokens += number("output");
        self.usage.cache_read_tokens += number("cacheRead");
        self.usage.cache_write_tokens += number("cacheWrite");
        let cost = usage.get("cost").and_then(|cost| cost.get("total"));
        if let Some(cost) = cost.and_then(Value::as_f64).filter(|cost| *cost > 0.0) {
            *self.usage.cost_usd.get_or_insert(0.0) += cost;
        }
        self.aborted = text(message, "stopReason") == Some("aborted");
        let failed = text(message, "stopReason") == Some("error");
        let why = text(message, "errorMessage").unwrap_or("the agent gave no reason");
        self.failure = failed.then(|| TurnError::new(crate::event::ErrorClass::Unknown, why));
    }

    fn end(&mut self) -> Vec<Event> {
        let last = std::mem::take(self);
        let outcome = match &last.failure {
            _ if last.aborted => Outcome::Cancelled,
            Some(_) => Outcome::Failed,
            None => Outcome::Completed,
        };
        let end = Event::End {
            outcome,
            error: last.failure,
            duration_ms: None,
        };
        let told = last.usage.input_tokens + last.usage.output_tokens > 0;
        let usage = told.then_some(Event::Usage(last.usage));
        usage.into_iter().chain([end]).collect()
    }
}

/// What an entry of the history says.
pub(super) fn entry(entry: &Value) -> Vec<Event> {
    let content = || plain(entry.get("content"));
    match text(entry, "type") {
        Some("user_prompt") => vec![prompt(entry)],
        Some("message") if entry.get("isError") == Some(&Value::Bool(true)) => {
            vec![notice(NoticeLevel::Error, &content())]
        }
        Some("message") => vec![token(content() + "\n")],
        Some("thinking") => vec![Event::Thinking {
            text: content() + "\n",
            message_id: None,
            parent_call_id: None,
        }],
        Some("tool_call") => vec![call(entry, "toolArgs")],
        Some("tool_result") => vec![result_of(entry, content(), None)],
        Some(_) => {
            let text = content();
            (!text.is_empty())
                .then(|| notice(NoticeLevel::Info, &text))
                .into_iter()
                .collect()
        }
        None => Vec::new(),
    }
}

fn call(data: &Value, arguments: &str) -> Event {
    let name = text(data, "toolName").unwrap_or("tool");
    let mut input = data.get(arguments).cloned().unwrap_or_default();
    // Viewers' names of files, in our own words.
    if let Some(fields) = input.as_object_mut()
        && let Some(path) = fields.remove("path")
    {
        fields.entry("file_path").or_insert(path);
    }
    Event::ToolStart {
        call_id: text(data, "toolCallId").unwrap_or_default().to_owned(),
        name: own_name(name).to_owned(),
        native_name: name.to_owned(),
        input,
        parent_call_id: text(data, "taskId").map(str::to_owned),
    }
}

fn result_of(data: &Value, output: String, details: Option<&Value>) -> Event {
    let number = |key: &str| details.and_then(|details| details.get(key)?.as_i64());
    let name = text(data, "toolName").unwrap_or("tool");
    Event::ToolEnd {
        call_id: text(data, "toolCallId").unwrap_or_default().to_owned(),
        name: own_name(name).to_owned(),
        output: Some(output),
        is_error: data.get("isError") == Some(&Value::Bool(true)),
        exit_code: number("exitCode").and_then(|code| i32::try_from(code).ok()),
        duration_ms: number("duration").and_then(|ms| u64::try_from(ms).ok()),
    }
}

fn own_name(name: &str) -> &str {
    match name {
        "bash" => "shell",
        "find" => "glob",
        "ls" => "list",
        other => other,
    }
}

/// What somebody asked, and who, where the Hub or the lead knows.
fn prompt(message: &Value) -> Event {
    let author = message.get("author");
    let name = author.and_then(|author| {
        let named = |key: &str| text(author, key).filter(|name| !name.is_empty());
        named("displayName").or_else(|| named("email"))
    });
    Event::Prompt {
        text: plain(message.get("content")),
        prompt_id: None,
        author: name.map(str::to_owned),
        images: Vec::new(),
    }
}

fn token(text: String) -> Event {
    Event::Token {
        text,
        message_id: None,
        parent_call_id: None,
    }
}

pub(super) fn notice(level: NoticeLevel, text: &str) -> Event {
    Event::Notice {
        level,
        code: "hub".to_owned(),
        text: text.to_owned(),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

/// The text of a content: a string, or blocks of which the text counts.
fn plain(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(blocks)) => {
            let texts: Vec<_> = blocks
                .iter()
                .filter_map(|block| text(block, "text"))
                .collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(events: &[(&str, Value)]) -> Vec<Event> {
        let mut translator = Translator::default();
        let each = events.iter();
        each.flat_map(|(name, data)| translator.event(name, data))
            .collect()
    }

    fn answer(stop: &str) -> Value {
        json!({"message": {"role": "assistant", "stopReason": stop,
            "content": [{"type": "text", "text": "Done."}], "errorMessage": "overloaded",
            "usage": {"input": 7, "output": 2, "cost": {"total": 0.5}}}})
    }

    #[test]
    fn streamed_text_is_told_once_and_unstreamed_text_at_the_end() {
        let delta = json!({"assistantMessageEvent": {"type": "text_delta", "delta": "Done."}});
        let start = ("message_start", json!({}));
        let end = ("message_end", answer("stop"));
        let streamed = told(&[start.clone(), ("message_update", delta), end.clone()]);
        let whole = told(&[start, end]);
        let expected = [token("Done.".to_owned()), token("\n".to_owned())];
        assert_eq!(streamed, expected);
        assert_eq!(whole, expected);
    }

    #[test]
    fn the_end_says_how_it_went_and_what_it_took() {
        for (stop, outcome) in [
            ("stop", Outcome::Completed),
            ("aborted", Outcome::Cancelled),
            ("error", Outcome::Failed),
        ] {
            let events = told(&[("message_end", answer(stop)), ("agent_end", json!({}))]);
            let Some(Event::End {
                outcome: told,
                error,
                ..
            }) = events.last()
            else {
                panic!("{events:?}");
            };
            assert_eq!(*told, outcome);
            assert_eq!(error.is_some(), stop == "error");
            assert!(events.iter().any(|event| matches!(
                event,
                Event::Usage(usage) if usage.input_tokens == 7 && usage.cost_usd == Some(0.5)
            )));
        }
    }

    #[test]
    fn tools_have_our_names_in_history_and_live() {
        let live = told(&[(
            "tool_execution_start",
            json!({"toolCallId": "1", "toolName": "bash", "args": {"command": "ls"}}),
        )]);
        let past = entry(
            &json!({"type": "tool_call", "toolCallId": "1", "toolName": "bash",
            "toolArgs": {"command": "ls"}}),
        );
        assert_eq!(live, past);
        assert!(matches!(&live[0], Event::ToolStart { name, .. } if name == "shell"));
        let odd = told(&[
            ("message_update", json!(5)),
            ("message_end", json!({})),
            ("x", json!([])),
        ]);
        assert_eq!(odd, []);
        assert_eq!(entry(&json!({"type": 5})), []);
    }
}
