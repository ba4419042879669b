//! What an agent is doing, as its events tell. Pure.
//!
//! ```text
//! starting ──first record──► model ◄──────► tool (the newest that is open)
//!                              │ ▲
//!            a request failed ─┘ └─ anything else of the agent's
//!                          retrying
//! ```
//!
//! A question to a person counts before all else. The adapter alone knows of background work and
//! of the end ([`Doing::Background`], [`Doing::Finished`]): they are not told here.

use std::fmt;

use crate::event::Event;

/// What an agent is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Doing {
    /// The process has not said anything yet.
    #[default]
    Starting,
    /// It waits for the model, or the model answers.
    Model,
    /// It runs this tool.
    Tool(String),
    /// It waits for a person's answer.
    Asking,
    /// A request to the model failed and will be sent again, not before that time (milliseconds
    /// since the epoch) where the vendor names one.
    Retrying(Option<u64>),
    /// It has answered, and background work that it began is open.
    Background,
    /// It has said its last.
    Finished,
}

impl Doing {
    /// One word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Model => "model",
            Self::Tool(_) => "tool",
            Self::Asking => "asking",
            Self::Retrying(_) => "retrying",
            Self::Background => "background",
            Self::Finished => "finished",
        }
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("while it was starting"),
            Self::Model => f.write_str("while it waited for the model"),
            Self::Tool(name) => write!(f, "while it ran a tool ({name})"),
            Self::Asking => f.write_str("while it waited for an answer"),
            Self::Retrying(_) => f.write_str("after a request to the model had failed"),
            Self::Background => f.write_str("while background work was open"),
            Self::Finished => f.write_str("after its last word"),
        }
    }
}

/// An attempt's events so far, as far as they show what the agent is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Activity {
    began: bool,
    /// Calls without an end, by id, with the tool's name.
    calls: Vec<(String, String)>,
    /// Questions without an answer.
    asked: Vec<String>,
    /// The last request failed.
    retrying: Option<Retry>,
}

/// When a request that failed is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retry {
    Soon,
    NotBefore(u64),
}

/// The most open calls, or questions, that are kept; of more the older are forgotten.
const OPEN: usize = 64;

impl Activity {
    /// Takes the attempt's next event.
    pub fn event(&mut self, event: &Event) {
        match event {
            // The runner's own, or no sign of the agent's work.
            Event::Prompt { .. }
            | Event::Setup { .. }
            | Event::Checkpoint { .. }
            | Event::Report { .. }
            | Event::Gap { .. }
            | Event::Raw { .. }
            | Event::AgentCrashed { .. }
            | Event::End { .. } => return,
            Event::Notice { code, .. } => {
                if code == "api_retry" {
                    self.began = true;
                    self.retrying.get_or_insert(Retry::Soon);
                }
                return;
            }
            Event::RateLimit {
                status, resets_at, ..
            } => {
                // "allowed" and "allowed_warning" let the request through.
                if !status.starts_with("allowed") {
                    self.retrying = Some(resets_at.map_or(Retry::Soon, Retry::NotBefore));
                }
                self.began = true;
                return;
            }
            Event::ToolStart { call_id, name, .. } => {
                push(&mut self.calls, (call_id.clone(), name.clone()));
            }
            Event::ToolEnd { call_id, .. } => self.calls.retain(|(id, _)| id != call_id),
            Event::PermissionRequest { request_id, .. } => {
                push(&mut self.asked, request_id.clone());
            }
            Event::PermissionResponse { request_id, .. } => {
                self.asked.retain(|id| id != request_id);
            }
            Event::Session { .. }
            | Event::Token { .. }
            | Event::Thinking { .. }
            | Event::TextRetracted { .. }
            | Event::ToolDelta { .. }
            | Event::FileChange { .. }
            | Event::Plan { .. }
            | Event::Context { .. }
            | Event::Compaction { .. }
            | Event::Usage(_) => {}
        }
        self.began = true;
        self.retrying = None;
    }

    /// What the agent is doing now.
    pub fn doing(&self) -> Doing {
        match (self.asked.last(), self.retrying, self.calls.last()) {
            (Some(_), ..) => Doing::Asking,
            (None, Some(Retry::Soon), _) => Doing::Retrying(None),
            (None, Some(Retry::NotBefore(until)), _) => Doing::Retrying(Some(until)),
            (None, None, Some((_, name))) => Doing::Tool(name.clone()),
            (None, None, None) if self.began => Doing::Model,
            (None, None, None) => Doing::Starting,
        }
    }
}

fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() >= OPEN {
        list.remove(0);
    }
    list.push(item);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::NoticeLevel;

    fn session() -> Event {
        Event::Session {
            id: "s".to_owned(),
            model: None,
            cwd: None,
            tools: None,
            at_work: false,
        }
    }

    fn token() -> Event {
        Event::Token {
            text: "x".to_owned(),
            message_id: None,
            parent_call_id: None,
        }
    }

    fn started(id: &str, name: &str) -> Event {
        Event::ToolStart {
            call_id: id.to_owned(),
            name: name.to_owned(),
            native_name: name.to_owned(),
            input: json!({}),
            parent_call_id: None,
        }
    }

    fn ended(id: &str) -> Event {
        Event::ToolEnd {
            call_id: id.to_owned(),
            name: "any".to_owned(),
            output: None,
            is_error: false,
            exit_code: None,
            duration_ms: None,
        }
    }

    fn notice(code: &str) -> Event {
        Event::Notice {
            level: NoticeLevel::Warning,
            code: code.to_owned(),
            text: String::new(),
        }
    }

    fn limit(status: &str, resets_at: Option<u64>) -> Event {
        Event::RateLimit {
            status: status.to_owned(),
            resets_at,
            window: None,
        }
    }

    fn asks(id: &str) -> Event {
        Event::PermissionRequest {
            request_id: id.to_owned(),
            call_id: None,
            tool: "shell".to_owned(),
            input: json!({}),
            options: Vec::new(),
        }
    }

    fn answers(id: &str) -> Event {
        Event::PermissionResponse {
            request_id: id.to_owned(),
            decision: "allow".to_owned(),
            by: "user".to_owned(),
        }
    }

    #[test]
    fn each_event_moves_the_agent_to_what_it_is_doing() {
        let tool = |name: &str| Doing::Tool(name.to_owned());
        let mut activity = Activity::default();
        assert_eq!(activity.doing(), Doing::Starting);
        for (event, doing) in [
            (notice("resume_lost"), Doing::Starting),
            (session(), Doing::Model),
            (started("a", "task"), tool("task")),
            (started("b", "shell"), tool("shell")),
            (token(), tool("shell")),
            (ended("b"), tool("task")),
            (asks("q"), Doing::Asking),
            (token(), Doing::Asking),
            (answers("q"), tool("task")),
            (ended("a"), Doing::Model),
            (limit("allowed_warning", Some(9)), Doing::Model),
            (notice("api_retry"), Doing::Retrying(None)),
            (limit("rejected", Some(9)), Doing::Retrying(Some(9))),
            (notice("api_retry"), Doing::Retrying(Some(9))),
            (token(), Doing::Model),
        ] {
            activity.event(&event);
            assert_eq!(activity.doing(), doing, "{event:?}");
        }
    }

    #[test]
    fn calls_that_never_end_take_no_more_than_their_share() {
        let mut activity = Activity::default();
        for number in 0..10_000 {
            activity.event(&started(&number.to_string(), "shell"));
        }
        assert_eq!(activity.calls.len(), OPEN);
    }
}
