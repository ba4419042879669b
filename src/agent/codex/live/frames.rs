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
    let input = json!([{"type": "text", "text": message.text}]);
    params.insert("threadId".to_owned(), thread.into());
    params.insert("input".to_owned(), input);
    params.insert("clientUserMessageId".to_owned(), message.id.clone().into());
    if let Some(turn) = turn {
        params.insert("expectedTurnId".to_owned(), turn.into());
    }
    Value::Object(params)
}
