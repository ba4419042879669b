//! Agent CLIs: how each is started and what each record of its output means.
//!
//! An [`Adapter`] is a pure state machine from lines to events. It never fails and never panics:
//! a line that it cannot use becomes `raw` or nothing, and it says why. A new agent is one folder
//! here and one line in [`AGENTS`].

mod acp;
mod args;
pub mod claude;
pub mod codex;
mod conversation;
mod diff;
pub mod gemini;
mod hash;
mod hold;
mod json;
mod json_rpc;
mod launch;
mod lines;
pub mod live;
mod lock;
pub mod opencode;
pub mod pi;
mod reader;
mod records;
mod signs;
mod snapshot;
mod store;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::event::{ErrorClass, Event, Outcome, TurnError};
use crate::exit::Exit;
use crate::frame::Line;

pub use conversation::{ConversationFile, Homes};
pub use launch::{
    AgentSession, EnvFallback, HomeLink, HomeRename, LaunchError, LaunchPlan, Subagent, TurnSpec,
};
pub use lock::{HomeLocks, LockOwner};
pub use reader::{OutputReader, Read};
pub use store::{Store, Stored};

/// Why a line gave no event (`replay --explain` prints it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// It gave at least one event.
    No,
    /// It gave none, for this reason.
    Because(&'static str),
}

/// What the CLI's own records say of the turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The terminal record was seen, it says success, and nothing says otherwise.
    Completed,
    /// The CLI or the model said that it failed.
    Failed(TurnError),
    /// The conversation to resume is not there; one may be started anew under the same id.
    ConversationMissing(TurnError),
    /// The CLI said that it was interrupted.
    Interrupted,
    /// No terminal record, or one that is not enough.
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

    /// Whether a terminal record was seen and background work is open, which may bring the agent
    /// back to work.
    fn in_background(&self) -> bool {
        false
    }

    /// The CLI's own session id, once known.
    fn agent_session(&self) -> Option<&str>;

    /// What is needed to go on from here in another process, as JSON with a version in it.
    fn snapshot(&self) -> Vec<u8>;

    /// Before the first line: the last snapshot of the process before this one in the same
    /// conversation. For CLIs whose records count on from there, or whose ids begin anew.
    fn follow(&mut self, _earlier: &[u8]) {}
}

/// A snapshot that cannot be gone on from.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is no snapshot.
    #[error("not a snapshot of this agent's state")]
    Malformed(#[from] serde_json::Error),
    /// Another version of the program wrote it.
    #[error("snapshot of version {found}, but this program knows version {known}")]
    Version {
        /// The version in the snapshot.
        found: u32,
        /// The version that this program writes.
        known: u32,
    },
}

/// An adapter that goes on, or why it cannot.
pub type Restored = Result<Box<dyn Adapter>, RestoreError>;

/// How a CLI is told to shorten its context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compacts {
    /// By the prompt `/compact`, with words behind it that say what to keep, in each of its forms.
    AsAsked,
    /// By the prompt `/compact` alone, in its live form.
    Live,
    /// Not at all, as it is run here: why.
    Never(&'static str),
}

/// The prompt that has a CLI shorten its context.
pub const COMPACT: &str = "/compact";

/// An agent CLI that the program knows.
#[derive(Debug)]
pub struct AgentKind {
    /// What `--agent` calls it.
    pub name: &'static str,
    /// The executable's name.
    pub command: &'static str,
    /// What to run where it is missing, one command a line.
    pub install: &'static [&'static str],
    /// Where its vendor's login may be.
    pub credentials: Credentials,
    /// The CLI's settings file within its home, where a plan has to build on what is in it.
    pub settings: Option<&'static str>,
    /// How one turn of it is started.
    pub plan: fn(&TurnSpec) -> Result<LaunchPlan, LaunchError>,
    /// Whether a process that is started so, and asks for consent or not, takes
    /// [`TurnSpec::subagents`].
    pub takes_subagents: fn(&TurnSpec, bool) -> bool,
    /// An adapter for a process's output from its first byte on.
    pub adapter: fn() -> Box<dyn Adapter>,
    /// An adapter that goes on where a snapshot was taken.
    pub restore: fn(&[u8]) -> Restored,
    /// Where it keeps a conversation, by its own session id; none where no file shows that it is
    /// there, and only the CLI itself can say that it is not.
    pub conversation: Option<fn(&Homes<'_>, &str) -> ConversationFile>,
    /// Where it stores how its turns ended; none where its output alone says so.
    pub store: Option<Store>,
    /// Whether a conversation's file, or the end of it, shows that the agent has answered in a turn
    /// that began at that time or later; none where the output tells of a call before it begins.
    pub has_answered: Option<fn(&[u8], Timestamp) -> bool>,
    /// How it is known what it has taken out of a conversation; none where it keeps what was said.
    pub forgets: Option<Forgets>,
    /// Whether it exits with 0, and without its terminal record, when a signal ends it: then an exit
    /// like that is a death and not a way to end a turn.
    pub exits_well_by_signal: bool,
    /// How it is told to shorten its context.
    pub compacts: Compacts,
    /// Its long-lived form, where it is spoken to in one.
    pub live: Option<live::LiveKind>,
}

/// The record of a CLI that takes an interrupted or failed turn out of its conversation.
#[derive(Debug)]
pub struct Forgets {
    /// Where the record of a conversation is, by the CLI's own session id. Several files may have
    /// that name, of which one is the record.
    pub file: fn(&Homes<'_>, &str) -> Option<ConversationFile>,
    /// When the user said the last that the conversation still has, as ISO 8601 text in UTC with
    /// milliseconds; empty where nothing is left of it. None where nothing was said in it yet, or
    /// nothing is understood.
    pub last_said: fn(&[u8]) -> Option<String>,
}

/// Where a CLI looks for its vendor's login: enough to tell whether there is one, never to read it.
#[derive(Debug)]
pub struct Credentials {
    /// Variables, any one of which is a login. Only what [`LaunchPlan::env_pass`] lets through
    /// counts.
    pub env: &'static [&'static str],
    /// Files, relative to [`TurnSpec::home`], any one of which is a login.
    pub files: &'static [&'static str],
    /// The arguments with which the CLI logs a person in; empty where it has no such command.
    pub login: &'static [&'static str],
}

/// All agents.
pub static AGENTS: &[AgentKind] = &[
    claude::KIND,
    codex::KIND,
    opencode::KIND,
    gemini::KIND,
    pi::KIND,
];

/// A name that no agent has.
#[derive(Debug, thiserror::Error)]
#[error("unknown agent `{name}`; known: {known}")]
pub struct UnknownAgent {
    name: String,
    known: String,
}

/// The agent of that name.
pub fn by_name(name: &str) -> Result<&'static AgentKind, UnknownAgent> {
    let found = AGENTS.iter().find(|agent| agent.name == name);
    found.ok_or_else(|| UnknownAgent {
        name: name.to_owned(),
        known: AGENTS.iter().map(|a| a.name).collect::<Vec<_>>().join(", "),
    })
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_agent_is_told_the_known_ones() {
        let error = by_name("clod").unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown agent `clod`; known: claude, codex, opencode, gemini, pi"
        );
        assert_eq!(by_name("claude").unwrap().name, "claude");
    }
}
