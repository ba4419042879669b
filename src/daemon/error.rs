//! Why a session cannot be led, in the kinds that exit codes tell apart.

use crate::journal::{JournalError, StateLockError};
use crate::session::SessionError;
use crate::turn::TurnFault;

/// Why a session cannot be led.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// A setting that only shows itself to be wrong now.
    #[error("{0}")]
    Usage(String),
    /// The agent CLI is missing or unusable.
    #[error("{message}")]
    Agent {
        /// What, where, what next.
        message: String,
    },
    /// The state dir cannot be used.
    #[error(transparent)]
    State(#[from] StateLockError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// No Hub answers.
    #[error("{0}")]
    HubUnreachable(String),
    /// The Hub says no.
    #[error("{0}")]
    HubRefused(String),
    /// The repository cannot be cloned, or the workspace not be used.
    #[error("{0}")]
    Workspace(String),
    /// The session's driver gave up.
    #[error("the session cannot go on: {0}")]
    Turn(#[from] TurnFault),
    /// The session took no request.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Something that should not be.
    #[error("{0}")]
    Internal(String),
}

impl DaemonError {
    /// Whether nothing can be stored any more, so that every session of the daemon is at an end.
    pub fn is_fatal(&self) -> bool {
        let (Self::Journal(journal)
        | Self::Turn(TurnFault::Journal(journal))
        | Self::Session(SessionError::Journal(journal))) = self
        else {
            return false;
        };
        matches!(
            journal,
            JournalError::Store(_)
                | JournalError::File { .. }
                | JournalError::Unwritable { .. }
                | JournalError::Removed { .. }
                | JournalError::Poisoned
        )
    }
}
