//! Lines of the session file, from the frames that say the same to the Hub. Pure.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::clock::{Timestamp, iso};
use crate::hub::pi::{Frame, cut_strings};

/// The longest string of a line, in bytes: outputs of tools are longer, and stand in the events.
const MAX_STRING: usize = 16 * 1024;
/// The longest line, in bytes: as a string within a frame it may be twice as long.
const MAX_LINE: usize = 96 * 1024;

/// The first line.
pub(super) fn header(id: Uuid, at: Timestamp, cwd: &str) -> String {
    json!({"type": "session", "version": 3, "id": id, "timestamp": iso(at), "cwd": cwd}).to_string()
}

/// What a frame has for the file: whole messages, and compactions.
pub(super) fn of_frame(frame: &Frame) -> Option<Value> {
    let field = |name: &str| -> Option<Value> {
        let mut data: Map<String, Value> = serde_json::from_str(&frame.data).ok()?;
        data.remove(name)
    };
    match frame.event {
        "message_end" => Some(json!({"type": "message", "message": field("message")?})),
        "session_compact" => {
            let entry = field("compactionEntry")?;
            let before = entry.get("tokensBefore").cloned();
            Some(json!({
                "type": "compaction", "summary": "", "firstKeptEntryId": "",
                "tokensBefore": before.unwrap_or_else(|| 0.into()),
            }))
        }
        _ => None,
    }
}

/// Gives a line its place in the file.
pub(super) fn place(body: &mut Value, id: &str, parent: Option<&str>, at: Timestamp, seq: u64) {
    set(body, "id", json!(id));
    set(body, "parentId", json!(parent));
    set(body, "timestamp", json!(iso(at)));
    set(body, "seq", json!(seq));
}

/// Sets a field of a line.
pub(super) fn set(body: &mut Value, name: &str, value: Value) {
    if let Some(body) = body.as_object_mut() {
        body.insert(name.to_owned(), value);
    }
}

/// The line within its bounds.
pub(super) fn bounded(mut body: Value) -> String {
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
