//! What a shim is to run.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::process::{Identity, Reach};

/// A run as it is written to `plan.json`. The environment is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The program, as an absolute path.
    pub program: PathBuf,
    /// Its arguments, without its own name.
    pub args: Vec<String>,
    /// The folder in which it runs, as an absolute path.
    pub workspace: PathBuf,
    /// What its stdin is.
    pub stdin: Stdin,
    /// What its stdout is.
    pub stdout: Stdout,
    /// After this many milliseconds it is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// The process that it is run for, where nobody takes the run over from that one: when it is
    /// gone the run is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_with: Option<Identity>,
    /// When the spool holds this many bytes the shim stops reading, and the CLI soon blocks.
    pub spool_quota: u64,
    /// The user that it becomes; none means that it stays the shim's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    /// The only files that it gets at; none: all that its user may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<Reach>,
    /// Deny new privileges and files open to others even without another user: in a container
    /// nobody but the agent is there to need them. Always so under another user.
    #[serde(default)]
    pub confined: bool,
}

/// What stdin of the CLI is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdin {
    /// Empty.
    Null,
    /// The run's `prompt.txt`.
    Prompt,
    /// A pipe, fed over the control socket.
    Pipe,
}

/// What stdout of the CLI is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdout {
    /// A PTY in raw mode: CLIs that buffer whole blocks on a pipe write each line at once.
    Pty(Window),
    /// A pipe.
    Pipe,
}

/// A terminal's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

impl Default for Window {
    /// Wide enough that a CLI which looks at it folds nothing.
    fn default() -> Self {
        Self {
            rows: 50,
            columns: 200,
        }
    }
}

/// A user to become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups.
    #[serde(default)]
    pub groups: Vec<u32>,
}

impl Plan {
    /// A plan with a PTY for stdout, the prompt file for stdin, no timeout and `spool_quota` bytes.
    pub fn new(program: &Path, args: Vec<String>, workspace: &Path, spool_quota: u64) -> Self {
        Self {
            program: program.to_owned(),
            args,
            workspace: workspace.to_owned(),
            stdin: Stdin::Prompt,
            stdout: Stdout::Pty(Window::default()),
            timeout_ms: None,
            ends_with: None,
            spool_quota,
            user: None,
            reach: None,
            confined: false,
        }
    }
}
