//! JSON-RPC 2.0, a frame a line, as live CLIs speak it.
//!
//! [`received`] and [`sent`] tell a frame's kind and hand it to the dialog, a [`Peer`]; [`Requests`]
//! numbers our own requests by the frames before them, so that a replay numbers them alike. What is
//! no frame becomes `raw`. What methods mean is the dialog's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Ignored;
use super::json::Text;
use super::lines::{self, corrupt, raw};
use super::live::{Told, tell};
use crate::frame::Line;

/// A frame of either side: with `method` and `id` a request, with `method` alone a notification,
/// with `id` alone a response. `E` is what went wrong, in the CLI's own shape.
#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a, E: Deserialize<'de>"))]
pub(super) struct Frame<'a, E> {
    /// A number or a text: kept as it is written.
    id: Option<&'a RawValue>,
    method: Option<Text<'a>>,
    params: Option<&'a RawValue>,
    pub(super) result: Option<&'a RawValue>,
    pub(super) error: Option<E>,
}

/// A dialog in JSON-RPC.
pub(super) trait Peer {
    /// What an answer has where something went wrong.
    type Fault<'a>: Deserialize<'a>;

    /// Our requests.
    fn requests(&mut self) -> &mut Requests;

    /// A request of the CLI. The reason is for the case that nothing comes of it.
    fn asks(
        &mut self,
        id: &str,
        method: &str,
        params: Option<&RawValue>,
        out: &mut Vec<Told>,
    ) -> &'static str;

    /// The answer to a request of ours.
    fn responded(
        &mut self,
        id: &str,
        method: String,
        frame: &Frame<'_, Self::Fault<'_>>,
        out: &mut Vec<Told>,
    ) -> &'static str;

    /// A notification of the CLI; no reason where it is not known.
    fn notified(
        &mut self,
        method: &str,
        params: Option<&RawValue>,
        out: &mut Vec<Told>,
    ) -> Option<&'static str>;

    /// A request of ours was sent.
    fn requested(&mut self, id: &str, method: &str, params: Option<&RawValue>, out: &mut Vec<Told>);

    /// A notification of ours was sent.
    fn told(&mut self, method: &str);

    /// An answer of ours was sent.
    fn answered(&mut self, id: &str, result: Option<&RawValue>, out: &mut Vec<Told>);
}

/// Takes the CLI's next line.
pub(super) fn received<P: Peer>(peer: &mut P, line: &Line<'_>, out: &mut Vec<Told>) -> Ignored {
    let before = out.len();
    let mut events = Vec::new();
    let content = lines::content(line, &mut events);
    tell(&mut events, out);
    let reason = match content {
        Ok(bytes) => frame(peer, bytes, out),
        Err(reason) => reason,
    };
    if out.len() == before {
        Ignored::Because(reason)
    } else {
        Ignored::No
    }
}

fn frame<P: Peer>(peer: &mut P, bytes: &[u8], out: &mut Vec<Told>) -> &'static str {
    let Ok(frame) = serde_json::from_slice::<Frame<'_, P::Fault<'_>>>(bytes) else {
        if bytes.starts_with(b"{\"") {
            let text = "a frame is incomplete; its text is kept as it is";
            out.push(Told::Event(corrupt(text)));
        }
        out.push(Told::Event(raw(bytes)));
        return "";
    };
    let reason = match (frame.id.map(RawValue::get), frame.method.as_deref()) {
        (Some(id), Some(method)) => Some(peer.asks(id, method, frame.params, out)),
        (Some(id), None) => Some(match peer.requests().open.remove(id) {
            Some(method) => peer.responded(id, method, &frame, out),
            None => "an answer to nothing that was asked",
        }),
        (None, Some(method)) => peer.notified(method, frame.params, out),
        (None, None) => None,
    };
    reason.unwrap_or_else(|| {
        out.push(Told::Event(raw(bytes)));
        ""
    })
}

/// Takes a frame that was sent to the CLI.
pub(super) fn sent<P: Peer>(peer: &mut P, frame: &[u8], out: &mut Vec<Told>) {
    peer.requests().frames += 1;
    let Ok(frame) = serde_json::from_slice::<Frame<'_, P::Fault<'_>>>(frame) else {
        return;
    };
    match (frame.id.map(RawValue::get), frame.method.as_deref()) {
        (Some(id), Some(method)) => {
            let open = &mut peer.requests().open;
            open.insert(id.to_owned(), method.to_owned());
            peer.requested(id, method, frame.params, out);
        }
        (None, Some(method)) => peer.told(method),
        (Some(id), None) => peer.answered(id, frame.result, out),
        (None, None) => {}
    }
}

/// Our requests: their numbers, and which of them wait for an answer. In every snapshot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Requests {
    /// Frames so far, ours of any kind.
    frames: u64,
    /// Those that the CLI has not answered, by their ids: their methods.
    open: BTreeMap<String, String>,
}

impl Requests {
    /// The methods of those that wait for an answer.
    pub(super) fn open(&self) -> impl Iterator<Item = &str> {
        self.open.values().map(String::as_str)
    }

    /// The `ahead`-th request from here on.
    pub(super) fn frame(
        &self,
        dialect: Dialect,
        ahead: usize,
        method: &str,
        params: &Value,
    ) -> Vec<u8> {
        let id = self.frames + 1 + ahead as u64;
        dialect.frame(json!({"id": id, "method": method, "params": params}))
    }
}

/// How frames begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// With the protocol's version, as it wants it.
    Versioned,
    /// Without: Codex leaves it out.
    Bare,
}

impl Dialect {
    /// A notification.
    pub(super) fn notification(self, method: &str, params: Option<Value>) -> Vec<u8> {
        let mut frame = json!({ "method": method });
        if let (Some(params), Value::Object(fields)) = (params, &mut frame) {
            fields.insert("params".to_owned(), params);
        }
        self.frame(frame)
    }

    /// An answer: the id goes back as it came.
    pub(super) fn result(self, id: &str, result: &Value) -> Vec<u8> {
        self.response(id, "result", result)
    }

    /// The answer to a request of the CLI that is not known here.
    pub(super) fn refusal(self, id: &str, method: &str) -> Vec<u8> {
        let message = format!("not supported: {method}");
        let error = json!({"code": -32601, "message": message});
        self.response(id, "error", &error)
    }

    fn response(self, id: &str, field: &str, value: &Value) -> Vec<u8> {
        let version = match self {
            Self::Versioned => "\"jsonrpc\":\"2.0\",",
            Self::Bare => "",
        };
        format!("{{{version}\"id\":{id},\"{field}\":{value}}}").into_bytes()
    }

    fn frame(self, mut frame: Value) -> Vec<u8> {
        if let (Self::Versioned, Value::Object(fields)) = (self, &mut frame) {
            fields.insert("jsonrpc".to_owned(), "2.0".into());
        }
        frame.to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_has_its_own_beginning_and_an_id_goes_back_as_it_came() {
        let text = |frame: Vec<u8>| String::from_utf8(frame).unwrap();
        let versioned = text(Dialect::Versioned.result("\"a-1\"", &json!({"ok": true})));
        let whole = r#"{"jsonrpc":"2.0","id":"a-1","result":{"ok":true}}"#;
        assert_eq!(versioned, whole);
        let bare = text(Dialect::Bare.refusal("7", "fs/read"));
        let refused = r#"{"id":7,"error":{"code":-32601,"message":"not supported: fs/read"}}"#;
        assert_eq!(bare, refused);
        let said = text(Dialect::Bare.notification("initialized", None));
        assert_eq!(said, r#"{"method":"initialized"}"#);
    }

    #[test]
    fn requests_are_numbered_by_all_frames_before_them() {
        let requests = Requests {
            frames: 4,
            ..Requests::default()
        };
        let frame = requests.frame(Dialect::Versioned, 1, "session/new", &json!({}));
        let frame: Value = serde_json::from_slice(&frame).unwrap();
        let wanted = json!({"jsonrpc": "2.0", "id": 6, "method": "session/new", "params": {}});
        assert_eq!(frame, wanted);
    }
}
