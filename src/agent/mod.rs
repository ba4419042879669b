//! Agent CLIs: how each is started and what each record of its output means.
//!
//! An [`Adapter`] is a pure state machine from lines to events. It never fails and never panics:
//! a line that it cannot use becomes `raw` or nothing, and it says why.

use serde::{Deserialize, Serialize};

use crate::event::{ErrorClass, Event, Outcome, TurnError};
use crate::ids::SpoolOffset;

/// One line of a CLI's output.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Where the line's first byte lies in the spool.
    pub start: SpoolOffset,
    /// Where the next line begins.
    pub end: SpoolOffset,
    /// The line without its line end.
    pub bytes: &'a [u8],
    /// What was cut from it.
    pub loss: Loss,
}

/// What the framer had to leave out of a line; the spool still holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing.
    None,
    /// Strings over the limit were cut by this many bytes in all; the JSON is still valid.
    Capped(u64),
    /// The line itself is over the limit: `bytes` is its head only.
    Oversized,
}

/// Why a line gave no event (`replay --explain` prints it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// It gave at least one event.
    No,
    /// It gave none, for this reason.
    Because(&'static str),
}

/// How a CLI process ended, as far as is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code, when it exited by itself.
    pub code: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// The kernel killed it, or one of its children, for want of memory.
    pub oom: bool,
}

/// What the CLI's own records say of the turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// The terminal record was seen, it says success, and nothing says otherwise.
    Completed,
    /// The CLI or the model said that it failed.
    Failed(TurnError),
    /// The CLI said that it was interrupted.
    Interrupted,
    /// No terminal record.
    None,
}

/// A CLI's output, turned into events.
pub trait Adapter: Send {
    /// Takes the next line of stdout; appends its events to `out`.
    fn line(&mut self, line: &Line<'_>, out: &mut Vec<Event>) -> Ignored;

    /// The process is gone and no more lines will come: closes what is open (a tool call without
    /// its end becomes an interrupted one), appends the last `usage` if it is still due. `stderr` is
    /// its tail. What remains to be said about the turn is the evidence.
    fn end(&mut self, exit: Option<Exit>, stderr: &[u8], out: &mut Vec<Event>) -> Evidence;

    /// Whether a terminal record was seen and no background work is open: a process that stays
    /// after that may be ended after its linger.
    fn finished(&self) -> bool;

    /// The CLI's own session id, once known.
    fn agent_session(&self) -> Option<&str>;

    /// What is needed to go on from here in another process, as JSON with a version in it.
    fn snapshot(&self) -> Vec<u8>;
}

/// The name, and the outcome when nothing but `class` and `message` are known.
impl TurnError {
    /// An error without a retry time.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            retry_after_ms: None,
        }
    }
}

impl Outcome {
    /// The exit code of a command that waited for the turn (`docs/exit-codes.md`).
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Completed => 0,
            Self::Failed => 1,
            Self::Crashed | Self::Unkillable => 2,
            Self::Incomplete | Self::Unknown => 3,
            Self::TimedOut => 4,
            Self::Cancelled => 130,
        }
    }
}
