//! One event request to the Hub, encoded and cut to size.
//!
//! Guarantees: `data` is one JSON object of at most [`MAX_DATA`] bytes, its first field is the
//! event's own name as `type` (viewers spread `data` over it) and its last is `agentRole`.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

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
    pub data: String,
    /// Whether it must arrive.
    pub class: Class,
}

/// Encodes `fields`, an object, as the data of `event`; strings are cut, longest first, until it
/// fits, and `truncated` says so.
pub(super) fn encode(event: &'static str, fields: &impl Serialize) -> String {
    let data = write(event, fields);
    if data.len() <= MAX_DATA {
        return data;
    }
    smaller(event, &data)
}

fn smaller(event: &'static str, data: &str) -> String {
    let mut fields: Map<String, Value> = serde_json::from_str(data).unwrap_or_default();
    fields.remove("type");
    fields.remove("agentRole");
    fields.insert("truncated".to_owned(), true.into());
    let mut limit = 128 * 1024;
    while limit >= 64 {
        // What is cut to less later is cut from the whole: the marker counts all that is missing.
        let mut cut = fields.clone();
        cut.values_mut().for_each(|v| cut_strings(v, limit));
        let smaller = write(event, &cut);
        if smaller.len() <= MAX_DATA {
            return smaller;
        }
        limit /= 2;
    }
    // Nothing but structure: its size is all that can be told.
    write(
        event,
        &json!({"message": format!("…[+{} bytes]", data.len()), "truncated": true}),
    )
}

/// JSON of what is only in memory: encoded once, put into as many frames as need it.
pub(in super::super) fn raw(value: &impl Serialize) -> Box<RawValue> {
    // Plain values always have a JSON form.
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// Sets a field of an object.
pub(super) fn set(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Value::Object(fields) = object {
        fields.insert(name.to_owned(), value.into());
    }
}

/// Cuts every string within `value` to `limit` bytes.
pub(in super::super) fn cut_strings(value: &mut Value, limit: usize) {
    match value {
        Value::String(text) if text.len() > limit => *text = cut(text, limit),
        Value::Array(items) => items.iter_mut().for_each(|v| cut_strings(v, limit)),
        Value::Object(map) => map.values_mut().for_each(|v| cut_strings(v, limit)),
        _ => {}
    }
}

fn write(event: &str, fields: &impl Serialize) -> String {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(event.as_bytes());
    out.push(b'"');
    let head = out.len();
    // Plain values always have a JSON form; half of one would be no frame.
    if serde_json::to_writer(&mut out, fields).is_err() {
        out.truncate(head);
    }
    match out.get_mut(head..) {
        // The fields of an object go on after the type.
        Some([open @ b'{', rest @ ..]) if rest != b"}" => {
            *open = b',';
            out.pop();
        }
        _ => out.truncate(head),
    }
    out.extend_from_slice(b",\"agentRole\":\"lead\"}");
    String::from_utf8(out).unwrap_or_else(|error| unreachable!("JSON is UTF-8: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_type_comes_first_and_the_role_last() {
        let data = encode("agent_start", &json!({"agentName": "lead"}));
        assert_eq!(
            data,
            r#"{"type":"agent_start","agentName":"lead","agentRole":"lead"}"#
        );
        assert_eq!(
            encode("agent_start", &json!({})),
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
            let data = encode("tool_result", &json!({"content": [{"text": text}], "n": 1}));
            assert!(data.len() <= MAX_DATA, "{}", data.len());
            let back: Value = serde_json::from_str(&data).unwrap();
            assert!(
                back["content"][0]["text"]
                    .as_str()
                    .unwrap()
                    .ends_with(" bytes]")
            );
            assert_eq!((&back["n"], &back["truncated"]), (&json!(1), &json!(true)));
        }
    }

    #[test]
    fn structure_without_strings_is_replaced_by_its_size() {
        let data = encode("tool_call", &json!({"input": vec![0; 1 << 20]}));
        assert!(data.len() < 200);
        assert!(serde_json::from_str::<Value>(&data).is_ok());
    }
}
