//! What clients send, parsed once. Lenient like the official Hub's schemas: unknown fields and
//! unknown types are no errors; a frame of a known type that lacks its fields is.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::from_str;
use serde_json::value::{RawValue, to_raw_value};

/// A frame from a client.
#[derive(Debug)]
pub(crate) enum Inbound<'a> {
    Event {
        id: Cow<'a, str>,
        name: Cow<'a, str>,
        data: &'a RawValue,
    },
    Tool {
        id: Cow<'a, str>,
        name: Cow<'a, str>,
    },
    Write {
        path: Cow<'a, str>,
        content: Cow<'a, str>,
    },
    Entry {
        path: Cow<'a, str>,
        line: Cow<'a, str>,
    },
    Rename(Cow<'a, str>),
    /// The remote control's frames from the lead, by event name, with what viewers get as data.
    Relay(&'static str, Box<RawValue>),
    Ping(Option<&'a RawValue>),
    RpcCommand(&'a RawValue),
    /// Goes to the lead as it is.
    RpcUiResponse,
    Subscribe(Vec<Cow<'a, str>>),
    BootstrapReady,
    /// Credentials; checked only where none were shown before.
    Auth(Option<Cow<'a, str>>),
    /// Anything else; one with an id is waiting for an answer.
    Other(Option<Cow<'a, str>>),
}

/// Why a frame is not understood; told to the client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("not a JSON object")]
    NotObject,
    #[error("not a JSON object: {0}")]
    Json(serde_json::Error),
    #[error("`{kind}` frame: {source}")]
    Fields {
        kind: String,
        source: serde_json::Error,
    },
    #[error("`event` frame: data must be an object")]
    Data,
    #[error("`{0}` frame: id must be 1 to 256 bytes")]
    Id(String),
}

/// Longer request ids have no use; they are stored with every event.
const MAX_ID: usize = 256;

#[derive(Deserialize)]
struct EventFields<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(default, borrow)]
    r#type: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    id: Option<&'a RawValue>,
    #[serde(default, borrow)]
    authorization: Option<Cow<'a, str>>,
}

/// A request's id, when it is a string: nothing else is answered.
fn request_id(raw: Option<&RawValue>) -> Option<Cow<'_, str>> {
    raw.and_then(|raw| from_str::<String>(raw.get()).ok())
        .map(Cow::Owned)
}

/// The fields of the rarer frames; each type names which of them it needs.
#[derive(Deserialize)]
struct ToolFields<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct WriteFields<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
    #[serde(borrow)]
    content: Cow<'a, str>,
}

#[derive(Deserialize)]
struct EntryFields<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
    #[serde(borrow)]
    line: Cow<'a, str>,
}

#[derive(Deserialize)]
struct RenameFields<'a> {
    #[serde(borrow)]
    label: Cow<'a, str>,
}

#[derive(Deserialize)]
struct PingFields<'a> {
    #[serde(default, borrow)]
    timestamp: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct CommandFields<'a> {
    #[serde(borrow)]
    command: &'a RawValue,
}

#[derive(Deserialize)]
struct SubscribeFields<'a> {
    #[serde(borrow)]
    patterns: Vec<Cow<'a, str>>,
}

/// Parses one text frame.
pub(crate) fn parse(text: &str) -> Result<Inbound<'_>, FrameError> {
    // serde would take an array's items for the fields.
    if !text.trim_start().starts_with('{') {
        return Err(FrameError::NotObject);
    }
    // Events are nearly all there is: one pass for them, two for the rest.
    if let Ok(event) = from_str::<EventFields<'_>>(text)
        && event.r#type == "event"
    {
        if event.id.is_empty() || event.id.len() > MAX_ID {
            return Err(FrameError::Id("event".into()));
        }
        if !event.data.get().starts_with('{') {
            return Err(FrameError::Data);
        }
        return Ok(Inbound::Event {
            id: event.id,
            name: event.event,
            data: event.data,
        });
    }
    let head: Head<'_> = from_str(text).map_err(FrameError::Json)?;
    match head.r#type {
        None => Ok(Inbound::Auth(head.authorization)),
        Some(kind) if kind == "event" => Err(malformed_event(text)),
        Some(kind) => parse_other(&kind, head.id, text).map_err(|source| FrameError::Fields {
            kind: kind.into_owned(),
            source,
        }),
    }
}

fn parse_other<'a>(
    kind: &str,
    id: Option<&'a RawValue>,
    text: &'a str,
) -> serde_json::Result<Inbound<'a>> {
    Ok(match kind {
        "tool" => {
            let ToolFields { id, name } = from_str(text)?;
            Inbound::Tool { id, name }
        }
        "session_write" => {
            let WriteFields { path, content } = from_str(text)?;
            Inbound::Write { path, content }
        }
        "session_entry" => {
            let EntryFields { path, line } = from_str(text)?;
            Inbound::Entry { path, line }
        }
        "rename_session" => Inbound::Rename(from_str::<RenameFields<'_>>(text)?.label),
        "rpc_event" | "rpc_response" | "rpc_ui_request" => relay(kind, text)?,
        "ping" => {
            let stamp = from_str::<PingFields<'_>>(text)?.timestamp;
            Inbound::Ping(stamp.filter(|raw| raw.get().parse::<f64>().is_ok()))
        }
        "rpc_command" => Inbound::RpcCommand(from_str::<CommandFields<'_>>(text)?.command),
        "subscribe" => Inbound::Subscribe(from_str::<SubscribeFields<'_>>(text)?.patterns),
        "rpc_ui_response" => Inbound::RpcUiResponse,
        "bootstrap_ready" => Inbound::BootstrapReady,
        _ => Inbound::Other(request_id(id)),
    })
}

/// What was wrong with an `event` frame that the fast path did not take.
fn malformed_event(text: &str) -> FrameError {
    match from_str::<EventFields<'_>>(text) {
        Err(source) => FrameError::Fields {
            kind: "event".into(),
            source,
        },
        Ok(_) => FrameError::Data,
    }
}

fn relay(kind: &str, text: &str) -> serde_json::Result<Inbound<'static>> {
    #[derive(Deserialize, Serialize)]
    struct Event<'a> {
        #[serde(borrow)]
        event: &'a RawValue,
    }
    #[derive(Deserialize, Serialize)]
    struct Response<'a> {
        #[serde(borrow)]
        response: &'a RawValue,
    }
    #[derive(Deserialize, Serialize)]
    struct UiRequest<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
        #[serde(borrow)]
        method: Cow<'a, str>,
        #[serde(borrow)]
        params: &'a RawValue,
    }
    let (name, data) = match kind {
        "rpc_event" => ("rpc_event", to_raw_value(&from_str::<Event<'_>>(text)?)?),
        "rpc_response" => (
            "rpc_response",
            to_raw_value(&from_str::<Response<'_>>(text)?)?,
        ),
        _ => (
            "rpc_ui_request",
            to_raw_value(&from_str::<UiRequest<'_>>(text)?)?,
        ),
    };
    Ok(Inbound::Relay(name, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_events_data_is_taken_as_it_stands() {
        let frame = r#"{"id":"1","type":"event","event":"tool_call","data":{"b": 1.0,"a":2}}"#;
        match parse(frame).unwrap() {
            Inbound::Event { id, name, data } => {
                assert_eq!((id.as_ref(), name.as_ref()), ("1", "tool_call"));
                assert_eq!(data.get(), r#"{"b": 1.0,"a":2}"#);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn escaped_ids_and_unknown_types_are_understood() {
        let frame = r#"{"id":"a\"b","type":"event","event":"x","data":{}}"#;
        assert!(matches!(parse(frame).unwrap(), Inbound::Event { id, .. } if id == "a\"b"));
        let frame = r#"{"type":"command","id":"7","name":5}"#;
        assert!(matches!(parse(frame).unwrap(), Inbound::Other(Some(id)) if id == "7"));
        let frame = r#"{"type":"future","id":7}"#;
        assert!(matches!(parse(frame).unwrap(), Inbound::Other(None)));
        let frame = r#"{"authorization":"k","org_id":"o"}"#;
        assert!(matches!(parse(frame).unwrap(), Inbound::Auth(Some(key)) if key == "k"));
    }

    #[test]
    fn what_lacks_its_fields_is_named() {
        for (frame, said) in [
            ("[]", "not a JSON object"),
            (r#"{"type":"event","id":"1","event":"x"}"#, "data"),
            (
                r#"{"type":"event","id":"1","event":"x","data":[]}"#,
                "must be an object",
            ),
            (
                r#"{"type":"event","id":"","event":"x","data":{}}"#,
                "1 to 256",
            ),
            (r#"{"type":"session_entry","path":"/x"}"#, "line"),
        ] {
            let error = parse(frame).unwrap_err().to_string();
            assert!(error.contains(said), "{frame}: {error}");
        }
    }

    #[test]
    fn the_remote_controls_frames_keep_their_bytes() {
        let frame = r#"{"type":"rpc_response","response":{"id":"q", "success":true}}"#;
        match parse(frame).unwrap() {
            Inbound::Relay("rpc_response", data) => {
                assert_eq!(data.get(), r#"{"response":{"id":"q", "success":true}}"#);
            }
            other => panic!("{other:?}"),
        }
    }
}
