//! Settings: flags, environment and a config file, parsed into types once.
//!
//! ```text
//! flag > AGENT_RUNNER_<FLAG> > the vendor's own variable > config file > default
//! ```
//!
//! Guarantees: [`resolve`] reports every fault that it finds, each with the place where the value
//! stands (flag, variable, or file with line and column); paths in a [`Config`] are absolute; no
//! secret can be printed. The process environment is read by [`EnvMap::of_this_process`] and
//! nowhere else. What a value means to an agent or a repository is not known here.

mod agent_env;
mod api;
mod approval;
mod author;
mod choice;
mod duration;
mod env;
mod expected;
mod fault;
mod file;
mod git;
mod hub;
mod keeping;
mod layers;
mod nearest;
mod options;
mod patience;
mod place;
mod resolve;
mod sandbox;
mod secret;
mod session;
mod setting;
mod setup;
mod size;
mod waking;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

pub use agent_env::{EnvPattern, agent_env, is_ours};
pub use api::{ApiListen, ClientConfig, ClientOptions, resolve_client};
pub use approval::{
    About, ApprovalConfig, ApprovalRule, CommandPattern, HostPattern, PathPattern, WordPattern,
};
pub use author::{Author, InvalidAuthor};
pub use choice::{
    AgentHome, AgentName, Approve, Gate, GateDefault, KeyInUrl, LogLevel, Mode, Otherwise, Output,
    SandboxKind, Stdio,
};
pub use duration::{parse_duration, show_duration};
pub use env::EnvMap;
pub use expected::ExpectedReport;
pub use fault::{ConfigError, Fault, Origin};
pub use git::{Depth, GitConfig, Push, TokenSource};
pub use hub::HubConfig;
pub use keeping::KeepingConfig;
pub use options::{HubOptions, Options};
pub use patience::Patience;
pub use place::{CommandKind, Place, in_container};
pub use resolve::{Given, resolve};
pub use sandbox::SandboxConfig;
pub use session::SessionSettings;
pub use setup::{OnFailure, SetupConfig};
pub use waking::{WakeCommand, resolve_waking};

/// Everything that a run, a daemon or `start` needs to know, checked.
#[derive(Debug)]
pub struct Config {
    /// Which CLI, and how it is run.
    pub agent: AgentConfig,
    /// What to do; `None` when nobody said.
    pub task: Option<Task>,
    /// What to clone; one repository is the workspace, several are folders in it.
    pub repos: Vec<RepoConfig>,
    /// How repositories are cloned and pushed.
    pub git: GitConfig,
    /// What prepares the workspace.
    pub setup: SetupConfig,
    /// Reports that a turn is expected to leave in the workspace.
    pub expected: Vec<ExpectedReport>,
    /// Folders of skills that the agent is to have.
    pub skills: Vec<PathBuf>,
    /// How long a turn may last.
    pub timeout: Option<Duration>,
    /// How long a live process is kept that nobody talks to; none: as long as its session.
    pub idle_timeout: Option<Duration>,
    /// How long the agent may be silent.
    pub patience: Patience,
    /// Where everything durable lies.
    pub state_dir: PathBuf,
    /// Where the workspace goes; by default a folder of its own in the state dir.
    pub workspace_dir: Option<PathBuf>,
    /// Where the agent runs.
    pub sandbox: SandboxConfig,
    /// How much is kept on the disk.
    pub keeping: KeepingConfig,
    /// How events are printed.
    pub output: Output,
    /// The Hub to join; `None` for `run`, which has its own.
    pub hub: Option<HubConfig>,
    /// Serving the API over TCP besides its socket.
    pub api: Option<ApiListen>,
    /// What the log shows.
    pub log_level: LogLevel,
    /// CA certificates (PEM) that TLS connections trust, from `SSL_CERT_FILE`.
    pub ca_file: Option<PathBuf>,
    /// What a person should know of these settings although nothing is wrong with them.
    pub warnings: Vec<String>,
    shown: Vec<Shown>,
}

/// Which CLI, and how it is run.
#[derive(Debug)]
pub struct AgentConfig {
    /// The CLI.
    pub name: AgentName,
    /// One process a turn, or one for many.
    pub mode: Mode,
    /// The model, in the CLI's own words.
    pub model: Option<String>,
    /// How hard the model thinks, in the CLI's own words.
    pub effort: Option<String>,
    /// Text for the system prompt.
    pub system_prompt_file: Option<PathBuf>,
    /// MCP servers, in the CLI's own format.
    pub mcp_config: Option<PathBuf>,
    /// Tools that need no consent; empty: the CLI's own choice.
    pub allowed_tools: Vec<String>,
    /// More arguments for the CLI.
    pub args: Vec<String>,
    /// What the CLI's stdout is.
    pub stdio: Stdio,
    /// Who consents to tool calls.
    pub approval: ApprovalConfig,
    /// Whose home folder the CLI sees.
    pub home: AgentHome,
    /// The user that the CLI runs as.
    pub user: Option<String>,
    /// Whether a CLI that is missing is installed when its session is created. Never for `run`.
    pub install: bool,
    /// The CLI's program, from `agents.<name>.command`.
    pub command: Option<PathBuf>,
    /// More variables for the CLI, from `agents.<name>.env`.
    pub env: BTreeMap<String, String>,
    /// Variables that the CLI gets from our environment besides the base set.
    pub pass_env: Vec<EnvPattern>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// This text.
    Text(String),
    /// What this file holds.
    File(PathBuf),
    /// What stdin holds.
    Stdin,
}

/// Where to clone from.
#[derive(Debug)]
pub struct RepoConfig {
    /// The address as typed; `workspace::RepoUrl` reads it.
    pub url: String,
    /// A branch, a tag or a commit; `None`: the repository's own default.
    pub branch: Option<String>,
}

/// Whether tool calls wait for the Hub's word, and how long.
#[derive(Debug, Clone, Copy)]
pub struct GateConfig {
    /// Whether they do.
    pub gate: Gate,
    /// How long.
    pub timeout: Duration,
    /// What then.
    pub default: GateDefault,
}

impl Default for GateConfig {
    fn default() -> Self {
        Self {
            gate: Gate::Off,
            timeout: Duration::from_secs(30),
            default: GateDefault::Deny,
        }
    }
}

impl Config {
    /// The settings in force as TOML, each with where it comes from; secrets are `***`.
    pub fn render(&self) -> String {
        let lines = self
            .shown
            .iter()
            .map(|shown| format!("{} = {}", shown.key, shown.value));
        let lines: Vec<String> = lines.collect();
        let widest = lines
            .iter()
            .map(String::len)
            .max()
            .unwrap_or(0)
            .min(MAX_COLUMN);
        let mut text = String::new();
        for (line, shown) in lines.iter().zip(&self.shown) {
            // Writing to a string cannot fail.
            writeln!(text, "{line:widest$} # {}", shown.origin).ok();
        }
        text
    }
}

/// Where the origins of rendered settings begin at the latest: one long value moves no other line.
const MAX_COLUMN: usize = 48;

/// A setting as `--print-config` shows it.
#[derive(Debug)]
struct Shown {
    key: String,
    value: String,
    origin: Origin,
}
