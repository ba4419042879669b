//! What the session's participants have chosen while it runs, over its settings.
//!
//! Durable with the session; it counts from the next process of the agent on, or at once where a
//! live one takes it.

use serde::{Deserialize, Serialize};

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
    /// What the session is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Choices {
    /// These, and over them what is newly chosen.
    #[must_use]
    pub fn with(self, newer: Self) -> Self {
        Self {
            model: newer.model.or(self.model),
            effort: newer.effort.or(self.effort),
            name: newer.name.or(self.name),
        }
    }

    /// As the journal keeps it. Unknown fields, of a newer program, are left out when it is read.
    pub fn from_json(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|error| {
            tracing::warn!(%error, "what was chosen for the session cannot be read; its settings count");
            Self::default()
        })
    }
}
