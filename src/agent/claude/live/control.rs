//! The frames of the control protocol, and what else of a frame says who speaks.

use serde::Deserialize;
use serde_json::{Value, json};

use super::change;
use crate::agent::live::Setting;
use crate::frame::{Line, Loss};

/// A frame that is about the talk, not about the work.
#[derive(Debug)]
pub(super) enum Control {
    /// `control_request`
    Request(Request),
    /// `control_response`
    Response(Response),
    /// `control_cancel_request`, by the request's id.
    Cancelled(String),
    /// A message of the user, sent or said again.
    Echo(Echo),
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: String,
    pub(super) subtype: String,
    /// `can_use_tool` and `hook_callback`
    pub(super) tool: String,
    pub(super) input: Value,
    pub(super) call_id: Option<String>,
    /// `hook_callback`
    pub(super) hook: Option<String>,
    /// What it changes, if it is one of ours for that.
    pub(super) change: Option<Setting>,
}

#[derive(Debug)]
pub(super) struct Response {
    pub(super) id: String,
    pub(super) error: Option<String>,
    /// What it decides, if it answers a request for consent.
    pub(super) decision: &'static str,
    /// The effort that counts, if it says the settings.
    pub(super) effort: Option<String>,
}

#[derive(Debug)]
pub(super) struct Echo {
    pub(super) id: Option<String>,
    /// It is what a command of the CLI's own (`/compact`) has printed, in the message's place.
    pub(super) is_output: bool,
}

#[derive(Deserialize)]
struct Frame {
    #[serde(rename = "type")]
    kind: String,
    request_id: Option<String>,
    #[serde(default)]
    request: Value,
    #[serde(default)]
    response: Value,
    uuid: Option<String>,
    #[serde(default)]
    message: Value,
}

/// What a line of the CLI is; none where it is a record of the work, which the adapter reads.
pub(super) fn read(line: &Line<'_>) -> Option<Control> {
    let is_control = line.bytes.starts_with(br#"{"type":"control_"#);
    let is_echo = || {
        line.bytes.starts_with(br#"{"type":"user""#)
            && memchr::memmem::find(line.bytes, br#""isReplay":true"#).is_some()
    };
    if line.loss == Loss::Oversized || !(is_control || is_echo()) {
        return None;
    }
    read_frame(line.bytes)
}

/// What a frame to the CLI is; none where that is not known.
pub(super) fn read_frame(bytes: &[u8]) -> Option<Control> {
    let frame: Frame = serde_json::from_slice(bytes).ok()?;
    match frame.kind.as_str() {
        "control_request" => Some(Control::Request(request(frame.request_id?, frame.request)?)),
        "control_response" => Some(Control::Response(response(&frame.response)?)),
        "control_cancel_request" => Some(Control::Cancelled(frame.request_id?)),
        "user" => Some(Control::Echo(Echo {
            is_output: is_output(&frame.message),
            id: frame.uuid,
        })),
        _ => None,
    }
}

/// Whether a message holds the output of a command of the CLI's own.
fn is_output(message: &Value) -> bool {
    let content = message.get("content").and_then(Value::as_str);
    content.is_some_and(|text| text.starts_with("<local-command-std"))
}

fn request(id: String, mut request: Value) -> Option<Request> {
    let text = |name: &str| request.get(name).and_then(Value::as_str).map(str::to_owned);
    let hooked = || Some(request.get("input")?.get("tool_name")?.as_str()?.to_owned());
    let change = change::changed_by(&request);
    Some(Request {
        id,
        change,
        subtype: text("subtype")?,
        tool: text("tool_name").or_else(hooked).unwrap_or_default(),
        call_id: text("tool_use_id"),
        hook: text("callback_id"),
        input: request
            .get_mut("input")
            .map(Value::take)
            .unwrap_or_default(),
    })
}

fn response(response: &Value) -> Option<Response> {
    let text = |value: &Value, name: &str| value.get(name)?.as_str().map(str::to_owned);
    let body = response.get("response").cloned().unwrap_or_default();
    let is_error = text(response, "subtype")? == "error";
    let behavior = text(&body, "behavior");
    let stops = body.get("interrupt").is_some_and(|stops| *stops == true);
    Some(Response {
        id: text(response, "request_id")?,
        effort: body
            .pointer("/applied/effort")
            .and_then(Value::as_str)
            .map(str::to_owned),
        error: is_error.then(|| text(response, "error").unwrap_or_default()),
        decision: match behavior.as_deref() {
            Some("allow") => "allow",
            _ if stops => "cancel",
            _ => "deny",
        },
    })
}

/// An answer to a request of the CLI.
pub(super) fn success(request_id: &str, response: &Value) -> Vec<u8> {
    let frame = json!({"type": "control_response", "response": {
        "subtype": "success", "request_id": request_id, "response": response,
    }});
    frame.to_string().into_bytes()
}

/// The answer to a request that is not understood.
pub(super) fn refusal(request_id: &str, subtype: &str) -> Vec<u8> {
    let frame = json!({"type": "control_response", "response": {
        "subtype": "error", "request_id": request_id,
        "error": format!("not supported: {subtype}"),
    }});
    frame.to_string().into_bytes()
}
