//! What a script says, free of any vendor's wire format.
//!
//! A [`Script`] is valid by construction: [`Script::parse`] reports the first fault with its line
//! and, for an unknown key, the nearest known one.

mod read;
mod table;

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

/// A file of replies.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// What users know it by: its path, or `the built-in script`.
    pub(super) name: String,
    /// At least one; at most one of them matches every prompt.
    pub(super) scenarios: Vec<Scenario>,
}

impl Script {
    /// The script that is played where none is named: it lists the files of any repo.
    ///
    /// # Panics
    /// Never: the text is part of the program and a test parses it.
    pub fn built_in() -> Self {
        Self::parse(
            "the built-in script",
            include_str!("../default-script.toml"),
        )
        .expect("a test parses the built-in script")
    }

    /// Reads a script from a file.
    pub fn load(path: &Path) -> Result<Self, ScriptError> {
        let text = std::fs::read_to_string(path).map_err(|source| ScriptError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads a script; `name` stands for it in errors and replies.
    pub fn parse(name: &str, text: &str) -> Result<Self, ScriptError> {
        let scenarios = read::scenarios(text).map_err(|fault| ScriptError::Wrong {
            name: name.to_owned(),
            line: fault.line(text),
            message: fault.message,
        })?;
        Ok(Self {
            name: name.to_owned(),
            scenarios,
        })
    }

    /// What users know it by.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Why there is no script.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// The file cannot be read.
    #[error("cannot read the script {}: {source}; check the path and its mode", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a script.
    #[error("{name}:{line}: {message}")]
    Wrong {
        /// The script.
        name: String,
        /// The line of the fault, from 1.
        line: usize,
        /// What is wrong there and what would be right.
        message: String,
    },
}

/// The replies to one kind of prompt.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scenario {
    /// Part of the prompts that start it; none: any conversation that nothing else matches.
    pub(super) matches: Option<String>,
    /// In the order in which they are played.
    pub(super) replies: Vec<Reply>,
}

/// What one model request is answered with.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reply {
    /// Time before the first byte.
    pub(super) delay: Duration,
    /// Answered with this first.
    pub(super) failure: Option<Failure>,
    /// Cut off like this next.
    pub(super) cut: Option<Cut>,
    /// What it consists of.
    pub(super) steps: Vec<Step>,
    /// Why the model stopped; none: follows from the steps.
    pub(super) stop: Option<Stop>,
    /// The token counts that it claims.
    pub(super) usage: Usage,
}

/// A part of a reply; `T` is a tool call, vendor-neutral or in a CLI's own words.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step<T = Tool> {
    /// Text for the user.
    Say(String, Pace),
    /// Reasoning.
    Think(String, Pace),
    /// A tool that the CLI is to run.
    Call(T, Pace),
    /// Nothing for a while.
    Wait(Duration),
}

/// How a step's content is cut into chunks and when they are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// Characters in a chunk; none: chosen by the length of the content.
    pub(super) chunk: Option<NonZeroUsize>,
    /// Time between two chunks.
    pub(super) pause: Duration,
}

/// A tool call in words that every vendor's CLI has a tool for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tool {
    /// Run a command line.
    Shell { command: String },
    /// Read a file.
    Read { path: String },
    /// Create or replace a file.
    Write { path: String, content: String },
    /// Replace one text in a file by another.
    Edit {
        path: String,
        old: String,
        new: String,
    },
    /// Read a web page.
    Fetch { url: String, question: String },
    /// Let a subagent do something.
    Agent { prompt: String, title: String },
    /// A tool of an MCP server.
    Mcp {
        server: String,
        tool: String,
        input: Value,
    },
    /// A tool by the CLI's own name for it.
    Native { name: String, input: Value },
}

impl Tool {
    /// The key of its step in a script.
    pub(super) fn step(&self) -> &'static str {
        match self {
            Self::Shell { .. } => "shell",
            Self::Read { .. } => "read",
            Self::Write { .. } => "write",
            Self::Edit { .. } => "edit",
            Self::Fetch { .. } => "fetch",
            Self::Agent { .. } => "agent",
            Self::Mcp { .. } => "mcp",
            Self::Native { .. } => "tool",
        }
    }
}

/// An HTTP error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// Which one.
    pub(super) kind: FailureKind,
    /// What the error body says; none: what the vendor usually says.
    pub(super) message: Option<String>,
    /// Seconds, for the `retry-after` header.
    pub(super) retry_after: Option<u64>,
    /// For how many requests; none: for all.
    pub(super) times: Option<NonZeroU32>,
}

/// Which HTTP error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// By its status.
    Status {
        /// 400 to 599.
        status: u16,
        /// The vendor's name for it; none: the one that belongs to the status.
        name: Option<String>,
    },
    /// By what it means: each vendor has a status and a name of its own for it.
    Cause(Cause),
}

/// What an error means, where the status alone does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The prompt is longer than the model takes.
    ContextOverflow,
    /// The account has nothing left to spend.
    Quota,
    /// There is no such model.
    ModelNotFound,
}

/// A stream that ends before its reply does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    /// Chunks of content that are sent before.
    pub(super) after: usize,
    /// How it ends.
    pub(super) how: CutKind,
    /// For how many requests; none: for all.
    pub(super) times: Option<NonZeroU32>,
}

/// The ways in which a stream is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CutKind {
    /// The connection is reset (TCP RST).
    Reset,
    /// The response ends as if it were whole.
    End,
    /// The stream carries an error.
    Error,
}

/// Why the model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// It had said everything.
    EndTurn,
    /// It waits for tool results.
    ToolUse,
    /// It reached the output limit.
    MaxTokens,
    /// It would not answer.
    Refusal,
}

/// Token counts. All zero where the script says nothing: nothing was spent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Prompt tokens that no cache had a part in.
    pub(super) input: u64,
    /// Tokens of the reply, reasoning included.
    pub(super) output: u64,
    /// Tokens of the reply that are reasoning; not all vendors tell.
    pub(super) reasoning: u64,
    /// Prompt tokens read from the cache.
    pub(super) cache_read: u64,
    /// Prompt tokens written to the cache.
    pub(super) cache_write: u64,
}

#[cfg(test)]
mod tests;
