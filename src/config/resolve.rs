//! From layers of raw values to a [`Config`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::api;
use super::approval::approval;
use super::choice::{AgentHome, AgentName, LogLevel, Mode, Output, SandboxKind, Stdio};
use super::duration::{parse_duration, show_duration};
use super::env::EnvMap;
use super::fault::{ConfigError, Fault, Origin};
use super::file::{self, FileSettings};
use super::hub::hub;
use super::keeping::keeping;
use super::layers::{Layers, pattern, quoted};
use super::nearest::nearest;
use super::options::{HubOptions, Options, Typed};
use super::patience::Patience;
use super::place::{CommandKind, Place};
use super::sandbox::sandbox;
use super::setting;
use super::{AgentConfig, Config, Task};
use super::{expected, git, setup};

/// `run`'s default time limit: a turn that nobody watches ends by itself.
const RUN_TIMEOUT: Duration = Duration::from_hours(2);

/// Variables of ours that are no settings.
const OTHER_VARIABLES: &[&str] = &[
    "AGENT_RUNNER_API_KEY",
    "AGENT_RUNNER_API_KEY_FILE",
    "AGENT_RUNNER_GRACE",
    "AGENT_RUNNER_LISTEN",
    "AGENT_RUNNER_PREFIX",
    "AGENT_RUNNER_RESTARTS",
];

/// What was typed.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// The shared flags.
    pub options: &'a Options,
    /// The Hub's flags, where the command has them.
    pub hub: Option<&'a HubOptions>,
    /// The TASK argument.
    pub task: Option<&'a str>,
}

/// Reads the config file, lays what was typed and `env` over it, and checks all of it.
pub fn resolve(given: &Given<'_>, env: &EnvMap, place: &Place) -> Result<Config, ConfigError> {
    let once = given.hub.is_some_and(|hub| hub.once);
    let must_have_task = place.command == CommandKind::Run && !given.options.print_config;
    let mut layers = layers(given, env, place);
    if place.command == CommandKind::Daemon {
        must_know_hub(&mut layers);
    }
    settle(layers, place, once, must_have_task)
}

/// The command must say which Hub; a session that a daemon opens again has the daemon's.
fn must_know_hub(layers: &mut Layers<'_>) {
    let ways = [&setting::HUB, &setting::HUB_KEY_FILE, &setting::HUB_KEY];
    let before = layers.faults.len();
    let is_known = ways.iter().any(|setting| layers.raw(setting).is_some());
    // What is wrong with one of them is told where it is read.
    let is_clean = layers.faults.len() == before;
    layers.faults.truncate(before);
    if !is_known && is_clean {
        let message = "which Hub? give its URL, or set AGENTUITY_SDK_KEY to find yours";
        layers.fault(Origin::Flag(setting::HUB.flag.to_owned()), message);
    }
}

/// Takes the values out of their layers, and checks all of them.
pub(super) fn settle(
    mut layers: Layers<'_>,
    place: &Place,
    once: bool,
    must_have_task: bool,
) -> Result<Config, ConfigError> {
    let (state_dir, sandbox) = (state_dir(&mut layers), sandbox(&mut layers));
    let agent = agent(&mut layers, place, sandbox.kind);
    let task = task(&mut layers);
    if task.is_none() && must_have_task && layers.faults.is_empty() {
        let message =
            "say what to do: TASK as text, `-` to read it from stdin, or --task-file FILE";
        layers.fault(Origin::Flag("TASK".to_owned()), message);
    }
    let hub = (place.command != CommandKind::Run).then(|| hub(&mut layers, once));
    let mut config = Config {
        agent,
        task,
        repos: git::repos(&mut layers),
        git: git::git(&mut layers),
        setup: setup::setup(&mut layers),
        expected: expected::expected(&mut layers),
        skills: layers.paths(&setting::SKILLS),
        timeout: timeout(&mut layers, place),
        idle_timeout: idle_timeout(&mut layers),
        patience: patience(&mut layers),
        state_dir: state_dir.unwrap_or_default(),
        workspace_dir: layers.path(&setting::WORKSPACE_DIR),
        sandbox,
        keeping: keeping(&mut layers),
        output: layers.value_or(&setting::OUTPUT, Output::Pretty, Output::parse),
        hub,
        api: (place.command != CommandKind::Run)
            .then(|| api::listen(&mut layers))
            .flatten(),
        log_level: layers.value_or(&setting::LOG_LEVEL, LogLevel::Warn, LogLevel::parse),
        ca_file: layers
            .env
            .value("SSL_CERT_FILE")
            .map(|path| place.cwd.join(path)),
        warnings: Vec::new(),
        shown: Vec::new(),
    };
    warn_of_unknown_variables(&mut layers);
    faults(layers.faults)?;
    config.warnings = layers.warnings;
    config.shown = layers.shown;
    Ok(config)
}

/// All that is wrong, in the file's order; nothing where nothing is.
pub(super) fn faults(mut faults: Vec<Fault>) -> Result<(), ConfigError> {
    if faults.is_empty() {
        return Ok(());
    }
    faults.sort_by_key(|fault| match fault.origin {
        Origin::File { line, column, .. } => (line, column),
        _ => (usize::MAX, 0),
    });
    Err(ConfigError { faults })
}

pub(super) fn layers<'a>(given: &Given<'_>, env: &'a EnvMap, place: &'a Place) -> Layers<'a> {
    let mut typed = Typed::new();
    given.options.add_to(&mut typed);
    if let Some(hub) = given.hub {
        hub.add_to(&mut typed);
    }
    if let Some(task) = given.task {
        typed.insert(setting::TASK.key, vec![task.to_owned()]);
    }
    layers_of(typed, env, place)
}

/// The layers with `typed` on top.
pub(super) fn layers_of<'a>(typed: Typed, env: &'a EnvMap, place: &'a Place) -> Layers<'a> {
    let mut layers = Layers {
        typed,
        env,
        file: FileSettings::default(),
        cwd: &place.cwd,
        faults: Vec::new(),
        warnings: Vec::new(),
        shown: Vec::new(),
    };
    read_file(&mut layers, place);
    layers
}

/// The file that was asked for must be there; the default one need not.
fn read_file(layers: &mut Layers<'_>, place: &Place) {
    let asked = layers.raw(&setting::CONFIG);
    let path = match &asked {
        Some(raw) => layers.absolute(raw),
        None => default_file(layers),
    };
    let Some(path) = path else { return };
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let (settings, faults) = file::read(&path, &text, &place.agents);
            layers.file = settings;
            layers.faults.extend(faults);
        }
        Err(error) if asked.is_none() && error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            let origin = asked.map_or(Origin::DefaultFile, |raw| raw.origin);
            let why = match error.kind() {
                std::io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
                std::io::ErrorKind::IsADirectory => "it is a folder, not a file".to_owned(),
                _ => error.to_string(),
            };
            layers.fault(origin, format!("cannot read {}: {why}", path.display()));
        }
    }
}

/// The config file that is read where none was asked for.
pub(super) fn default_file(layers: &Layers<'_>) -> Option<PathBuf> {
    below(layers, "XDG_CONFIG_HOME", ".config").map(|dir| dir.join("config.toml"))
}

/// Our folder in one of the XDG folders. A relative one must be ignored, says their specification.
fn below(layers: &Layers<'_>, variable: &str, default: &str) -> Option<PathBuf> {
    let set = layers.env.value(variable).map(PathBuf::from);
    let home = || {
        layers
            .env
            .value("HOME")
            .map(|home| PathBuf::from(home).join(default))
    };
    let base = set.filter(|path| path.is_absolute()).or_else(home)?;
    Some(layers.cwd.join(base).join("agent-runner"))
}

pub(super) fn state_dir(layers: &mut Layers<'_>) -> Option<PathBuf> {
    if layers.raw(&setting::STATE_DIR).is_some() {
        return layers.path(&setting::STATE_DIR);
    }
    let dir = below(layers, "XDG_STATE_HOME", ".local/state");
    if let Some(dir) = &dir {
        let value = quoted(&dir.display().to_string());
        layers.show(setting::STATE_DIR.key, value, Origin::Default);
    } else {
        let message = "neither HOME nor XDG_STATE_HOME is set; say where the state goes";
        layers.fault(Origin::Flag(setting::STATE_DIR.flag.to_owned()), message);
    }
    dir
}

fn agent(layers: &mut Layers<'_>, place: &Place, sandbox: SandboxKind) -> AgentConfig {
    // A person's own login and settings serve what they start themselves, and are nothing to show
    // to what is locked up.
    let is_at_home = !place.container && sandbox == SandboxKind::Local;
    let persons_own = place.command != CommandKind::Daemon && is_at_home;
    let home = if persons_own {
        AgentHome::User
    } else {
        AgentHome::State
    };
    let any = |text: &str| Ok(text.to_owned());
    let name = layers.value_or(
        &setting::AGENT,
        AgentName::default_of(&place.agents),
        |word| AgentName::parse(word, &place.agents),
    );
    let mode = layers.value_or(&setting::MODE, Mode::Auto, Mode::parse);
    let approval = approval(layers);
    let (command, env) = agent_table(layers, name);
    AgentConfig {
        name,
        mode,
        model: layers.text(&setting::MODEL),
        effort: layers.text(&setting::EFFORT),
        system_prompt_file: layers.file(&setting::SYSTEM_PROMPT_FILE),
        mcp_config: layers.file(&setting::MCP_CONFIG),
        allowed_tools: layers.list(&setting::ALLOWED_TOOLS, any),
        args: layers.list(&setting::AGENT_ARGS, any),
        stdio: layers.value_or(&setting::STDIO, Stdio::Pty, Stdio::parse),
        approval,
        home: layers.value_or(&setting::AGENT_HOME, home, AgentHome::parse),
        user: layers.text(&setting::AGENT_USER),
        install: place.command != CommandKind::Run && !layers.switch(&setting::SKIP_INSTALL),
        command,
        env,
        pass_env: layers.list(&setting::PASS_ENV, pattern),
    }
}

fn agent_table(
    layers: &mut Layers<'_>,
    name: AgentName,
) -> (Option<PathBuf>, BTreeMap<String, String>) {
    let table = layers.file.agents.remove(name.as_str()).unwrap_or_default();
    let mut command = None;
    if let Some(raw) = table.command {
        // A bare name is looked up in PATH, as a shell would.
        command = match raw.values.first() {
            Some(text) if !text.contains('/') => Some(PathBuf::from(text)),
            _ => layers.absolute(&raw),
        };
        let value = quoted(
            &command
                .as_deref()
                .unwrap_or("".as_ref())
                .display()
                .to_string(),
        );
        layers.show(format!("agents.{name}.command"), value, raw.origin);
    }
    let mut env = BTreeMap::new();
    for (variable, raw) in table.env {
        // A key as often as not.
        layers.show(
            format!("agents.{name}.env.{variable}"),
            quoted("***"),
            raw.origin,
        );
        env.insert(variable, raw.values.into_iter().next().unwrap_or_default());
    }
    (command, env)
}

/// TASK and `task_file` are one setting: the higher layer wins, and in one layer only one may be.
fn task(layers: &mut Layers<'_>) -> Option<Task> {
    let rank = |origin: &Origin| match origin {
        Origin::Flag(_) => 2,
        Origin::Env(_) => 1,
        Origin::File { .. } | Origin::DefaultFile | Origin::Default => 0,
    };
    let text = layers.raw(&setting::TASK);
    let file = layers.raw(&setting::TASK_FILE);
    match (text, file) {
        (Some(text), Some(file)) if rank(&text.origin) == rank(&file.origin) => {
            let message = format!("there is a task in {} as well; give one", text.origin);
            layers.fault(file.origin, message);
            None
        }
        (Some(text), file)
            if file
                .as_ref()
                .is_none_or(|f| rank(&f.origin) < rank(&text.origin)) =>
        {
            let typed = matches!(text.origin, Origin::Flag(_));
            let words = text.values.into_iter().next()?;
            layers.show(setting::TASK.key, quoted(&words), text.origin);
            match words.as_str() {
                "-" if typed => Some(Task::Stdin),
                _ => Some(Task::Text(words)),
            }
        }
        (_, Some(_)) => layers.file(&setting::TASK_FILE).map(Task::File),
        (_, None) => None,
    }
}

fn timeout(layers: &mut Layers<'_>, place: &Place) -> Option<Duration> {
    let read = |text: &str| match text {
        "none" => Ok(None),
        _ => parse_duration(text).map(Some),
    };
    if let Some(timeout) = layers.value(&setting::TIMEOUT, read) {
        return timeout;
    }
    let default = (place.command == CommandKind::Run).then_some(RUN_TIMEOUT);
    let text = default.map_or_else(|| "none".to_owned(), show_duration);
    layers.show(setting::TIMEOUT.key, quoted(&text), Origin::Default);
    default
}

/// A process that waits costs memory and nothing else; a person comes back within this.
const IDLE_TIMEOUT: Duration = Duration::from_mins(10);

fn idle_timeout(layers: &mut Layers<'_>) -> Option<Duration> {
    let read = |text: &str| match text {
        "none" => Ok(None),
        _ => parse_duration(text).map(Some),
    };
    if let Some(timeout) = layers.value(&setting::IDLE_TIMEOUT, read) {
        return timeout;
    }
    let text = show_duration(IDLE_TIMEOUT);
    layers.show(setting::IDLE_TIMEOUT.key, quoted(&text), Origin::Default);
    Some(IDLE_TIMEOUT)
}

/// What is not named keeps its default.
fn patience(layers: &mut Layers<'_>) -> Patience {
    let mut patience = Patience::default();
    let Some(raw) = layers.raw(&setting::PATIENCE) else {
        show_patience(layers, &patience, Origin::Default);
        return patience;
    };
    for text in &raw.values {
        if let Err(message) = patience.set(text) {
            layers.fault(raw.origin.clone(), message);
        }
    }
    show_patience(layers, &patience, raw.origin);
    patience
}

fn show_patience(layers: &mut Layers<'_>, patience: &Patience, origin: Origin) {
    let limits: Vec<String> = patience.show().iter().map(|limit| quoted(limit)).collect();
    let value = format!("[{}]", limits.join(", "));
    layers.show(setting::PATIENCE.key, value, origin);
}

/// A slip in a variable's name would otherwise go unseen.
fn warn_of_unknown_variables(layers: &mut Layers<'_>) {
    let known = || {
        let settings = setting::ALL.iter().flat_map(|setting| setting.variables);
        settings.chain(OTHER_VARIABLES).copied()
    };
    for (name, _) in layers.env.iter() {
        let Some(name) = name.to_str() else { continue };
        if !name.starts_with("AGENT_RUNNER_") || known().any(|known| known == name) {
            continue;
        }
        let hint = nearest(name, known()).map(|word| format!("; did you mean {word}?"));
        let warning = format!("{name} is no setting{}", hint.unwrap_or_default());
        layers.warnings.push(warning);
    }
}
