//! What the Hub sends to a lead, parsed once. Unknown frame types are never an error.

use serde::Deserialize;
use serde_json::Value;

use super::protocol::{Init, Rejection};

/// A controller's own name of a command, repeated in the answer as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandId(Value);

/// What a controller wants of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Begin a turn; while one runs it waits its turn.
    Prompt(String),
    /// Begin a turn after the one that runs.
    FollowUp(String),
    /// Interrupt the running turn and go on with this.
    Steer(String),
    /// Interrupt the running turn.
    Abort,
    /// Say how the session stands.
    GetState,
    /// A command of this type that no lead of ours knows.
    Other(String),
}

/// A command with what its answer needs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    pub(super) id: Option<CommandId>,
    /// The command's type, as it came.
    pub(super) name: String,
    /// The command, or why it cannot be taken.
    pub(super) command: Result<Command, String>,
}

/// One frame.
#[derive(Debug)]
pub(super) enum Inbound {
    Init(Box<Init>),
    /// An answer to an event, and messages that it injects.
    Response {
        id: String,
        injected: Vec<String>,
    },
    Command(Request),
    Pong,
    /// `connection_rejected`, `protocol_error` or an error without a type.
    Rejected {
        frame: Refusal,
        said: String,
    },
    /// Anything else.
    Ignored,
}

/// How the Hub says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    ConnectionRejected,
    ProtocolError,
    Error,
}

/// A frame that is no JSON object.
#[derive(Debug, thiserror::Error)]
#[error("a frame of {len} bytes is no JSON object{}{detail}", if .detail.is_empty() { "" } else { ": " })]
pub(super) struct NotAFrame {
    len: usize,
    detail: String,
}

/// An id shorter than this is a place in somebody's count, and another's count has it, too.
const LEAST_UNIQUE: usize = 12;

impl CommandId {
    /// The id, where nobody else would give the same to another command.
    pub(super) fn unique(&self) -> Option<&str> {
        self.0.as_str().filter(|id| id.len() >= LEAST_UNIQUE)
    }

    /// As it goes into the answer.
    pub(super) fn into_value(self) -> Value {
        self.0
    }
}

/// A plain acknowledgement: by far the most frequent frame, with nothing in it but the id.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain<'a> {
    #[serde(borrow)]
    id: &'a str,
    actions: [PlainAction<'a>; 1],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainAction<'a> {
    action: &'a str,
}

/// Reads one text frame.
pub(super) fn decode(text: &str) -> Result<Inbound, NotAFrame> {
    if let Ok(Plain {
        id,
        actions: [only],
    }) = serde_json::from_str(text)
        && only.action == "ACK"
    {
        return Ok(Inbound::Response {
            id: id.to_owned(),
            injected: Vec::new(),
        });
    }
    let bad = |detail: String| NotAFrame {
        len: text.len(),
        detail,
    };
    let frame: Value = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
    if !frame.is_object() {
        return Err(bad(String::new()));
    }
    let inbound = match field(&frame, "type") {
        Some("init") => match serde_json::from_value(frame) {
            Ok(init) => Inbound::Init(Box::new(init)),
            Err(error) => return Err(bad(error.to_string())),
        },
        Some("pong") => Inbound::Pong,
        Some("rpc_command") => frame.get("command").map_or(Inbound::Ignored, command),
        Some("connection_rejected") => rejected(Refusal::ConnectionRejected, frame),
        Some("protocol_error") => rejected(Refusal::ProtocolError, frame),
        Some("response") | None => response(&frame),
        Some(_) => Inbound::Ignored,
    };
    Ok(inbound)
}

fn field<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn rejected(kind: Refusal, frame: Value) -> Inbound {
    let said = serde_json::from_value::<Rejection>(frame).map_or_else(
        |_| "refused".to_owned(),
        |r| format!("{}: {}", r.code, r.message),
    );
    Inbound::Rejected { frame: kind, said }
}

fn response(frame: &Value) -> Inbound {
    if let Some(id) = field(frame, "id") {
        let actions = frame.get("actions").and_then(Value::as_array);
        let injected = actions.into_iter().flatten().filter_map(injected);
        return Inbound::Response {
            id: id.to_owned(),
            injected: injected.collect(),
        };
    }
    match frame.get("error") {
        None | Some(Value::Null | Value::Bool(false)) => Inbound::Ignored,
        Some(error) => {
            let said = error
                .as_str()
                .map_or_else(|| error.to_string(), str::to_owned);
            Inbound::Rejected {
                frame: Refusal::Error,
                said: said.chars().take(500).collect(),
            }
        }
    }
}

/// A user message that an action puts into the session.
fn injected(action: &Value) -> Option<String> {
    let message = action.get("message")?;
    let wanted =
        field(action, "action") == Some("INJECT_MESSAGE") && field(message, "role") == Some("user");
    let text = field(message, "content").filter(|text| wanted && !text.trim().is_empty());
    text.map(str::to_owned)
}

fn command(command: &Value) -> Inbound {
    let name = field(command, "type").unwrap_or_default();
    let parsed = match name {
        "prompt" => match field(command, "streamingBehavior") {
            Some("steer") => text(command).map(Command::Steer),
            Some("followUp") => text(command).map(Command::FollowUp),
            _ => text(command).map(Command::Prompt),
        },
        "follow_up" => text(command).map(Command::FollowUp),
        "steer" => text(command).map(Command::Steer),
        "abort" => Ok(Command::Abort),
        "get_state" => Ok(Command::GetState),
        "" => Err("the command has no type".to_owned()),
        other => Ok(Command::Other(other.to_owned())),
    };
    let id = command.get("id").filter(|id| !id.is_null());
    Inbound::Command(Request {
        id: id.cloned().map(CommandId),
        name: name.to_owned(),
        command: parsed,
    })
}

fn text(command: &Value) -> Result<String, String> {
    let images = command.get("images").and_then(Value::as_array);
    if images.is_some_and(|images| !images.is_empty()) {
        return Err("images are not supported; send the text alone".to_owned());
    }
    let message = field(command, "message").or_else(|| field(command, "text"));
    match message.filter(|text| !text.trim().is_empty()) {
        None => Err("the message is empty".to_owned()),
        Some(text) => Ok(addressed(command, text)),
    }
}

/// A prompt for another agent than the lead names it in its text, as the official lead does.
fn addressed(command: &Value, text: &str) -> String {
    let agent = field(command, "agent").or_else(|| field(command, "targetAgent"));
    match agent.filter(|agent| !agent.is_empty() && *agent != "lead") {
        Some(agent) => format!("@{agent} {text}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Request {
        match decode(&format!(r#"{{"type":"rpc_command","command":{text}}}"#)).unwrap() {
            Inbound::Command(request) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn commands_are_read_in_every_form_that_clients_send() {
        let cases = [
            (
                r#"{"type":"prompt","message":"a"}"#,
                Ok(Command::Prompt("a".into())),
            ),
            (
                r#"{"type":"prompt","text":"a"}"#,
                Ok(Command::Prompt("a".into())),
            ),
            (
                r#"{"type":"prompt","message":"a","targetAgent":"scout","images":[]}"#,
                Ok(Command::Prompt("@scout a".into())),
            ),
            (
                r#"{"type":"prompt","message":"a","streamingBehavior":"steer"}"#,
                Ok(Command::Steer("a".into())),
            ),
            (
                r#"{"type":"follow_up","message":"a"}"#,
                Ok(Command::FollowUp("a".into())),
            ),
            (
                r#"{"type":"steer","message":"a"}"#,
                Ok(Command::Steer("a".into())),
            ),
            (r#"{"type":"abort"}"#, Ok(Command::Abort)),
            (r#"{"type":"get_state","id":"q1"}"#, Ok(Command::GetState)),
            (
                r#"{"type":"compact"}"#,
                Ok(Command::Other("compact".into())),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(request(text).command, expected, "{text}");
        }
        let bad = [
            r#"{"type":"prompt","message":" "}"#,
            r#"{"type":"steer"}"#,
            r#"{"type":"prompt","message":"a","images":["x"]}"#,
            "{}",
            "7",
        ];
        for text in bad {
            assert!(request(text).command.is_err(), "{text}");
        }
        let id = request(r#"{"type":"abort","id":7}"#).id.unwrap();
        assert_eq!(id.into_value(), 7);
    }

    #[test]
    fn unknown_frames_are_ignored_and_what_is_no_object_is_not() {
        for text in [
            r#"{"type":"future","x":[1]}"#,
            "{}",
            r#"{"type":"presence"}"#,
        ] {
            assert!(matches!(decode(text), Ok(Inbound::Ignored)), "{text}");
        }
        let deep = "[".repeat(100_000);
        for text in ["", "[]", "null", "{", deep.as_str(), r#"{"type":"init"}"#] {
            assert!(decode(text).is_err());
        }
    }

    #[test]
    fn refusals_and_answers_are_told_apart() {
        let rejected = decode(r#"{"error":"auth"}"#).unwrap();
        assert!(matches!(
            rejected,
            Inbound::Rejected {
                frame: Refusal::Error,
                ..
            }
        ));
        let answer = r#"{"id":"1","actions":[{"action":"ACK"},
            {"action":"INJECT_MESSAGE","message":{"role":"user","content":"go on"}},
            {"action":"INJECT_MESSAGE","message":{"role":"assistant","content":"x"}}]}"#;
        match decode(answer).unwrap() {
            Inbound::Response { id, injected } => {
                assert_eq!((id.as_str(), injected), ("1", vec!["go on".to_owned()]));
            }
            other => panic!("{other:?}"),
        }
    }
}
