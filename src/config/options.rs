//! The flags that `run`, `daemon` and `start` share, for clap to flatten.
//!
//! Values stay text here: they are read in one place, whichever layer they come from, so that a
//! wrong one gives the same message and says where it stands.

use std::collections::BTreeMap;

use super::setting::{self, Setting};

/// Flags of every command that runs an agent.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// Agent CLI to run [default: claude]
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// One CLI process a turn (exec), one for many (live), or what tells more [default: auto]
    #[arg(long, value_name = "auto|live|exec")]
    pub mode: Option<String>,
    /// Model, in the CLI's own words
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Reasoning effort, in the CLI's own words
    #[arg(long, value_name = "LEVEL")]
    pub effort: Option<String>,
    /// File whose text is added to the system prompt
    #[arg(long, value_name = "FILE")]
    pub system_prompt_file: Option<String>,
    /// MCP servers, in the CLI's own format
    #[arg(long, value_name = "FILE")]
    pub mcp_config: Option<String>,
    /// Tools that need no consent, separated by commas
    #[arg(long, value_name = "TOOLS", value_delimiter = ',')]
    pub allowed_tools: Vec<String>,
    /// One more argument for the CLI (repeatable)
    #[arg(long = "agent-arg", value_name = "ARG", allow_hyphen_values = true)]
    pub agent_args: Vec<String>,
    /// Variables that the CLI gets too: NAME or PREFIX_*, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub pass_env: Vec<String>,
    /// What the CLI's stdout is [default: pty]
    #[arg(long, value_name = "pty|pipe")]
    pub stdio: Option<String>,
    /// Who consents to tool calls: nobody is asked, a person, or the config file's rules
    /// [default: auto]
    #[arg(long, value_name = "auto|ask|policy")]
    pub approve: Option<String>,
    /// How long a request waits for consent before it is denied, or none [default: 10m]
    #[arg(long, value_name = "DURATION")]
    pub approval_timeout: Option<String>,
    /// What becomes of a request that no rule decides [default: ask]
    #[arg(long, value_name = "ask|deny|allow")]
    pub approval_otherwise: Option<String>,
    /// Repository to clone: https URL, file URL or local path (repeatable)
    #[arg(long = "repo", value_name = "URL")]
    pub repos: Vec<String>,
    /// Branch, tag or commit to check out; of several repositories one each, HEAD for the default
    #[arg(long = "branch", value_name = "NAME")]
    pub branches: Vec<String>,
    /// File with the token for a private repository
    #[arg(long, value_name = "FILE")]
    pub git_token_file: Option<String>,
    /// Script that prepares the workspace, run once before the first turn
    #[arg(long, value_name = "FILE")]
    pub setup: Option<String>,
    /// Report that each turn must leave in the workspace, and its JSON schema (repeatable)
    #[arg(long = "expect", value_name = "FILE[:SCHEMA]")]
    pub expected: Vec<String>,
    /// Folder of a skill that the agent is to have (repeatable)
    #[arg(long = "skill", value_name = "DIR")]
    pub skills: Vec<String>,
    /// Longest time for a turn: 90s, 10m, 2h [default: 2h for run, else none]
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// How long a live agent process is kept that nobody talks to [default: 10m]
    #[arg(long, value_name = "DURATION")]
    pub idle_timeout: Option<String>,
    /// How long the agent may be silent, by what it is doing: model=45m, tool=none, …
    #[arg(long, value_name = "STATE=DURATION", value_delimiter = ',')]
    pub patience: Vec<String>,
    /// File with the task
    #[arg(long, value_name = "FILE")]
    pub task_file: Option<String>,
    /// Home folder of the CLI: the user's own, or one in the state dir
    #[arg(long, value_name = "user|state")]
    pub agent_home: Option<String>,
    /// User that the CLI runs as (needs root)
    #[arg(long, value_name = "NAME")]
    pub agent_user: Option<String>,
    /// Where the agent runs: on this machine, or in a container beside us [default: local]
    #[arg(long, value_name = "local|docker")]
    pub sandbox: Option<String>,
    /// Image of the container [default: agent-runner:<agent>]
    #[arg(long, value_name = "IMAGE")]
    pub sandbox_image: Option<String>,
    /// Network of the container: none, bridge, host or a network's name [default: bridge]
    #[arg(long, value_name = "NETWORK")]
    pub sandbox_network: Option<String>,
    /// Folder for everything durable [default: $XDG_STATE_HOME/agent-runner]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<String>,
    /// Folder for the workspace [default: one in the state dir]
    #[arg(long, value_name = "DIR")]
    pub workspace_dir: Option<String>,
    /// How events are printed [default: pretty]
    #[arg(long, value_name = "pretty|jsonl")]
    pub output: Option<String>,
    /// What the log shows [default: warn]
    #[arg(long, value_name = "off|error|warn|info|debug|trace")]
    pub log_level: Option<String>,
    /// Config file [default: $XDG_CONFIG_HOME/agent-runner/config.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
    /// Show the settings in force and where each comes from, and end
    #[arg(long)]
    pub print_config: bool,
}

/// Flags of the commands that join a Hub.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct HubOptions {
    /// Hub to join, as http, https, ws or wss URL
    #[arg(long, value_name = "URL")]
    pub hub: Option<String>,
    /// File with the Hub's key
    #[arg(long, value_name = "FILE")]
    pub hub_key_file: Option<String>,
    /// How long an unreachable Hub is tried at the start [default: 60s]
    #[arg(long, value_name = "DURATION")]
    pub hub_wait: Option<String>,
    /// Session to lead; without it one is created
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
    /// Serve the local API over TCP too, to who shows the token
    #[arg(long, value_name = "ADDR:PORT")]
    pub api_listen: Option<String>,
    /// File with the API's token
    #[arg(long, value_name = "FILE")]
    pub api_token_file: Option<String>,
    /// Do not install a missing agent CLI
    #[arg(long)]
    pub skip_install: bool,
    /// End after the session's task, with its exit code
    #[arg(long)]
    pub once: bool,
}

/// What was typed on the command line, by setting.
pub(super) type Typed = BTreeMap<&'static str, Vec<String>>;

impl Options {
    #[expect(clippy::too_many_lines, reason = "two lines for each flag")]
    pub(super) fn add_to(&self, typed: &mut Typed) {
        // Taken apart whole: a new flag cannot be forgotten here.
        let Self {
            agent,
            mode,
            model,
            effort,
            system_prompt_file,
            mcp_config,
            allowed_tools,
            agent_args,
            pass_env,
            stdio,
            approve,
            approval_timeout,
            approval_otherwise,
            repos,
            branches,
            git_token_file,
            setup,
            expected,
            skills,
            timeout,
            idle_timeout,
            patience,
            task_file,
            agent_home,
            agent_user,
            sandbox,
            sandbox_image,
            sandbox_network,
            state_dir,
            workspace_dir,
            output,
            log_level,
            config,
            print_config: _,
        } = self;
        let texts = [
            (&setting::AGENT, agent),
            (&setting::MODE, mode),
            (&setting::MODEL, model),
            (&setting::EFFORT, effort),
            (&setting::SYSTEM_PROMPT_FILE, system_prompt_file),
            (&setting::MCP_CONFIG, mcp_config),
            (&setting::STDIO, stdio),
            (&setting::APPROVE, approve),
            (&setting::APPROVAL_TIMEOUT, approval_timeout),
            (&setting::APPROVAL_OTHERWISE, approval_otherwise),
            (&setting::GIT_TOKEN_FILE, git_token_file),
            (&setting::SETUP, setup),
            (&setting::TIMEOUT, timeout),
            (&setting::IDLE_TIMEOUT, idle_timeout),
            (&setting::TASK_FILE, task_file),
            (&setting::AGENT_HOME, agent_home),
            (&setting::AGENT_USER, agent_user),
            (&setting::SANDBOX, sandbox),
            (&setting::SANDBOX_IMAGE, sandbox_image),
            (&setting::SANDBOX_NETWORK, sandbox_network),
            (&setting::STATE_DIR, state_dir),
            (&setting::WORKSPACE_DIR, workspace_dir),
            (&setting::OUTPUT, output),
            (&setting::LOG_LEVEL, log_level),
            (&setting::CONFIG, config),
        ];
        add(typed, &texts);
        for (setting, values) in [
            (&setting::ALLOWED_TOOLS, allowed_tools),
            (&setting::AGENT_ARGS, agent_args),
            (&setting::PASS_ENV, pass_env),
            (&setting::PATIENCE, patience),
            (&setting::REPO, repos),
            (&setting::BRANCH, branches),
            (&setting::EXPECT, expected),
            (&setting::SKILLS, skills),
        ] {
            if !values.is_empty() {
                typed.insert(setting.key, values.clone());
            }
        }
    }
}

impl HubOptions {
    pub(super) fn add_to(&self, typed: &mut Typed) {
        let Self {
            hub,
            hub_key_file,
            hub_wait,
            session,
            api_listen,
            api_token_file,
            skip_install,
            once: _,
        } = self;
        if *skip_install {
            typed.insert(setting::SKIP_INSTALL.key, vec![true.to_string()]);
        }
        let texts = [
            (&setting::HUB, hub),
            (&setting::HUB_KEY_FILE, hub_key_file),
            (&setting::HUB_WAIT, hub_wait),
            (&setting::SESSION, session),
            (&setting::API_LISTEN, api_listen),
            (&setting::API_TOKEN_FILE, api_token_file),
        ];
        add(typed, &texts);
    }
}

fn add(typed: &mut Typed, texts: &[(&'static Setting, &Option<String>)]) {
    for (setting, value) in texts {
        if let Some(value) = value {
            typed.insert(setting.key, vec![value.clone()]);
        }
    }
}
