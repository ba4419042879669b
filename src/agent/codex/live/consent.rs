//! Requests that somebody has to decide on, and how an answer is put.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::work::Work;
use crate::agent::codex::command;
use crate::agent::live::{Answer, Asked};

const CONSENT: &[&str] = &[
    "item/commandExecution/requestApproval",
    "item/fileChange/requestApproval",
    "item/permissions/requestApproval",
    "item/tool/requestUserInput",
];

/// A request for consent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub(super) asked: Asked,
    method: String,
    params: Value,
}

/// Whether that method asks somebody.
pub(super) fn is_asked_by(method: &str) -> bool {
    CONSENT.contains(&method)
}

impl Waiting {
    /// The request with that id; what it is about is the open call that it names.
    pub(super) fn new(id: &str, method: &str, params: Value, work: &Work) -> Self {
        let text = |name: &str| params.get(name).and_then(Value::as_str);
        let item = text("itemId");
        let call = item.and_then(|item| work.call(item));
        let (tool, input) = match (call, text("command")) {
            (Some(call), _) => (call.name.clone(), call.input.clone()),
            (None, Some(command)) => {
                let (tool, input) = command::call(command);
                (tool.to_owned(), input)
            }
            (None, None) => (
                method.rsplit('/').nth(1).unwrap_or(method).to_owned(),
                params.clone(),
            ),
        };
        let asked = Asked {
            request_id: id.to_owned(),
            call_id: item.map(str::to_owned),
            tool,
            input,
        };
        Self {
            asked,
            method: method.to_owned(),
            params,
        }
    }

    /// The result that stands for an answer.
    pub(super) fn result(&self, answer: &Answer) -> Value {
        match (self.method.as_str(), answer) {
            ("item/tool/requestUserInput", Answer::Allow { input }) => {
                json!({"answers": input.as_ref().and_then(|input| input.get("answers"))})
            }
            ("item/tool/requestUserInput", _) => json!({"answers": {}}),
            ("item/permissions/requestApproval", Answer::Allow { .. }) => {
                json!({"permissions": self.params.get("permissions"), "scope": "turn"})
            }
            ("item/permissions/requestApproval", _) => json!({"permissions": {}}),
            (_, Answer::Allow { .. }) => json!({"decision": "accept"}),
            (_, Answer::Deny { .. }) => json!({"decision": "decline"}),
            (_, Answer::Stop) => json!({"decision": "cancel"}),
        }
    }
}

/// What a result says, as events word it.
pub(super) fn decision(result: &Value) -> &'static str {
    let allowed = result.get("answers").is_some()
        || result
            .get("permissions")
            .and_then(Value::as_object)
            .is_some_and(|all| !all.is_empty());
    match result.get("decision").and_then(Value::as_str) {
        Some("cancel") => "cancel",
        Some("decline") => "deny",
        Some(_) => "allow",
        None if allowed => "allow",
        None => "deny",
    }
}
