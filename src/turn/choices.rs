//! What the session's participants have chosen while it runs, over its settings.
//!
//! Durable with the session. A live process that can takes a choice up at once, and it counts only
//! when its CLI has said so; else it counts from the next process on.

use serde::{Deserialize, Serialize};

use crate::config::Approve;

/// What was chosen; what is absent is as the settings have it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Choices {
    /// The model, as the CLI calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How hard the model thinks, as the CLI calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    /// Who consents to what the agent does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approve: Option<Approve>,
    /// What the session is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The model, as the CLI calls it.
    Model(String),
    /// How hard the model thinks, as the CLI calls it.
    Effort(String),
    /// Who consents to what the agent does.
    Approve(Approve),
    /// What the session is called.
    Name(String),
}

impl Choices {
    /// As the journal keeps it. Unknown fields, of a newer program, are left out when it is read.
    pub fn from_json(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|error| {
            tracing::warn!(%error, "what was chosen for the session cannot be read; its settings count");
            Self::default()
        })
    }

    /// With that one in its place.
    #[must_use]
    pub fn with(mut self, choice: Choice) -> Self {
        match choice {
            Choice::Model(model) => self.model = Some(model),
            Choice::Effort(effort) => self.effort = Some(effort),
            Choice::Approve(approve) => self.approve = Some(approve),
            Choice::Name(name) => self.name = Some(name),
        }
        self
    }
}
