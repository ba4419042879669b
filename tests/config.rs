//! Settings from the command line to the typed result: precedence, every fault with its place,
//! and what is shown of them.
#![allow(clippy::unwrap_used, clippy::panic)] // a test's own fixtures

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_runner::config::{
    AgentHome, Approve, CommandKind, Config, ConfigError, EnvMap, Given, HubOptions, LogLevel,
    Mode, Options, Otherwise, Output, Place, Stdio, Task, TokenSource, resolve,
};
use clap::Parser;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

#[derive(Debug, Parser)]
struct CommandLine {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    hub: HubOptions,
    task: Option<String>,
}

/// A folder with a config file in its usual place, and a person who types there.
struct Desk {
    dir: TempDir,
    variables: Vec<(String, String)>,
    command: CommandKind,
    container: bool,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap().to_owned();
        Self {
            dir,
            variables: vec![("HOME".to_owned(), home)],
            command: CommandKind::Run,
            container: false,
        }
    }

    fn daemon() -> Self {
        Self {
            command: CommandKind::Daemon,
            ..Self::new()
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config_file(self, text: &str) -> Self {
        let folder = self.path(".config/agent-runner");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.toml"), text).unwrap();
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    fn type_in(&self, words: &[&str]) -> Result<Config, ConfigError> {
        let line = CommandLine::try_parse_from([&["agent-runner"], words].concat()).unwrap();
        let given = Given {
            options: &line.options,
            hub: (self.command != CommandKind::Run).then_some(&line.hub),
            task: line.task.as_deref(),
        };
        let place = Place {
            command: self.command,
            cwd: self.dir.path().to_owned(),
            container: self.container,
            agents: vec!["claude"],
        };
        let env: EnvMap = self.variables.iter().cloned().collect();
        resolve(&given, &env, &place)
    }

    fn faults(&self, words: &[&str]) -> String {
        let text = self.type_in(words).unwrap_err().to_string();
        text.replace(self.dir.path().to_str().unwrap(), "~")
    }
}

#[test]
fn without_settings_a_run_has_its_defaults() {
    let desk = Desk::new();
    let config = desk.type_in(&["do it"]).unwrap();
    assert_eq!(config.agent.name.as_str(), "claude");
    assert_eq!(config.agent.mode, Mode::Auto);
    assert_eq!(config.agent.stdio, Stdio::Pty);
    assert_eq!(config.agent.home, AgentHome::User);
    assert_eq!(config.timeout, Some(Duration::from_hours(2)));
    assert_eq!(config.output, Output::Pretty);
    assert_eq!(config.log_level, LogLevel::Warn);
    assert_eq!(config.state_dir, desk.path(".local/state/agent-runner"));
    assert_eq!(config.task, Some(Task::Text("do it".to_owned())));
    assert!(config.hub.is_none() && config.repos.is_empty() && config.warnings.is_empty());
}

#[test]
fn a_daemon_and_a_container_have_a_home_of_their_own_for_the_agent() {
    let daemon = Desk::daemon()
        .type_in(&["--hub", "http://127.0.0.1:1"])
        .unwrap();
    assert_eq!(daemon.agent.home, AgentHome::State);
    assert_eq!(daemon.timeout, None);
    let mut desk = Desk::new();
    desk.container = true;
    assert_eq!(desk.type_in(&["x"]).unwrap().agent.home, AgentHome::State);
}

#[test]
fn a_flag_is_above_a_variable_above_the_file_above_the_default() {
    let desk = Desk::new()
        .config_file("model = 'file'\neffort = 'file'\noutput = 'jsonl'\n")
        .env("AGENT_RUNNER_MODEL", "variable")
        .env("AGENT_RUNNER_EFFORT", "variable");
    let config = desk.type_in(&["--model", "flag", "x"]).unwrap();
    assert_eq!(config.agent.model.as_deref(), Some("flag"));
    assert_eq!(config.agent.effort.as_deref(), Some("variable"));
    assert_eq!(config.output, Output::Jsonl);
    assert_eq!(config.agent.stdio, Stdio::Pty);
}

#[test]
fn an_empty_variable_is_not_set() {
    let desk = Desk::new().env("AGENT_RUNNER_MODEL", "");
    assert_eq!(desk.type_in(&["x"]).unwrap().agent.model, None);
}

#[test]
fn every_fault_of_every_layer_is_listed_with_its_place() {
    let desk = Desk::new()
        .config_file(
            "modle = 'opus'\nmode = 'turbo'\ntimeout = 90\nallowed_tools = ['Read', 7]\nhub_key = 'k'\n\
             [agents.claud]\n[agents.claude]\ncomand = 'x'\nenv = { AGENTUITY_SDK_KEY = 'k', A = true }\n",
        )
        .env("AGENT_RUNNER_STDIO", "tube");
    let faults = desk.faults(&["--timeout", "5x", "--output", "xml", "do it"]);
    insta::assert_snapshot!(faults, @r#"
    ~/.config/agent-runner/config.toml:1:1: unknown key `modle`; did you mean `model`?
    ~/.config/agent-runner/config.toml:2:8: `turbo` is not one of auto, live, exec
    ~/.config/agent-runner/config.toml:3:11: `timeout` must be a string in quotes, and this is of type integer
    ~/.config/agent-runner/config.toml:4:26: `allowed_tools` must be a list of strings, as ["a", "b"], and this is of type integer
    ~/.config/agent-runner/config.toml:5:1: `hub_key` does not belong in a config file; use AGENT_RUNNER_HUB_KEY
    ~/.config/agent-runner/config.toml:6:9: unknown key `claud`; did you mean `claude`?
    ~/.config/agent-runner/config.toml:8:1: unknown key `comand`; did you mean `command`?
    ~/.config/agent-runner/config.toml:9:9: `AGENTUITY_SDK_KEY` never reaches an agent: such names are the runner's own
    ~/.config/agent-runner/config.toml:9:38: `A` must be a string in quotes, and this is of type boolean
    AGENT_RUNNER_STDIO: `tube` is not one of pty, pipe
    --timeout: `5x` is no duration; write a number and a unit, as 90s, 10m or 2h
    --output: `xml` is not one of pretty, jsonl
    "#);
}

#[test]
fn a_file_that_is_no_toml_is_reported_by_line_and_column() {
    let desk = Desk::new().config_file("model = 'opus'\nmode = = 'exec'\n");
    let faults = desk.faults(&["x"]);
    assert!(
        faults.starts_with("~/.config/agent-runner/config.toml:2:"),
        "{faults}"
    );
}

#[test]
fn a_config_file_that_was_asked_for_must_be_there() {
    let faults = Desk::new().faults(&["--config", "none.toml", "x"]);
    assert!(
        faults.starts_with("--config: cannot read ~/none.toml: "),
        "{faults}"
    );
    let desk = Desk::new();
    fs::write(desk.path("bytes.toml"), b"model = '\xff'").unwrap();
    for (file, why) in [
        (".", "it is a folder, not a file"),
        ("bytes.toml", "it is not UTF-8 text"),
    ] {
        let faults = desk.faults(&["--config", file, "x"]);
        assert!(faults.ends_with(why), "{faults}");
    }
    let desk = Desk::new().env("AGENT_RUNNER_CONFIG", "mine.toml");
    fs::write(desk.path("mine.toml"), "model = 'mine'").unwrap();
    let config = desk.type_in(&["x"]).unwrap();
    assert_eq!(config.agent.model.as_deref(), Some("mine"));
}

#[test]
fn a_path_starts_where_it_was_written() {
    let desk = Desk::new().config_file("workspace_dir = 'w'\nstate_dir = '~/s'\n");
    let config = desk.type_in(&["x"]).unwrap();
    assert_eq!(
        config.workspace_dir,
        Some(desk.path(".config/agent-runner/w"))
    );
    assert_eq!(config.state_dir, desk.path("s"));
    let config = desk.type_in(&["--workspace-dir", "w", "x"]).unwrap();
    assert_eq!(config.workspace_dir, Some(desk.path("w")));
}

#[test]
fn without_a_home_the_state_dir_must_be_given() {
    let mut desk = Desk::new();
    desk.variables.clear();
    assert!(
        desk.faults(&["x"])
            .starts_with("--state-dir: neither HOME nor")
    );
    let config = desk.type_in(&["--state-dir", "s", "x"]).unwrap();
    assert_eq!(config.state_dir, desk.path("s"));
}

#[test]
fn the_task_is_text_or_a_file_or_stdin_and_only_one_of_them() {
    let desk = Desk::new();
    fs::write(desk.path("task.md"), "do it").unwrap();
    let task = |desk: &Desk, words: &[&str]| desk.type_in(words).unwrap().task.unwrap();
    assert_eq!(task(&desk, &["-"]), Task::Stdin);
    assert_eq!(
        task(&desk, &["--task-file", "task.md"]),
        Task::File(desk.path("task.md"))
    );
    assert!(
        desk.faults(&["--task-file", "task.md", "x"])
            .contains("give one")
    );
    assert!(
        desk.faults(&["--task-file", "none.md"])
            .contains("cannot read ~/none.md")
    );
    assert!(desk.faults(&["--task-file", "."]).contains("is a folder"));
    assert!(desk.faults(&[]).contains("say what to do"));
    assert!(desk.faults(&[" "]).contains("is empty"));
    let desk = desk.env("AGENT_RUNNER_TASK", "from a variable");
    assert_eq!(task(&desk, &[]), Task::Text("from a variable".to_owned()));
    assert_eq!(task(&desk, &["typed"]), Task::Text("typed".to_owned()));
}

#[test]
fn the_hub_and_its_key_are_found_in_their_order() {
    let vendor = || {
        Desk::daemon()
            .env("AGENTUITY_CODER_HUB_URL", "wss://second.example")
            .env("AGENTUITY_CODER_URL", "https://first.example")
            .env("AGENTUITY_CLI_KEY", "third")
            .env("AGENTUITY_CODER_API_KEY", "second")
            .env("AGENTUITY_CLOUD_ORG_ID", "org_2")
            .env("AGENTUITY_ORGID", "org_1")
    };
    let seen = |desk: &Desk, words: &[&str]| {
        let hub = desk.type_in(words).unwrap().hub.unwrap();
        let key = hub.key.unwrap().expose_secret().to_owned();
        (hub.url.unwrap().to_string(), key, hub.org.unwrap())
    };
    let expected = |url: &str, key: &str| (url.to_owned(), key.to_owned(), "org_1".to_owned());
    assert_eq!(
        seen(&vendor(), &[]),
        expected("https://first.example/", "second")
    );
    let ours = vendor()
        .env("AGENT_RUNNER_HUB", "http://ours.example")
        .env("AGENT_RUNNER_HUB_KEY", "ours");
    assert_eq!(seen(&ours, &[]), expected("http://ours.example/", "ours"));
    fs::write(ours.path("key"), "from a file\n").unwrap();
    let words = ["--hub", "ws://flag.example", "--hub-key-file", "key"];
    assert_eq!(
        seen(&ours, &words),
        expected("ws://flag.example/", "from a file")
    );
}

#[test]
fn a_daemon_needs_a_hub_or_a_key_to_find_one() {
    assert!(Desk::daemon().faults(&[]).starts_with("--hub: which Hub?"));
    let found = Desk::daemon()
        .env("AGENTUITY_SDK_KEY", "k")
        .type_in(&[])
        .unwrap();
    assert!(found.hub.unwrap().url.is_none());
    for wrong in ["example.com", "ftp://x", "https://", "http://u:secret@x"] {
        let faults = Desk::daemon().faults(&["--hub", wrong]);
        assert!(
            faults.starts_with("--hub: ") && !faults.contains("secret"),
            "{faults}"
        );
    }
    assert!(
        Desk::daemon()
            .faults(&["--hub", "http://x", "--session", "../x"])
            .contains("--session")
    );
}

#[test]
fn a_branch_needs_a_repository_and_a_token_file_must_hold_a_token() {
    let desk = Desk::new();
    assert!(
        desk.faults(&["--branch", "main", "x"])
            .starts_with("--branch: a branch needs")
    );
    fs::write(desk.path("token"), "t-1\n").unwrap();
    let words = [
        "--repo",
        "https://example.com/r",
        "--branch",
        "main",
        "--git-token-file",
        "token",
        "x",
    ];
    let config = desk.type_in(&words).unwrap();
    let repo = &config.repos[0];
    assert_eq!(
        (repo.url.as_str(), repo.branch.as_deref()),
        ("https://example.com/r", Some("main"))
    );
    let token = TokenSource::File(desk.path("token"));
    assert_eq!(config.git.token, Some(token));
    assert!(
        config
            .warnings
            .iter()
            .any(|warning| warning.contains("chmod 600"))
    );
}

#[test]
fn modes_and_consent_are_one_of_three() {
    let desk = Desk::new();
    let faults = desk.faults(&["--approve", "later", "--mode", "alive", "x"]);
    let expected = "--mode: `alive` is not one of auto, live, exec\n\
                    --approve: `later` is not one of auto, ask, policy";
    assert_eq!(faults, expected);
    let config = desk.type_in(&["--approve", "ask", "--approval-timeout", "0", "x"]);
    assert_eq!(config.unwrap().agent.approval.timeout, None);
    let desk = desk
        .env("AGENT_RUNNER_APPROVE", "policy")
        .env("AGENT_RUNNER_APPROVAL_TIMEOUT", "90s");
    let config = desk.type_in(&["x"]).unwrap();
    assert_eq!(config.agent.approval.mode, Approve::Policy);
    assert_eq!(config.agent.approval.timeout, Some(Duration::from_secs(90)));
    assert!(
        config.warnings[0].contains("without rules"),
        "{:?}",
        config.warnings
    );
}

#[test]
fn rules_of_consent_are_read_and_shown() {
    let desk = Desk::new().config_file(
        "approve = 'policy'\n[approval]\ntimeout = 'none'\notherwise = 'deny'\n\
         [[approval.allow]]\ntool = 'read'\n[[approval.allow]]\ncommand = ['git status *', 'ls']\n\
         [[approval.deny]]\npath = '**/.env'\nmessage = 'Not that.'\n",
    );
    let config = desk.type_in(&["--print-config", "x"]).unwrap();
    let approval = &config.agent.approval;
    assert_eq!((approval.allow.len(), approval.deny.len()), (2, 1));
    assert_eq!(approval.deny[0].message.as_deref(), Some("Not that."));
    assert_eq!(
        (approval.otherwise, approval.timeout),
        (Otherwise::Deny, None)
    );
    let text = config.render();
    assert!(toml::from_str::<toml::Table>(&text).is_ok(), "{text}");
    for line in [
        r#"approval.otherwise = "deny""#,
        r#"approval.timeout = "none""#,
        r#"approval.allow = [{ tool = "read" }, { command = ["git status *", "ls"] }]"#,
        r#"approval.deny = [{ message = "Not that.", path = "**/.env" }]"#,
    ] {
        assert!(text.contains(line), "no {line} in {text}");
    }
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn the_rules_of_the_documentation_are_rules() {
    let page = include_str!("../docs/approval.md");
    let example = page.split("```toml\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let config = Desk::new().config_file(example).type_in(&["x"]).unwrap();
    let approval = &config.agent.approval;
    assert_eq!((approval.allow.len(), approval.deny.len()), (4, 2));
}

#[test]
fn each_rule_that_cannot_be_meant_is_named_with_its_place_and_what_to_write() {
    let desk = Desk::new().config_file(
        "[approval]\ntimout = '1m'\n\
         [[approval.allow]]\ntool = 'Bash'\n\
         [[approval.allow]]\ncommand = 'git status; ls'\n\
         [[approval.allow]]\npath = '../x'\nmessage = 'm'\n\
         [[approval.deny]]\nhost = 'https://x.com/'\n\
         [[approval.deny]]\npath = 'a'\ncommand = 'b'\n\
         [[approval.deny]]\nmessage = 'm'\n\
         [[approval.deny]]\ntool = []\n\
         [[approval.deny]]\ncomand = 'x'\ntool = 'shell'\n",
    );
    let faults = desk.faults(&["x"]);
    let mut lines = faults.lines();
    for (place, part) in [
        ("2:1", "did you mean `timeout`?"),
        ("4:8", "write tool = \"shell\""),
        ("6:11", "judged by its parts"),
        ("8:8", "from the workspace on"),
        ("9:11", "`message` is for rules that deny"),
        ("11:8", "write it as docs.rs"),
        (
            "12:1",
            "`path` and `command` go into [[approval.deny]] each",
        ),
        ("15:1", "says which `tool`, `path`, `command` or `host`"),
        ("18:8", "`tool` must be a string"),
        ("20:1", "did you mean `command`?"),
    ] {
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("no {place} in {faults}"));
        let line = if line.contains(":17:1: a rule says") {
            lines.next().unwrap()
        } else {
            line
        };
        assert!(
            line.contains(&format!("config.toml:{place}: ")),
            "{place}: {line}"
        );
        assert!(line.contains(part), "{place}: {line}");
    }
}

#[test]
fn a_mistyped_variable_of_ours_is_warned_about() {
    let config = Desk::new()
        .env("AGENT_RUNNER_MODLE", "x")
        .type_in(&["x"])
        .unwrap();
    assert_eq!(
        config.warnings,
        ["AGENT_RUNNER_MODLE is no setting; did you mean AGENT_RUNNER_MODEL?"]
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a line for each setting")]
fn what_is_shown_is_toml_with_origins_and_without_secrets() {
    let desk = Desk::daemon()
        .config_file("[agents.claude]\ncommand = './claude'\nenv = { TOKEN = 'secret-1' }\n")
        .env("AGENTUITY_SDK_KEY", "secret-2")
        .env("AGENT_RUNNER_ALLOWED_TOOLS", "Read, Edit");
    let config = desk
        .type_in(&["--hub", "http://h", "--print-config"])
        .unwrap();
    let text = config
        .render()
        .replace(desk.dir.path().to_str().unwrap(), "~");
    assert!(!text.contains("secret") && !format!("{config:?}").contains("secret-2"));
    assert!(toml::from_str::<toml::Table>(&text).is_ok(), "{text}");
    // The origins stand in a column, whose place depends on the folder's name.
    let lines = text.lines().map(|line| line.split_once(" # ").unwrap());
    let lines: Vec<_> = lines
        .map(|(set, from)| format!("{} # {from}", set.trim_end()))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    state_dir = "~/.local/state/agent-runner" # default
    sandbox = "local" # default
    sandbox_network = "bridge" # default
    sandbox_memory = "4GiB" # default
    sandbox_pids = "2048" # default
    landlock = false # default
    agent = "claude" # default
    mode = "auto" # default
    approve = "auto" # default
    approval.otherwise = "ask" # default
    approval.timeout = "10m" # default
    agents.claude.command = "~/.config/agent-runner/claude" # ~/.config/agent-runner/config.toml:2:11
    agents.claude.env.TOKEN = "***" # ~/.config/agent-runner/config.toml:3:17
    allowed_tools = ["Read", "Edit"] # AGENT_RUNNER_ALLOWED_TOOLS
    stdio = "pty" # default
    agent_home = "state" # default
    skip_install = false # default
    hub = "http://h" # --hub
    hub_key = "***" # AGENTUITY_SDK_KEY
    hub_wait = "1m" # default
    hub_key_in_url = "auto" # default
    hub_coalesce = "40ms" # default
    hub_session_file = true # default
    hub_gate_timeout = "30s" # default
    hub_gate = "off" # default
    hub_gate_default = "deny" # default
    git.depth = "1" # default
    git.max_size = "20GiB" # default
    git.submodules = false # default
    git.lfs = false # default
    git.push_branch = "agent-runner/{session}" # default
    setup.timeout = "15m" # default
    setup.on_failure = "fail" # default
    timeout = "none" # default
    idle_timeout = "10m" # default
    patience = ["starting=5m", "model=30m", "tool=2h", "asking=24h", "retrying=1h", "background=10m"] # default
    journal_quota = "4GiB" # default
    journal_retain = "720h" # default
    journal_retain_size = "1GiB" # default
    spool_quota = "4GiB" # default
    spool_retain = false # default
    checkpoints = true # default
    session_retain = "720h" # default
    output = "pretty" # default
    log_level = "warn" # default
    "#);
}

#[test]
fn a_missing_agent_is_installed_for_a_session_unless_a_switch_says_no() {
    let daemon = |desk: Desk, words: &[&str]| {
        let words = [&["--hub", "http://h"], words].concat();
        desk.type_in(&words).unwrap().agent.install
    };
    assert!(daemon(Desk::daemon(), &[]));
    assert!(!daemon(Desk::daemon(), &["--skip-install"]));
    let file = || Desk::daemon().config_file("skip_install = true\n");
    assert!(!daemon(file(), &[]));
    assert!(daemon(file().env("AGENT_RUNNER_SKIP_INSTALL", "0"), &[]));
    assert!(!Desk::new().type_in(&["do it"]).unwrap().agent.install);

    let wrong = Desk::daemon().env("AGENT_RUNNER_SKIP_INSTALL", "yes");
    let faults = wrong.faults(&["--hub", "http://h"]);
    assert!(
        faults.contains("AGENT_RUNNER_SKIP_INSTALL: `yes`"),
        "{faults}"
    );
    let wrong = Desk::daemon().config_file("skip_install = 'true'\n");
    let faults = wrong.faults(&["--hub", "http://h"]);
    assert!(
        faults.contains(":1:16: `skip_install` must be true or false"),
        "{faults}"
    );
}

#[test]
fn the_agents_command_is_found_from_the_file_that_names_it() {
    let desk = Desk::new().config_file("[agents.claude]\ncommand = 'bin/claude'\n");
    let config = desk.type_in(&["x"]).unwrap();
    let expected = desk.path(".config/agent-runner/bin/claude");
    assert_eq!(config.agent.command.as_deref(), Some(expected.as_path()));
    let desk = desk.config_file("[agents.claude]\ncommand = 'claude-2'\n");
    let config = desk.type_in(&["x"]).unwrap();
    assert_eq!(config.agent.command.as_deref(), Some(Path::new("claude-2")));
}
