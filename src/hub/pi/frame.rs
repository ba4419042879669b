//! One event request to the Hub, encoded and cut to size.
//!
//! Guarantees: `data` is one JSON object of at most [`MAX_DATA`] bytes, its first field is the
//! event's own name as `type` (viewers spread `data` over it) and its last is `agentRole`.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::text::cut;
use crate::ids::Seq;

/// The largest `data`, in bytes: 256 KiB less room for the request around it.
pub const MAX_DATA: usize = 256 * 1024 - 1024;

/// Whether a frame must arrive or may be left out after a lost connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Changes what a viewer knows: re-sent until acknowledged.
    State,
    /// Progress that a later state frame repeats: sent once.
    Delta,
}

/// One `{id, type: "event", event, data}` request, still without its wrapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// `<event_id>/<n>`; a state frame has the same id on every mapping of the same events.
    pub id: String,
    /// The last event that this frame speaks of.
    pub seq: Seq,
    /// The Hub's name of the event.
    pub event: &'static str,
    /// The payload: one JSON object.
    pub data: Bytes,
    /// Whether it must arrive.
    pub class: Class,
}

/// Encodes `fields` as the data of `event`; strings are cut, longest first, until it fits.
pub(super) fn encode(event: &'static str, fields: Value) -> Bytes {
    let mut map = match fields {
        Value::Object(map) => map,
        Value::Null => Map::new(),
        other => Map::from_iter([("value".to_owned(), other)]),
    };
    map.remove("type");
    map.remove("agentRole");
    let mut data = write(event, &map);
    let mut limit = 128 * 1024;
    while data.len() > MAX_DATA && limit >= 64 {
        let mut smaller = map.clone();
        smaller.values_mut().for_each(|v| cut_strings(v, limit));
        data = write(event, &smaller);
        limit /= 2;
    }
    if data.len() > MAX_DATA {
        // Nothing but structure: its size is all that can be told.
        let note = format!("…[+{} bytes]", data.len());
        data = write(
            event,
            &Map::from_iter([("message".to_owned(), Value::String(note))]),
        );
    }
    Bytes::from(data)
}

/// Sets a field of an object.
pub(super) fn set(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Value::Object(fields) = object {
        fields.insert(name.to_owned(), value.into());
    }
}

/// Cuts every string within `value` to `limit` bytes.
pub(super) fn cut_strings(value: &mut Value, limit: usize) {
    match value {
        Value::String(text) if text.len() > limit => *text = cut(text, limit),
        Value::Array(items) => items.iter_mut().for_each(|v| cut_strings(v, limit)),
        Value::Object(map) => map.values_mut().for_each(|v| cut_strings(v, limit)),
        _ => {}
    }
}

fn write(event: &str, map: &Map<String, Value>) -> Vec<u8> {
    // Serializing plain values to memory cannot fail; `Value`'s own text form says the same.
    let body = Value::Object(map.clone()).to_string();
    let mut out = Vec::with_capacity(body.len() + event.len() + 40);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(event.as_bytes());
    out.extend_from_slice(b"\"");
    if !map.is_empty() {
        out.push(b',');
        out.extend_from_slice(body.get(1..body.len() - 1).unwrap_or_default().as_bytes());
    }
    out.extend_from_slice(b",\"agentRole\":\"lead\"}");
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_type_comes_first_and_the_role_last() {
        let data = encode(
            "agent_start",
            json!({"type": "x", "agentName": "lead", "agentRole": 1}),
        );
        assert_eq!(
            data,
            r#"{"type":"agent_start","agentName":"lead","agentRole":"lead"}"#
        );
        assert_eq!(
            encode("agent_start", Value::Null),
            r#"{"type":"agent_start","agentRole":"lead"}"#
        );
    }

    #[test]
    fn a_frame_over_the_limit_is_cut_and_says_by_how_much() {
        for text in [
            "x".repeat(1 << 20),
            "\u{1}".repeat(1 << 20),
            "é".repeat(1 << 19),
        ] {
            let data = encode("tool_result", json!({"content": [{"text": text}], "n": 1}));
            assert!(data.len() <= MAX_DATA, "{}", data.len());
            let back: Value = serde_json::from_slice(&data).unwrap();
            assert!(
                back["content"][0]["text"]
                    .as_str()
                    .unwrap()
                    .ends_with(" bytes]")
            );
            assert_eq!(back["n"], 1);
        }
    }

    #[test]
    fn structure_without_strings_is_replaced_by_its_size() {
        let data = encode("tool_call", json!({"input": vec![0; 1 << 20]}));
        assert!(data.len() < 200);
        assert!(serde_json::from_slice::<Value>(&data).is_ok());
    }
}
