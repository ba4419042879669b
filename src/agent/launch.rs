//! What it takes to start an agent CLI for one turn, as plain data.
//!
//! A plan holds no prompt: the prompt is the process's stdin, from a file, since an argument is
//! readable by every user of the machine and ends at 128 KiB.

use std::ffi::OsString;
use std::path::PathBuf;

use uuid::Uuid;

use super::{ConversationFile, HomeLocks};

/// Which conversation of the CLI a turn belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentSession {
    /// A new one, under this id where the CLI lets us choose it.
    New(Uuid),
    /// One that an earlier turn began, by the id that the CLI gave it.
    Resume(String),
}

/// What is asked of a CLI besides the prompt. `None` and empty leave its own default.
#[derive(Debug, Clone)]
pub struct TurnSpec {
    /// The conversation.
    pub agent_session: AgentSession,
    /// The model, as the CLI calls it. Given on every turn, also on a resumed one: Claude Code
    /// 2.1.197 comes back with another context window without it.
    pub model: Option<String>,
    /// How hard the model thinks, as the CLI calls it.
    pub effort: Option<String>,
    /// A file whose text is added to the CLI's own system prompt.
    pub system_prompt_file: Option<PathBuf>,
    /// Its text, read by the caller: for CLIs that take no such file.
    pub system_prompt: Option<String>,
    /// A file that lists MCP servers, as `{"mcpServers": {…}}`.
    pub mcp_config: Option<PathBuf>,
    /// Its text, read by the caller: for CLIs that want it in another form.
    pub mcp_servers: Option<String>,
    /// The text of the CLI's settings file ([`super::AgentKind::settings`]), if it is there.
    pub settings: Option<String>,
    /// The names of the variables that the CLI's environment holds besides the plan's own.
    pub variables: Vec<String>,
    /// The tools that need no consent.
    pub allowed_tools: Vec<String>,
    /// Agents that it can delegate to, where [`super::AgentKind::takes_subagents`].
    pub subagents: Vec<Subagent>,
    /// Arguments of the user, passed on as they are.
    pub extra_args: Vec<OsString>,
    /// The home folder that holds the CLI's settings, login and conversations.
    pub home: PathBuf,
    /// Whether the CLI runs as root, or may find itself to.
    pub is_root: bool,
    /// The folder that it works in.
    pub workspace: PathBuf,
    /// Where the plan's files will be, as an absolute path.
    pub files: PathBuf,
}

/// An agent that a CLI can delegate to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subagent {
    /// Its name: letters, digits, `-` and `_`.
    pub name: String,
    /// What it is good for.
    pub description: String,
    /// Its system prompt.
    pub prompt: String,
    /// The model that it wants, often with its vendor before a `/`.
    pub model: Option<String>,
    /// The tools that it is to have, in Pi's names; empty: it is not said.
    pub tools: Vec<String>,
    /// It changes nothing.
    pub read_only: bool,
}

impl Subagent {
    /// Whether anything is kept from it.
    pub fn is_restricted(&self) -> bool {
        ["bash", "edit", "write"]
            .iter()
            .any(|tool| self.lacks(tool))
    }

    /// Whether it is to be without that tool (of Pi's `bash`, `edit` and `write`).
    pub(super) fn lacks(&self, tool: &str) -> bool {
        let is_named = self
            .tools
            .iter()
            .any(|named| named.eq_ignore_ascii_case(tool));
        let changes = self.read_only && !(tool == "bash" && is_named);
        changes || !(self.tools.is_empty() || is_named)
    }
}

/// How to start a CLI: `command args…`, in exec form with the prompt on stdin from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchPlan {
    /// The executable's name.
    pub command: &'static str,
    /// Its arguments, without the command.
    pub args: Vec<OsString>,
    /// Variables to set.
    pub env: Vec<(OsString, OsString)>,
    /// Files that the CLI is to find, by name within [`TurnSpec::files`]; readable by it alone.
    /// Never secrets: those travel in the environment.
    pub files: Vec<(&'static str, Vec<u8>)>,
    /// Files that the CLI looks for in its home, by their place in [`TurnSpec::home`]; readable by
    /// it alone. They stay, and other turns may use them at the same time: a name never stands
    /// for two contents. Never secrets.
    pub home_files: Vec<(PathBuf, Vec<u8>)>,
    /// Symbolic links beside them, under the same rules.
    pub home_links: Vec<HomeLink>,
    /// A conversation of the home that has to go by another name before it is resumed.
    pub home_rename: Option<HomeRename>,
    /// Locks between the CLI's processes that it leaves in its home when it dies.
    pub home_locks: Option<&'static HomeLocks>,
    /// What a home of the runner's own begins with, by its place there: where anything has that
    /// name, it stays as it is. A user's own home gets nothing.
    pub home_defaults: Vec<(&'static str, &'static [u8])>,
    /// The vendor's variables, to be passed through where they are set. A name that ends in `*`
    /// stands for all that begin so.
    pub env_pass: &'static [&'static str],
    /// Variables that are set from others.
    pub env_fallback: Vec<EnvFallback>,
}

/// A variable that users expect to work, and that the CLI knows by another name only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvFallback {
    /// The name that the CLI knows; left alone where it is set.
    pub name: &'static str,
    /// Where its value comes from, if that is set.
    pub from: &'static str,
    /// A file of the CLI's own (its login) that goes before it where it exists.
    pub unless: PathBuf,
}

/// A symbolic link in the home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeLink {
    /// Its place in [`TurnSpec::home`].
    pub place: PathBuf,
    /// Where it leads; need not be there.
    pub target: PathBuf,
    /// Whether a folder is made there if there is nothing.
    pub is_folder: bool,
}

/// A file of the home that is given another name, if it is there and no file has that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeRename {
    /// The file: where several are meant, the first by its name.
    pub file: ConversationFile,
    /// Its new name, in the same folder.
    pub name: String,
}

/// A turn that cannot be started as asked.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LaunchError {
    /// An argument of the user sets what the runner sets itself.
    #[error("`--agent-arg {flag}`: the runner sets this flag itself; {instead}")]
    OwnedFlag {
        /// The flag.
        flag: String,
        /// What to use in its place.
        instead: &'static str,
    },
    /// The CLI takes an argument of the user in exec form only.
    #[error("`--agent-arg {flag}`: the agent's live form does not take it; use `--mode exec`")]
    ExecOnly {
        /// The argument.
        flag: String,
    },
    /// An argument of the user is no flag: it would be taken for the prompt.
    #[error(
        "`--agent-arg {argument}` would end the flags or be taken for the prompt; give a flag and its value as `--flag=value`"
    )]
    Positional {
        /// The argument.
        argument: String,
    },
    /// The conversation's id is none of the CLI's.
    #[error("`{id}` is no conversation of this agent; start a new session")]
    AgentSession {
        /// The id.
        id: String,
    },
    /// The list of MCP servers cannot be given to the CLI.
    #[error("the MCP servers of `--mcp-config`: {reason}")]
    McpServers {
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The CLI does not know this effort.
    #[error("unknown effort `{effort}`; known: {known}")]
    Effort {
        /// What was asked.
        effort: String,
        /// What there is.
        known: &'static str,
    },
    /// The CLI's own settings cannot be built on.
    #[error("{}: {why}", file.display())]
    Settings {
        /// The file.
        file: PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
}

#[cfg(test)]
impl TurnSpec {
    /// A new conversation, and nothing asked for.
    pub(crate) fn plain() -> Self {
        Self {
            agent_session: AgentSession::New(Uuid::from_u128(7)),
            model: None,
            effort: None,
            system_prompt_file: None,
            system_prompt: None,
            mcp_config: None,
            mcp_servers: None,
            settings: None,
            variables: Vec::new(),
            allowed_tools: Vec::new(),
            subagents: Vec::new(),
            extra_args: Vec::new(),
            home: PathBuf::from("/home/agent"),
            is_root: false,
            workspace: PathBuf::new(),
            files: PathBuf::new(),
        }
    }
}
