//! Exit codes, and errors that carry one: what went wrong, where, and what to do next.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::printing::say;
use super::render::harmless;

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

/// Clap's own errors: help and version are no errors, the rest is usage. `words` are those of the
/// command line.
pub(super) fn usage(mut error: clap::Error, words: impl Iterator<Item = OsString>) -> ExitCode {
    let words: Vec<_> = words.collect();
    if error.kind() == ErrorKind::InvalidUtf8
        && let Some(word) = words.iter().find(|word| word.to_str().is_none())
    {
        let word = word.to_string_lossy();
        let message = format!(
            "the argument `{}` is not UTF-8 text; write it so, or give a prompt by --task-file",
            harmless(&word)
        );
        return CliError::new(Exit::Usage, message).report();
    }
    if let Some(tip) = tip(&error, words.get(1).and_then(|word| word.to_str())) {
        let tips = ContextValue::StyledStrs(vec![tip.into()]);
        error.insert(ContextKind::Suggested, tips);
    }
    // A closed pipe (`--help | head`) is nobody's error.
    drop(error.print());
    if error.use_stderr() {
        ExitCode::from(Exit::Usage as u8)
    } else {
        ExitCode::SUCCESS
    }
}

/// What to do with words too many: they are a task without its quotes.
fn tip(error: &clap::Error, command: Option<&str>) -> Option<String> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    if error.kind() != ErrorKind::UnknownArgument || word.starts_with('-') {
        return None;
    }
    match command? {
        command @ ("run" | "start" | "prompt") => Some(format!(
            "a task of several words needs quotes: agent-runner {command} \"Fix the tests\""
        )),
        "daemon" => {
            Some("the daemon takes its task from --task-file FILE or AGENT_RUNNER_TASK".to_owned())
        }
        _ => None,
    }
}
