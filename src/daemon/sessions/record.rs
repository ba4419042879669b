//! What is stored of a session besides its events: how it is opened again.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{CommandKind, SessionSettings};
use crate::daemon::DaemonError;
use crate::ids::TurnId;

/// A session as it was asked for, without secrets. Unknown fields, of a newer program, are left
/// out when it is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Who asked.
    pub(super) asker: Asker,
    /// Where.
    pub(in crate::daemon) cwd: PathBuf,
    /// What for.
    pub(in crate::daemon) settings: SessionSettings,
    /// The turn whose events go to a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::daemon) turn: Option<TurnId>,
}

/// Who asked for a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Asker {
    /// The `daemon` command, of a session that it named.
    Named,
    /// The `daemon` command, with this task, of the Hub that is the daemon's.
    Daemon {
        /// What the session is to do.
        task: Option<String>,
    },
    /// A client of the API, of which `start` is one.
    Client,
}

impl Asker {
    pub(in crate::daemon) const fn command(&self) -> CommandKind {
        match self {
            Self::Named | Self::Daemon { .. } => CommandKind::Daemon,
            Self::Client => CommandKind::Start,
        }
    }
}

impl Record {
    pub(in crate::daemon) fn to_json(&self) -> Result<String, DaemonError> {
        serde_json::to_string(self).map_err(|error| {
            let cwd = self.cwd.display();
            DaemonError::Usage(format!("the folder {cwd} cannot be remembered: {error}"))
        })
    }

    pub(super) fn from_json(text: &str) -> Result<Self, DaemonError> {
        serde_json::from_str(text).map_err(|error| {
            DaemonError::Internal(format!(
                "what is stored of the session cannot be read: {error}; use the newer program"
            ))
        })
    }
}
