//! Exit codes, and errors that carry one: what went wrong, where, and what to do next.

use std::process::ExitCode;

use super::printing::say;

/// The exit codes that every command shares (`docs/exit-codes.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Usage or config.
    Usage = 64,
    /// Repo not found or refused.
    Repo = 66,
    /// Agent CLI missing or unusable.
    Agent = 68,
    /// Hub unreachable.
    HubUnreachable = 69,
    /// Internal.
    Internal = 70,
    /// State dir unusable or in use.
    State = 73,
    /// Try again.
    TryAgain = 75,
    /// Hub refused.
    HubRefused = 77,
    /// Cancelled by the user.
    Cancelled = 130,
}

impl Exit {
    /// What another process of ours meant by its exit code.
    pub(super) fn from_code(code: i32) -> Option<Self> {
        const ALL: [Exit; 9] = [
            Exit::Usage,
            Exit::Repo,
            Exit::Agent,
            Exit::HubUnreachable,
            Exit::Internal,
            Exit::State,
            Exit::TryAgain,
            Exit::HubRefused,
            Exit::Cancelled,
        ];
        ALL.into_iter().find(|exit| *exit as i32 == code)
    }
}

/// A command's failure.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    exit: Exit,
    message: String,
}

impl CliError {
    /// `message` says what, where and what to do next.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    /// Its exit code.
    pub(super) const fn exit(&self) -> Exit {
        self.exit
    }

    /// The user stopped the command before it had begun its work.
    pub(super) fn cancelled() -> Self {
        Self::new(Exit::Cancelled, "cancelled")
    }

    /// Prints the error to stderr and gives its exit code.
    pub(super) fn report(&self) -> ExitCode {
        say!("agent-runner: {}", self.message);
        ExitCode::from(self.exit as u8)
    }
}

/// Clap's own errors: help and version are no errors, the rest is usage.
pub(super) fn usage(error: &clap::Error) -> ExitCode {
    // A closed pipe (`--help | head`) is nobody's error.
    drop(error.print());
    if error.use_stderr() {
        ExitCode::from(Exit::Usage as u8)
    } else {
        ExitCode::SUCCESS
    }
}
