//! A controller's frames: what is said, as JSON; what is heard, parsed once. Pure.

use serde_json::{Map, Value, json};

use super::{Heard, History};

/// What a person wants of the lead.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// Begin a turn; while one runs, it waits.
    Prompt(String),
    /// Hear this in the middle of the turn that runs.
    Steer(String),
    /// Interrupt the turn that runs.
    Abort,
    /// The answer to a question of the lead's.
    Answer {
        /// The question's id.
        id: String,
        /// What its method wants: a boolean, a text, or null for none.
        result: Value,
    },
}

/// A question of the lead's (`rpc_ui_request`).
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// By which it is answered.
    pub id: String,
    /// `confirm`, `select`, `input`, `editor`, or something that wants no answer.
    pub method: String,
    /// What the method needs.
    pub params: Map<String, Value>,
}

impl Said {
    /// As a frame; `id` names a command in its answer.
    pub(super) fn frame(&self, id: &str) -> String {
        let command = |kind: &str, message: Option<&str>| {
            let mut command = json!({"type": kind, "id": id});
            if let (Some(message), Some(fields)) = (message, command.as_object_mut()) {
                fields.insert("message".to_owned(), message.into());
            }
            json!({"type": "rpc_command", "command": command})
        };
        let frame = match self {
            Self::Prompt(text) => command("prompt", Some(text)),
            Self::Steer(text) => command("steer", Some(text)),
            Self::Abort => command("abort", None),
            Self::Answer { id, result } => {
                json!({"type": "rpc_ui_response", "id": id, "result": result})
            }
        };
        frame.to_string()
    }
}

/// A frame from the Hub.
#[derive(Debug, PartialEq)]
pub(super) enum Inbound {
    /// We are let in.
    Init,
    /// Something to show.
    Heard(Heard),
    /// Before `init`: we are not let in.
    Refused(String),
    /// Anything else.
    Ignored,
}

/// Parses a frame; what is not known is no error.
pub(super) fn decode(text: &str) -> Inbound {
    let Ok(Value::Object(mut frame)) = serde_json::from_str(text) else {
        return Inbound::Ignored;
    };
    let Some(kind) = text_of(&frame, "type") else {
        // What a failed authentication looks like.
        return match frame.get("error") {
            Some(error) if !error.is_null() => Inbound::Refused(plain(error)),
            _ => Inbound::Ignored,
        };
    };
    match kind.as_str() {
        "init" => Inbound::Init,
        "connection_rejected" | "protocol_error" => {
            Inbound::Refused(text_of(&frame, "message").unwrap_or(kind))
        }
        "session_hydration" => Inbound::Heard(Heard::History(history(&mut frame))),
        "broadcast" => broadcast(&mut frame),
        "presence" => presence(&frame),
        "rpc_command_error" => {
            let why = text_of(&frame, "error").unwrap_or_default();
            Inbound::Heard(Heard::Refused(why))
        }
        // A raw `rpc_event` is history, which the hydration holds already.
        _ => Inbound::Ignored,
    }
}

fn history(frame: &mut Map<String, Value>) -> History {
    let entries = match frame.remove("entries") {
        Some(Value::Array(entries)) => entries,
        _ => Vec::new(),
    };
    let streaming = frame.get("streamingState");
    let streaming = streaming.and_then(|state| state.get("isStreaming"));
    History {
        label: text_of(frame, "label"),
        task: text_of(frame, "task"),
        entries,
        // A Hub that does not say so has one.
        is_led: frame.get("leadConnected") != Some(&Value::Bool(false)),
        is_busy: streaming == Some(&Value::Bool(true)),
    }
}

fn broadcast(frame: &mut Map<String, Value>) -> Inbound {
    let Some(name) = text_of(frame, "event") else {
        return Inbound::Ignored;
    };
    let mut data = frame.remove("data").unwrap_or_default();
    let at = frame.get("timestamp").and_then(Value::as_u64).unwrap_or(0);
    let heard = match name.as_str() {
        "rpc_response" => {
            let response = data.get("response").cloned().unwrap_or_default();
            if response.get("success") != Some(&Value::Bool(false)) {
                return Inbound::Ignored;
            }
            let text = |key| response.get(key).map(plain).unwrap_or_default();
            Heard::Refused(format!("{}: {}", text("command"), text("error")))
        }
        "rpc_ui_request" => {
            let field = |key| data.get(key).and_then(Value::as_str).map(str::to_owned);
            let (Some(id), Some(method)) = (field("id"), field("method")) else {
                return Inbound::Ignored;
            };
            let params = match data.get_mut("params").map(Value::take) {
                Some(Value::Object(params)) => params,
                _ => Map::new(),
            };
            Heard::Asked(Asked { id, method, params })
        }
        "rpc_event" => {
            let event = data.get_mut("event").map(Value::take).unwrap_or_default();
            let Some(name) = event.get("type").and_then(Value::as_str) else {
                return Inbound::Ignored;
            };
            Heard::Event {
                name: name.to_owned(),
                data: event,
                at,
            }
        }
        _ => Heard::Event { name, data, at },
    };
    Inbound::Heard(heard)
}

fn presence(frame: &Map<String, Value>) -> Inbound {
    let role = frame.get("participant").and_then(|who| who.get("role"));
    if role.and_then(Value::as_str) != Some("lead") {
        return Inbound::Ignored;
    }
    match text_of(frame, "event").as_deref() {
        Some("session_join") => Inbound::Heard(Heard::LeadCame),
        Some("session_leave") => Inbound::Heard(Heard::LeadLeft),
        _ => Inbound::Ignored,
    }
}

fn text_of(frame: &Map<String, Value>, key: &str) -> Option<String> {
    frame.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_has_the_public_clients_shapes() {
        let frame = |said: Said| serde_json::from_str::<Value>(&said.frame("c1")).unwrap();
        assert_eq!(
            frame(Said::Steer("stop".to_owned())),
            json!({"type": "rpc_command",
                   "command": {"type": "steer", "id": "c1", "message": "stop"}})
        );
        let answer = Said::Answer {
            id: "u1".to_owned(),
            result: Value::Null,
        };
        assert_eq!(
            frame(answer),
            json!({"type": "rpc_ui_response", "id": "u1", "result": null})
        );
    }

    #[test]
    fn history_events_questions_and_refusals_are_told_apart() {
        let text = r#"{"type":"session_hydration","sessionId":"s","entries":[{"type":"message"}],
            "label":"L","leadConnected":false,"streamingState":{"isStreaming":true}}"#;
        let Inbound::Heard(Heard::History(history)) = decode(text) else {
            panic!("no history");
        };
        assert_eq!((history.is_led, history.is_busy), (false, true));
        assert_eq!(history.entries.len(), 1);
        let asked = r#"{"type":"broadcast","event":"rpc_ui_request","data":
            {"id":"u1","method":"confirm","params":{"title":"T"}}}"#;
        assert!(matches!(
            decode(asked),
            Inbound::Heard(Heard::Asked(Asked { id, .. })) if id == "u1"
        ));
        let refused = r#"{"type":"broadcast","event":"rpc_response","data":
            {"response":{"command":"steer","success":false,"error":"nothing runs"}}}"#;
        let refused = decode(refused);
        assert_eq!(
            refused,
            Inbound::Heard(Heard::Refused("steer: nothing runs".to_owned()))
        );
        let came = r#"{"type":"presence","event":"session_join","participant":{"role":"lead"}}"#;
        assert_eq!(decode(came), Inbound::Heard(Heard::LeadCame));
    }

    #[test]
    fn odd_frames_are_ignored() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"type":5}"#,
            r#"{"type":"broadcast"}"#,
            r#"{"type":"broadcast","event":"rpc_ui_request","data":{"id":1}}"#,
            r#"{"type":"future","x":1}"#,
            r#"{"type":"presence","event":"session_join","participant":{"role":"observer"}}"#,
        ] {
            assert_eq!(decode(text), Inbound::Ignored, "{text}");
        }
    }
}
