//! What the Hub sends to a lead, parsed once. Unknown frame types are never an error.

mod action;
mod attachments;
mod command;

use serde::Deserialize;
use serde_json::Value;

use super::protocol::{Init, Rejection, Role};

pub use action::{Actions, Confirm, Level, Notify, Place, SystemPrompt};
pub(super) use command::Request;
pub use command::{Command, CommandId, Said};

/// The longest name of a session that is taken, in characters.
const MAX_LABEL: usize = 256;

/// One frame.
#[derive(Debug)]
pub(super) enum Inbound {
    Init(Box<Init>),
    /// An answer to an event.
    Response {
        id: String,
        actions: Actions,
    },
    Command(Request),
    /// A controller's answer to a question; null where it has none.
    UiResponse {
        id: String,
        result: Value,
    },
    /// Somebody of this role has joined the session.
    Joined(Role),
    /// The session has another name.
    Renamed(String),
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
            actions: Actions::default(),
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
        Some("rpc_command") => match frame.get("command") {
            Some(command) => Inbound::Command(Request::read(command)),
            None => Inbound::Ignored,
        },
        Some("rpc_ui_response") => match field(&frame, "id") {
            Some(id) => Inbound::UiResponse {
                id: id.to_owned(),
                result: frame.get("result").cloned().unwrap_or_default(),
            },
            None => Inbound::Ignored,
        },
        Some("broadcast") => broadcast(&frame),
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
        return Inbound::Response {
            id: id.to_owned(),
            actions: Actions::read(frame),
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

/// What others hear as well: of interest are who has joined, and the session's name.
fn broadcast(frame: &Value) -> Inbound {
    match field(frame, "event") {
        Some("session_join") => joined(frame),
        Some("session_label_updated") => {
            let label = frame.pointer("/data/label").and_then(Value::as_str);
            let label = label.map(str::trim).filter(|label| !label.is_empty());
            let cut = |label: &str| label.chars().take(MAX_LABEL).collect();
            label.map_or(Inbound::Ignored, |label| Inbound::Renamed(cut(label)))
        }
        _ => Inbound::Ignored,
    }
}

fn joined(frame: &Value) -> Inbound {
    let role = frame.pointer("/data/participant/role").cloned();
    match role.map(serde_json::from_value) {
        Some(Ok(role)) => Inbound::Joined(role),
        _ => Inbound::Ignored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            {"action":"BLOCK","reason":"no"}]}"#;
        match decode(answer).unwrap() {
            Inbound::Response { id, actions } => {
                assert_eq!(
                    (id.as_str(), actions.injected),
                    ("1", vec!["go on".to_owned()])
                );
                assert_eq!(actions.block.as_deref(), Some("no"));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn answers_of_people_and_who_comes_are_read() {
        let answer = decode(r#"{"type":"rpc_ui_response","id":"u1","result":true}"#).unwrap();
        assert!(
            matches!(answer, Inbound::UiResponse { id, result } if id == "u1" && result == true)
        );
        let none = decode(r#"{"type":"rpc_ui_response","id":"u1"}"#).unwrap();
        assert!(matches!(
            none,
            Inbound::UiResponse {
                result: Value::Null,
                ..
            }
        ));
        let join = r#"{"type":"broadcast","event":"session_join","category":"session","sessionId":"s",
            "timestamp":1,"data":{"participant":{"id":"p","role":"controller"}}}"#;
        assert!(matches!(
            decode(join).unwrap(),
            Inbound::Joined(Role::Controller)
        ));
        let named =
            r#"{"type":"broadcast","event":"session_label_updated","data":{"label":" B "}}"#;
        assert!(matches!(decode(named).unwrap(), Inbound::Renamed(label) if label == "B"));
    }
}
