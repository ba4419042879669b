//! Requests that somebody has to decide on, and how an answer is put.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::vendor::Vendor;
use super::wire::{Consent, Outcome};
use super::work::Work;
use crate::agent::json::typed;
use crate::agent::live::{Answer, Asked};

/// A request for consent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub(super) asked: Asked,
    /// By which the call is allowed this once, and by which it is refused.
    allow: Option<String>,
    refuse: Option<String>,
}

impl Waiting {
    /// The request with that id; what it is about is the open call that it names, where what that
    /// does was told.
    pub(super) fn new<V: Vendor>(id: &str, consent: &Consent<'_>, vendor: &V, work: &Work) -> Self {
        let call_id = consent.tool_call.tool_call_id.as_deref();
        let open = call_id.and_then(|id| vendor.call(id).or_else(|| work.call(id)));
        let (tool, input) = if let Some(open) = open.filter(|open| open.is_told()) {
            (open.name.clone(), open.input.clone())
        } else {
            let native = open.map(|open| open.native.as_str());
            let begun = vendor.begun(native, &consent.tool_call);
            (begun.name, begun.input)
        };
        let option = |kind: &str| {
            let mut options = consent.options.iter();
            let found = options.find(|option| option.kind == kind);
            found.map(|option| option.option_id.clone())
        };
        Self {
            asked: Asked {
                request_id: id.to_owned(),
                call_id: call_id.map(str::to_owned),
                tool,
                input,
            },
            allow: option("allow_once").or_else(|| option("allow_always")),
            refuse: option("reject_once").or_else(|| option("reject_always")),
        }
    }

    /// The result that stands for an answer.
    pub(super) fn result(&self, answer: &Answer) -> Value {
        let option = match answer {
            Answer::Allow { .. } => &self.allow,
            Answer::Deny { .. } => &self.refuse,
            Answer::Stop => &None,
        };
        match option {
            Some(id) => json!({"outcome": {"outcome": "selected", "optionId": id}}),
            None => json!({"outcome": {"outcome": "cancelled"}}),
        }
    }

    /// What an answer says, as events word it.
    pub(super) fn decision(&self, result: Option<&RawValue>) -> &'static str {
        let outcome: Option<Outcome> = typed(result);
        let Some(Outcome { outcome }) = outcome else {
            return "cancel";
        };
        match outcome.option_id {
            _ if outcome.outcome != "selected" => "cancel",
            id if id == self.refuse => "deny",
            Some(_) => "allow",
            None => "cancel",
        }
    }
}
