//! One thing that was looked at, and what was found.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What, in a word that stays the same between versions.
    pub id: &'static str,
    /// Whose, where it is an agent's.
    pub agent: Option<&'static str>,
    /// How it is.
    pub status: Status,
    /// What was found, in one line, without secrets.
    pub text: String,
    /// What mends it: a command where there is one. Never there when the status is `ok`.
    pub mend: Option<String>,
    /// What was found, as data.
    pub facts: Map<String, Value>,
}

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// As it should be.
    Ok,
    /// Not there, and not needed.
    Info,
    /// An agent can run, but a person should know.
    Warning,
    /// The agent of the settings, or the Hub that they name, cannot be used.
    Error(Fatal),
}

/// Why nothing can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fatal {
    /// The settings are refused.
    Settings,
    /// The agent's CLI is missing, or the machine cannot run it.
    Agent,
    /// The state dir cannot be used.
    State,
    /// The Hub does not answer.
    HubUnreachable,
    /// The Hub says no.
    HubRefused,
}

impl Status {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error(_) => "error",
        }
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Check {
    /// A check without facts.
    pub(super) fn new(id: &'static str, status: Status, text: impl Into<String>) -> Self {
        Self {
            id,
            agent: None,
            status,
            text: text.into(),
            mend: None,
            facts: Map::new(),
        }
    }

    /// With what mends it.
    pub(super) fn mend(mut self, how: impl Into<String>) -> Self {
        self.mend = Some(how.into());
        self
    }

    /// With one more fact.
    pub(super) fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    /// Of an agent.
    pub(super) fn of(mut self, agent: &'static str) -> Self {
        self.agent = Some(agent);
        self
    }
}
