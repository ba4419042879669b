//! Lines of the session file, from the frames that say the same to the Hub. Pure.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::clock::{Timestamp, iso};
use crate::hub::pi::{Frame, cut_strings, raw};

/// The longest string of a line, in bytes: outputs of tools are longer, and stand in the events.
const MAX_STRING: usize = 16 * 1024;
/// The longest line, in bytes: as a string within a frame it may be twice as long.
const MAX_LINE: usize = 96 * 1024;

/// The first line.
pub(super) fn header(id: Uuid, at: Timestamp, cwd: &str) -> String {
    json!({"type": "session", "version": 3, "id": id, "timestamp": iso(at), "cwd": cwd}).to_string()
}

/// A line without its place.
#[derive(Debug)]
pub(super) enum Body {
    /// An object.
    Fields(Value),
    /// A message that is within the bounds as it is: nearly all are, and are not taken apart.
    Message(Box<RawValue>),
}

/// Where a line stands.
pub(super) struct Place<'a> {
    pub(super) id: &'a str,
    pub(super) parent: Option<&'a str>,
    pub(super) at: Timestamp,
    pub(super) seq: u64,
}

/// What a frame has for the file: whole messages, and compactions.
pub(super) fn of_frame(frame: &Frame) -> Option<Body> {
    match frame.event {
        "message_end" => Some(message(&frame.data)?),
        "session_compact" => {
            let mut data: Map<String, Value> = serde_json::from_str(&frame.data).ok()?;
            let entry = data.remove("compactionEntry")?;
            let before = entry.get("tokensBefore").cloned();
            Some(Body::Fields(json!({
                "type": "compaction", "summary": "", "firstKeptEntryId": "",
                "tokensBefore": before.unwrap_or_else(|| 0.into()),
            })))
        }
        _ => None,
    }
}

fn message(data: &str) -> Option<Body> {
    #[derive(Deserialize)]
    struct Data {
        message: Box<RawValue>,
    }
    let Data { message } = serde_json::from_str(data).ok()?;
    // No string of it can be longer than all of it.
    if message.get().len() <= MAX_STRING {
        return Some(Body::Message(message));
    }
    let message: Value = serde_json::from_str(message.get()).ok()?;
    Some(Body::Fields(json!({"type": "message", "message": message})))
}

impl Body {
    /// The line in its place, within the bounds.
    pub(super) fn line(self, place: &Place<'_>) -> String {
        match self {
            Self::Fields(mut fields) => {
                set(&mut fields, "id", json!(place.id));
                set(&mut fields, "parentId", json!(place.parent));
                set(&mut fields, "timestamp", json!(iso(place.at)));
                set(&mut fields, "seq", json!(place.seq));
                bounded(fields)
            }
            Self::Message(message) => raw(&MessageLine {
                id: place.id,
                message: &message,
                parent_id: place.parent,
                seq: place.seq,
                timestamp: iso(place.at),
                r#type: "message",
            })
            .get()
            .to_owned(),
        }
    }
}

/// A line that holds a message.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageLine<'a> {
    id: &'a str,
    message: &'a RawValue,
    parent_id: Option<&'a str>,
    seq: u64,
    timestamp: String,
    r#type: &'static str,
}

/// Sets a field of a line.
fn set(body: &mut Value, name: &str, value: Value) {
    if let Some(body) = body.as_object_mut() {
        body.insert(name.to_owned(), value);
    }
}

/// The line within its bounds.
fn bounded(mut body: Value) -> String {
    let mut limit = MAX_STRING;
    loop {
        cut_strings(&mut body, limit);
        let line = body.to_string();
        if line.len() <= MAX_LINE || limit < 64 {
            return line;
        }
        limit /= 4;
    }
}
