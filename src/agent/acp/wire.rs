//! What the frames of the Agent Client Protocol (version 1) have in them, as far as it matters.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::agent::json::Text;

/// What went wrong.
#[derive(Debug, Deserialize)]
pub(in crate::agent) struct Fault<'a> {
    /// JSON-RPC's, or an HTTP status.
    pub(in crate::agent) code: i64,
    #[serde(borrow)]
    pub(in crate::agent) message: Text<'a>,
    #[serde(borrow)]
    pub(in crate::agent) data: Option<&'a RawValue>,
}

/// What an agent answers when a session was begun or loaded.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Opened<'a> {
    #[serde(borrow)]
    pub(super) session_id: Option<Text<'a>>,
    /// How OpenCode tells the model.
    pub(super) config_options: Option<Vec<ConfigOption>>,
    /// How Gemini CLI does.
    pub(super) models: Option<Models>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConfigOption {
    id: String,
    current_value: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Models {
    current_model_id: Option<String>,
}

impl Opened<'_> {
    /// The model that will be asked.
    pub(super) fn model(self) -> Option<String> {
        let mut options = self.config_options.into_iter().flatten();
        let option = options.find(|option| option.id == "model");
        let by_option = option.and_then(|option| option.current_value);
        by_option.or_else(|| self.models?.current_model_id)
    }
}

/// The parameters of our own requests that matter when they were sent.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sent<'a> {
    #[serde(borrow)]
    pub(super) session_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) cwd: Option<Text<'a>>,
    #[serde(rename = "_meta")]
    pub(super) meta: Option<Meta>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Meta {
    /// Our message's id.
    #[serde(rename = "agent-runner/message")]
    pub(super) message: Option<String>,
}

/// `session/update`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Notice<'a> {
    #[serde(borrow)]
    pub(super) session_id: Text<'a>,
    #[serde(borrow)]
    pub(super) update: &'a RawValue,
}

/// An update of any kind.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Update<'a> {
    #[serde(borrow, rename = "sessionUpdate")]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) message_id: Option<Text<'a>>,
    /// A chunk's is one block; a call's is a list of parts, which is read with the call.
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    /// `plan`
    pub(super) entries: Option<Vec<Entry>>,
    /// `usage_update`: the tokens of the context, and how many it has room for.
    pub(super) used: Option<u64>,
    pub(super) size: Option<u64>,
    pub(super) cost: Option<Cost>,
}

/// What an update or a request for consent says of a call.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::agent) struct CallUpdate<'a> {
    #[serde(borrow)]
    pub(in crate::agent) tool_call_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(in crate::agent) title: Option<Text<'a>>,
    #[serde(borrow)]
    pub(in crate::agent) status: Option<Text<'a>>,
    #[serde(borrow)]
    pub(in crate::agent) content: Option<Vec<Part<'a>>>,
    pub(in crate::agent) locations: Option<Vec<Location>>,
    #[serde(borrow)]
    pub(in crate::agent) raw_input: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(in crate::agent) raw_output: Option<&'a RawValue>,
}

/// A file that a call is about.
#[derive(Debug, Deserialize)]
pub(in crate::agent) struct Location {
    pub(in crate::agent) path: String,
}

/// A part of a call's content.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::agent) struct Part<'a> {
    #[serde(borrow)]
    content: Option<Block<'a>>,
    /// `diff`
    #[serde(borrow)]
    pub(in crate::agent) path: Option<Text<'a>>,
    #[serde(borrow)]
    pub(in crate::agent) old_text: Option<Text<'a>>,
    #[serde(borrow)]
    pub(in crate::agent) new_text: Option<Text<'a>>,
}

/// Content.
#[derive(Debug, Deserialize)]
pub(in crate::agent) struct Block<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
}

impl CallUpdate<'_> {
    /// The text in its content.
    pub(in crate::agent) fn text(&self) -> Option<String> {
        let parts = self.content.iter().flatten();
        let texts: Vec<&str> = parts.filter_map(Part::text).collect();
        (!texts.is_empty()).then(|| texts.join("\n"))
    }

    /// The change of a file in its content.
    pub(in crate::agent) fn diff(&self) -> Option<&Part<'_>> {
        let mut parts = self.content.iter().flatten();
        parts.find(|part| part.path.is_some())
    }
}

impl Part<'_> {
    /// Its text, where it is text.
    fn text(&self) -> Option<&str> {
        self.content.as_ref()?.text.as_deref()
    }
}

/// A step of the agent's plan.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    pub(super) content: String,
    pub(super) status: String,
}

/// What the conversation has cost so far.
#[derive(Debug, Deserialize)]
pub(super) struct Cost {
    pub(super) amount: f64,
    pub(super) currency: String,
}

/// `session/request_permission`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Consent<'a> {
    pub(super) options: Vec<Choice>,
    #[serde(borrow)]
    pub(super) tool_call: CallUpdate<'a>,
}

/// A way to answer it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Choice {
    pub(super) option_id: String,
    pub(super) kind: String,
}

/// How we answered it, or somebody else did.
#[derive(Debug, Deserialize)]
pub(super) struct Outcome {
    pub(super) outcome: OutcomeKind,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OutcomeKind {
    pub(super) outcome: String,
    pub(super) option_id: Option<String>,
}

/// The answer to a prompt.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Prompted<'a> {
    /// `end_turn`, `max_tokens`, `max_turn_requests`, `refusal`, `cancelled`
    #[serde(borrow)]
    pub(super) stop_reason: Text<'a>,
    /// Where OpenCode tells tokens.
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    /// Where Gemini CLI does.
    #[serde(borrow, rename = "_meta")]
    pub(super) meta: Option<&'a RawValue>,
}
