//! The table of settings: each setting's key in the file, its flag, its variables, its shape.

/// What a setting's value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One text.
    Text,
    /// Texts; in a variable separated by commas.
    List,
    /// Texts that may hold commas; in a variable one a line, in the file a list or a single text.
    Lines,
    /// On or off: in the file `true` or `false`, in a variable also `1` or `0`.
    Switch,
    /// A number, or a word that stands for one: in the file without or with quotes.
    Number,
}

/// A setting of one value.
#[derive(Debug)]
pub(super) struct Setting {
    /// Its key in the config file.
    pub(super) key: &'static str,
    /// Its flag; empty where there is none.
    pub(super) flag: &'static str,
    /// Our variable, then the vendor's own, by precedence.
    pub(super) variables: &'static [&'static str],
    /// What its value looks like.
    pub(super) shape: Shape,
    /// Whether the config file may hold it: secrets and a run's own task may not.
    pub(super) in_file: bool,
}

macro_rules! settings {
    ($($name:ident: $key:literal $flag:literal [$($variable:literal),*] $shape:ident $in_file:literal;)+) => {
        $(pub(super) const $name: Setting = Setting {
            key: $key,
            flag: $flag,
            variables: &[$($variable),*],
            shape: Shape::$shape,
            in_file: $in_file,
        };)+

        /// Every setting.
        pub(super) const ALL: &[&Setting] = &[$(&$name),+];
    };
}

settings! {
    CONFIG: "config" "--config" ["AGENT_RUNNER_CONFIG"] Text false;
    AGENT: "agent" "--agent" ["AGENT_RUNNER_AGENT"] Text true;
    MODE: "mode" "--mode" ["AGENT_RUNNER_MODE"] Text true;
    MODEL: "model" "--model" ["AGENT_RUNNER_MODEL"] Text true;
    EFFORT: "effort" "--effort" ["AGENT_RUNNER_EFFORT"] Text true;
    SYSTEM_PROMPT_FILE: "system_prompt_file" "--system-prompt-file" ["AGENT_RUNNER_SYSTEM_PROMPT_FILE"] Text true;
    MCP_CONFIG: "mcp_config" "--mcp-config" ["AGENT_RUNNER_MCP_CONFIG"] Text true;
    ALLOWED_TOOLS: "allowed_tools" "--allowed-tools" ["AGENT_RUNNER_ALLOWED_TOOLS"] List true;
    AGENT_ARGS: "agent_args" "--agent-arg" ["AGENT_RUNNER_AGENT_ARG"] Lines true;
    PASS_ENV: "pass_env" "--pass-env" ["AGENT_RUNNER_PASS_ENV"] List true;
    STDIO: "stdio" "--stdio" ["AGENT_RUNNER_STDIO"] Text true;
    APPROVE: "approve" "--approve" ["AGENT_RUNNER_APPROVE"] Text true;
    APPROVAL_TIMEOUT: "approval.timeout" "--approval-timeout" ["AGENT_RUNNER_APPROVAL_TIMEOUT"] Text true;
    APPROVAL_OTHERWISE: "approval.otherwise" "--approval-otherwise" ["AGENT_RUNNER_APPROVAL_OTHERWISE"] Text true;
    REPO: "repo" "--repo" ["AGENT_RUNNER_REPO"] Lines true;
    BRANCH: "branch" "--branch" ["AGENT_RUNNER_BRANCH"] Lines true;
    GIT_TOKEN_FILE: "git_token_file" "--git-token-file" ["AGENT_RUNNER_GIT_TOKEN_FILE"] Text true;
    GIT_TOKEN_ENV: "git.token_env" "" ["AGENT_RUNNER_GIT_TOKEN_ENV"] Text true;
    GIT_TOKEN_COMMAND: "git.token_command" "" ["AGENT_RUNNER_GIT_TOKEN_COMMAND"] Lines true;
    GIT_TOKEN_HOST: "git.token_host" "" ["AGENT_RUNNER_GIT_TOKEN_HOST"] Text true;
    GIT_ALLOW_HOSTS: "git.allow_hosts" "" ["AGENT_RUNNER_GIT_ALLOW_HOSTS"] List true;
    GIT_DEPTH: "git.depth" "" ["AGENT_RUNNER_GIT_DEPTH"] Number true;
    GIT_MAX_SIZE: "git.max_size" "" ["AGENT_RUNNER_GIT_MAX_SIZE"] Text true;
    GIT_SUBMODULES: "git.submodules" "" ["AGENT_RUNNER_GIT_SUBMODULES"] Switch true;
    GIT_LFS: "git.lfs" "" ["AGENT_RUNNER_GIT_LFS"] Switch true;
    GIT_PUSH: "git.push" "" ["AGENT_RUNNER_GIT_PUSH"] Text true;
    GIT_PUSH_BRANCH: "git.push_branch" "" ["AGENT_RUNNER_GIT_PUSH_BRANCH"] Text true;
    GIT_AUTHOR: "git.author" "" ["AGENT_RUNNER_GIT_AUTHOR"] Text true;
    SETUP: "setup.script" "--setup" ["AGENT_RUNNER_SETUP"] Text true;
    SETUP_TIMEOUT: "setup.timeout" "" ["AGENT_RUNNER_SETUP_TIMEOUT"] Text true;
    SETUP_ON_FAILURE: "setup.on_failure" "" ["AGENT_RUNNER_SETUP_ON_FAILURE"] Text true;
    EXPECT: "expect" "--expect" ["AGENT_RUNNER_EXPECT"] Lines true;
    SKILLS: "skills" "--skill" ["AGENT_RUNNER_SKILL"] Lines true;
    TIMEOUT: "timeout" "--timeout" ["AGENT_RUNNER_TIMEOUT"] Text true;
    IDLE_TIMEOUT: "idle_timeout" "--idle-timeout" ["AGENT_RUNNER_IDLE_TIMEOUT"] Text true;
    PATIENCE: "patience" "--patience" ["AGENT_RUNNER_PATIENCE"] List true;
    TASK: "task" "TASK" ["AGENT_RUNNER_TASK"] Text false;
    TASK_FILE: "task_file" "--task-file" ["AGENT_RUNNER_TASK_FILE"] Text true;
    AGENT_HOME: "agent_home" "--agent-home" ["AGENT_RUNNER_AGENT_HOME"] Text true;
    AGENT_USER: "agent_user" "--agent-user" ["AGENT_RUNNER_AGENT_USER"] Text true;
    SKIP_INSTALL: "skip_install" "--skip-install" ["AGENT_RUNNER_SKIP_INSTALL"] Switch true;
    STATE_DIR: "state_dir" "--state-dir" ["AGENT_RUNNER_STATE_DIR"] Text true;
    SANDBOX: "sandbox" "--sandbox" ["AGENT_RUNNER_SANDBOX"] Text true;
    SANDBOX_IMAGE: "sandbox_image" "--sandbox-image" ["AGENT_RUNNER_SANDBOX_IMAGE"] Text true;
    SANDBOX_NETWORK: "sandbox_network" "--sandbox-network" ["AGENT_RUNNER_SANDBOX_NETWORK"] Text true;
    SANDBOX_MEMORY: "sandbox_memory" "" ["AGENT_RUNNER_SANDBOX_MEMORY"] Text true;
    SANDBOX_CPUS: "sandbox_cpus" "" ["AGENT_RUNNER_SANDBOX_CPUS"] Text true;
    SANDBOX_PIDS: "sandbox_pids" "" ["AGENT_RUNNER_SANDBOX_PIDS"] Text true;
    LANDLOCK: "landlock" "" ["AGENT_RUNNER_LANDLOCK"] Switch true;
    WORKSPACE_DIR: "workspace_dir" "--workspace-dir" ["AGENT_RUNNER_WORKSPACE_DIR"] Text true;
    JOURNAL_QUOTA: "journal_quota" "" ["AGENT_RUNNER_JOURNAL_QUOTA"] Text true;
    JOURNAL_RETAIN: "journal_retain" "" ["AGENT_RUNNER_JOURNAL_RETAIN"] Text true;
    JOURNAL_RETAIN_SIZE: "journal_retain_size" "" ["AGENT_RUNNER_JOURNAL_RETAIN_SIZE"] Text true;
    SPOOL_QUOTA: "spool_quota" "" ["AGENT_RUNNER_SPOOL_QUOTA"] Text true;
    SPOOL_RETAIN: "spool_retain" "" ["AGENT_RUNNER_SPOOL_RETAIN"] Switch true;
    SESSION_RETAIN: "session_retain" "" ["AGENT_RUNNER_SESSION_RETAIN"] Text true;
    CHECKPOINTS: "checkpoints" "" ["AGENT_RUNNER_CHECKPOINTS"] Switch true;
    OUTPUT: "output" "--output" ["AGENT_RUNNER_OUTPUT"] Text true;
    LOG_LEVEL: "log_level" "--log-level" ["AGENT_RUNNER_LOG_LEVEL"] Text true;
    HUB: "hub" "--hub" ["AGENT_RUNNER_HUB", "AGENTUITY_CODER_URL", "AGENTUITY_CODER_HUB_URL"] Text true;
    HUB_KEY_FILE: "hub_key_file" "--hub-key-file" ["AGENT_RUNNER_HUB_KEY_FILE"] Text true;
    HUB_KEY: "hub_key" "" ["AGENT_RUNNER_HUB_KEY", "AGENTUITY_SDK_KEY", "AGENTUITY_CODER_API_KEY", "AGENTUITY_CLI_KEY"] Text false;
    HUB_ORG: "hub_org" "" ["AGENT_RUNNER_HUB_ORG", "AGENTUITY_ORGID", "AGENTUITY_CLOUD_ORG_ID"] Text true;
    HUB_KEY_IN_URL: "hub_key_in_url" "" ["AGENT_RUNNER_HUB_KEY_IN_URL"] Text true;
    HUB_COALESCE: "hub_coalesce" "" ["AGENT_RUNNER_HUB_COALESCE"] Text true;
    HUB_SESSION_FILE: "hub_session_file" "" ["AGENT_RUNNER_HUB_SESSION_FILE"] Switch true;
    HUB_WAIT: "hub_wait" "--hub-wait" ["AGENT_RUNNER_HUB_WAIT"] Text true;
    HUB_GATE: "hub_gate" "" ["AGENT_RUNNER_HUB_GATE"] Text true;
    HUB_GATE_TIMEOUT: "hub_gate_timeout" "" ["AGENT_RUNNER_HUB_GATE_TIMEOUT"] Text true;
    HUB_GATE_DEFAULT: "hub_gate_default" "" ["AGENT_RUNNER_HUB_GATE_DEFAULT"] Text true;
    API: "api" "--api" ["AGENT_RUNNER_API"] Text true;
    API_LISTEN: "api_listen" "--api-listen" ["AGENT_RUNNER_API_LISTEN"] Text true;
    API_TOKEN_FILE: "api_token_file" "--api-token-file" ["AGENT_RUNNER_API_TOKEN_FILE"] Text true;
    WAKE_COMMAND: "wake_command" "--wake-command" ["AGENT_RUNNER_WAKE_COMMAND"] Lines true;
    SESSION: "session" "--session" ["AGENT_RUNNER_SESSION"] Text false;
}

/// The table of tables in the file that holds settings per agent.
pub(super) const AGENTS: &str = "agents";

/// The tables whose keys stand in [`ALL`] with the table's name before them.
pub(super) const TABLES: &[&str] = &["git", "setup"];
/// The table in the file that holds settings and rules of approval.
pub(super) const APPROVAL: &str = "approval";

/// The keys that the config file may hold.
pub(super) fn file_keys() -> impl Iterator<Item = &'static str> {
    let keys = ALL
        .iter()
        .filter(|setting| setting.in_file)
        .map(|setting| setting.key);
    keys.chain([AGENTS, APPROVAL])
}
