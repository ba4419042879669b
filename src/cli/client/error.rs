//! What a request to a daemon can come to, and what that means for a command.

use std::io;

use crate::api::wire::Problem;
use crate::cli::{CliError, Exit};

/// A request that came to nothing.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum ClientError {
    /// No daemon is there.
    #[error("no daemon answers at {place}: {source}; {}", way_in(.source))]
    Absent {
        /// Where it was looked for.
        place: String,
        #[source]
        source: io::Error,
    },
    /// It was there, and did not end in order.
    #[error(
        "the daemon (pid {pid}) has died, its log {} may say why; `agent-runner start` brings it \
         back with all its sessions",
        .log.display()
    )]
    Died {
        /// The process that it was.
        pid: String,
        /// Its log, where it ran in the background.
        log: std::path::PathBuf,
    },
    /// It went away before it had answered.
    #[error("the daemon went away: {0}; ask again, or start it with `agent-runner start`")]
    Lost(String),
    /// It says no.
    #[error("{}{}", .problem.message, hint(.problem))]
    Refused {
        /// The same may be asked again.
        is_temporary: bool,
        problem: Problem,
    },
    /// What it says cannot be read.
    #[error("the daemon's answer cannot be read: {0}; is it of another version?")]
    Nonsense(String),
}

impl ClientError {
    /// The same request may well be answered in a moment.
    pub(in crate::cli) const fn is_passing(&self) -> bool {
        match self {
            Self::Absent { .. } | Self::Died { .. } | Self::Lost(_) => true,
            Self::Refused { is_temporary, .. } => *is_temporary,
            Self::Nonsense(_) => false,
        }
    }

    /// The API's code for it, where it said one.
    pub(in crate::cli) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { problem, .. } => Some(&problem.code),
            _ => None,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Absent { .. } | Self::Died { .. } => Exit::HubUnreachable,
            Self::Lost(_) => Exit::TryAgain,
            Self::Nonsense(_) => Exit::Internal,
            Self::Refused {
                is_temporary,
                problem,
            } => match problem.code.as_str() {
                _ if *is_temporary => Exit::TryAgain,
                "repo" => Exit::Repo,
                "agent" => Exit::Agent,
                "hub_unreachable" => Exit::HubUnreachable,
                "hub_refused" | "unauthorized" | "forbidden" => Exit::HubRefused,
                "session_failed" | "no_room" | "answered" | "unknown_request" => Exit::TryAgain,
                "internal" | "journal" => Exit::Internal,
                _ => Exit::Usage,
            },
        }
    }
}

/// What to do where no daemon answers.
fn way_in(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied {
        "it is another user's: run this as that user, or give your own --state-dir"
    } else {
        "start one with `agent-runner start`"
    }
}

/// What to do next, in the words of the command line.
fn hint(problem: &Problem) -> String {
    let hint = match problem.code.as_str() {
        "unknown_session" => "`agent-runner sessions` lists those that it holds",
        "unknown_turn" => "`agent-runner events` shows the turns",
        "unknown_request" => "`agent-runner approve --list` shows those that wait",
        "unauthorized" => "check --api-token-file",
        "no_room" => "ask again when there is room",
        "invalid_request" => return String::new(),
        _ => &problem.hint,
    };
    format!("; {hint}")
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        Self::new(error.exit(), error.to_string())
    }
}
