//! The texts that the Hub sends, each built once and shared by all who get it.
//!
//! A lead's `data` is put into its envelope byte for byte: it is never parsed into a tree and
//! written again, so viewers get exactly what the lead wrote, key order and number forms included.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::filter::category;
use crate::clock::Timestamp;
use crate::hub::protocol::Rejection;

/// A frame on its way to viewers.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// The event inside, or the frame's own type.
    pub(crate) event: Box<str>,
    /// What kind of frame it is on an event stream.
    pub(crate) channel: Channel,
    /// Its place in the store, when it has one.
    pub(crate) id: Option<i64>,
    /// The JSON text.
    pub(crate) text: Utf8Bytes,
}

/// The names that event streams give to frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    Broadcast,
    Presence,
}

impl Channel {
    /// The name in `event:`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Broadcast => "broadcast",
            Self::Presence => "presence",
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Broadcast<'a, D> {
    r#type: &'static str,
    event: &'a str,
    data: D,
    category: &'a str,
    session_id: &'a str,
    timestamp: Timestamp,
}

/// An event in the envelope that viewers get, its data unchanged.
pub(crate) fn broadcast(
    session: &str,
    id: Option<i64>,
    event: &str,
    data: &RawValue,
    at: Timestamp,
) -> Frame {
    envelope(session, id, event, data, at)
}

/// An event of the Hub's own making.
pub(crate) fn announcement(session: &str, event: &str, data: &Value, at: Timestamp) -> Frame {
    envelope(session, None, event, data, at)
}

fn envelope<D: Serialize>(
    session: &str,
    id: Option<i64>,
    event: &str,
    data: D,
    at: Timestamp,
) -> Frame {
    let envelope = Broadcast {
        r#type: "broadcast",
        event,
        data,
        category: category(event),
        session_id: session,
        timestamp: at,
    };
    Frame {
        event: event.into(),
        channel: Channel::Broadcast,
        id,
        text: text(&envelope),
    }
}

/// Who came, went or is here.
pub(crate) fn presence(session: &str, event: &str, mut fields: Value, at: Timestamp) -> Frame {
    if let Value::Object(map) = &mut fields {
        map.insert("type".into(), "presence".into());
        map.insert("event".into(), event.into());
        map.insert("sessionId".into(), session.into());
        map.insert("timestamp".into(), at.millis().into());
    }
    Frame {
        event: event.into(),
        channel: Channel::Presence,
        id: None,
        text: text(&fields),
    }
}

/// `{id, actions: [{action: "ACK"}]}`.
pub(crate) fn ack(request: &str) -> Utf8Bytes {
    #[derive(Serialize)]
    struct Ack<'a> {
        id: &'a str,
        actions: [Action; 1],
    }
    #[derive(Serialize)]
    struct Action {
        action: &'static str,
    }
    text(&Ack {
        id: request,
        actions: [Action { action: "ACK" }],
    })
}

/// The answer to a tool that the Hub does not have.
pub(crate) fn no_such_tool(request: &str, name: &str) -> Utf8Bytes {
    let result = format!("this Hub has no tool named {name}");
    text(&json!({"id": request, "actions": [{"action": "RETURN", "result": result}]}))
}

/// The answer to a run's announcement that gives the run another system prompt.
pub(crate) fn replace_system_prompt(request: &str, prompt: &str) -> Utf8Bytes {
    let action = json!({"action": "SYSTEM_PROMPT", "systemPrompt": prompt, "mode": "replace"});
    text(&json!({"id": request, "actions": [action]}))
}

/// `{type: "pong"}` for a ping of that stamp.
pub(crate) fn pong(echoed: Option<&RawValue>, at: Timestamp) -> Utf8Bytes {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Pong<'a> {
        r#type: &'static str,
        timestamp: Timestamp,
        #[serde(skip_serializing_if = "Option::is_none")]
        echoed_timestamp: Option<&'a RawValue>,
    }
    text(&Pong {
        r#type: "pong",
        timestamp: at,
        echoed_timestamp: echoed,
    })
}

/// The refusal that goes before the close frame.
pub(crate) fn rejected(rejection: &Rejection) -> Utf8Bytes {
    typed("connection_rejected", rejection)
}

/// A complaint about one frame; the connection stays.
pub(crate) fn protocol_error(rejection: &Rejection) -> Utf8Bytes {
    typed("protocol_error", rejection)
}

/// A command that reached nobody.
pub(crate) fn command_error(message: &str) -> Utf8Bytes {
    text(&json!({"type": "rpc_command_error", "error": message}))
}

/// A command on its way to the lead.
pub(crate) fn command(command: &RawValue) -> Utf8Bytes {
    #[derive(Serialize)]
    struct Command<'a> {
        r#type: &'static str,
        command: &'a RawValue,
    }
    text(&Command {
        r#type: "rpc_command",
        command,
    })
}

/// `content` with a `type` before its fields.
pub(crate) fn typed<T: Serialize>(name: &'static str, content: &T) -> Utf8Bytes {
    #[derive(Serialize)]
    struct Typed<'a, T> {
        r#type: &'static str,
        #[serde(flatten)]
        content: &'a T,
    }
    text(&Typed {
        r#type: name,
        content,
    })
}

/// JSON text of a value that is made of strings, numbers and what serde made itself.
pub(crate) fn text<T: Serialize>(value: &T) -> Utf8Bytes {
    serde_json::to_string(value)
        .expect("frames have string keys and no failing serializer")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leads_data_keeps_its_bytes_in_the_envelope() {
        let raw: &RawValue =
            serde_json::from_str(r#"{"z":1.50, "a":"\u00e9\ud83d\ude00", "n":1e3}"#).unwrap();
        let frame = broadcast("s", Some(7), "tool_call", raw, Timestamp::from_millis(5));
        assert_eq!(
            frame.text.as_str(),
            r#"{"type":"broadcast","event":"tool_call","data":{"z":1.50, "a":"\u00e9\ud83d\ude00", "n":1e3},"category":"tool","sessionId":"s","timestamp":5}"#
        );
    }

    #[test]
    fn a_pong_without_a_stamp_to_echo_has_no_null() {
        let pong = pong(None, Timestamp::from_millis(1));
        assert_eq!(pong.as_str(), r#"{"type":"pong","timestamp":1}"#);
    }
}
