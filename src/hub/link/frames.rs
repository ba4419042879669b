//! The frames that a lead sends, but for the session file's.

use serde_json::{Value, json};

use super::{Answer, UiRequest};
use crate::clock::Timestamp;
use crate::hub::inbound::CommandId;

/// An event request. `data` is JSON already, and its ids and names need no escapes.
pub(super) fn event(id: &str, event: &str, data: &str) -> String {
    [
        r#"{"id":""#,
        id,
        r#"","type":"event","event":""#,
        event,
        r#"","data":"#,
        data,
        "}",
    ]
    .concat()
}

/// The answer to a command.
pub(super) fn response(answer: Answer) -> String {
    let Answer { reply, result } = answer;
    let mut response = json!({
        "type": "response", "command": reply.name, "success": result.is_ok(),
    });
    if let Value::Object(fields) = &mut response {
        let id = reply.id.map(CommandId::into_value);
        fields.extend(id.map(|id| ("id".to_owned(), id)));
        match result {
            Ok(data) => fields.extend(data.map(|data| ("data".to_owned(), data))),
            Err(why) => drop(fields.insert("error".to_owned(), why.into())),
        }
    }
    json!({"type": "rpc_response", "response": response}).to_string()
}

/// A question to the controllers, or what they are to show.
pub(super) fn ui_request(request: UiRequest) -> String {
    let UiRequest { id, method, params } = request;
    json!({"type": "rpc_ui_request", "id": id, "method": method, "params": params}).to_string()
}

/// A sign of life.
pub(super) fn ping(at: Timestamp) -> String {
    json!({"type": "ping", "timestamp": at}).to_string()
}
