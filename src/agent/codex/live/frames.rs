//! What the frames to Codex have in them.

use serde_json::{Map, Value, json};

use crate::agent::live::Message;

/// The parameters of `initialize`.
pub(super) fn client() -> Value {
    json!({
        "clientInfo": {
            "name": "agent-runner", "title": "agent-runner", "version": env!("CARGO_PKG_VERSION"),
        },
        "capabilities": {"experimentalApi": true, "requestAttestation": false},
    })
}

/// Those of a message, into a new turn or a running one.
pub(super) fn said(thread: &str, turn: Option<&str>, message: &Message) -> Value {
    let mut params = Map::new();
    let mut input = vec![json!({"type": "text", "text": message.text})];
    for image in &message.images {
        input.push(json!({"type": "image", "url": image.data_url()}));
    }
    params.insert("threadId".to_owned(), thread.into());
    params.insert("input".to_owned(), input.into());
    params.insert("clientUserMessageId".to_owned(), message.id.clone().into());
    if let Some(turn) = turn {
        params.insert("expectedTurnId".to_owned(), turn.into());
    }
    Value::Object(params)
}

/// Those of a message that asks for a shorter context. The CLI passes over the message's id
/// (0.169.0); whoever reads the record of what was sent knows the message by it.
pub(super) fn shortening(thread: &str, message: &Message) -> Value {
    json!({"threadId": thread, "clientUserMessageId": message.id})
}
