//! What the agent is started with: its home, its environment, what the settings ask of it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::agent::live::LiveKind;
use crate::agent::{self, AgentKind, AgentSession, EnvFallback, TurnSpec};
use crate::config::{AgentConfig, AgentHome, Approve, Mode, SandboxKind, TokenSource, agent_env};
use crate::daemon::{DaemonError, RunsAs, Setup};
use crate::process::Environment;
use crate::redact::settings::{in_json, in_variable};
use crate::session::SessionError;

/// A name and a value.
pub(in crate::daemon) type Variable = (OsString, OsString);

/// Whether the CLI may find itself to be root. An engine without root's rights shows us as root in its
/// containers.
fn may_be_root(setup: &Setup<'_>, runs_as: &RunsAs) -> bool {
    match runs_as {
        RunsAs::Root => true,
        RunsAs::Ourselves => setup.config.sandbox.kind == SandboxKind::Docker,
        RunsAs::Other { .. } => false,
    }
}

/// What the settings ask of every turn.
pub(in crate::daemon) fn turn_spec(
    setup: &Setup<'_>,
    kind: &AgentKind,
    runs_as: &RunsAs,
) -> Result<TurnSpec, DaemonError> {
    let agent = &setup.config.agent;
    let home = agent_home(setup, runs_as);
    let settings = kind.settings.map(|name| home.join(name));
    let settings = settings.as_deref().filter(|file| file.exists());
    Ok(TurnSpec {
        // Each turn sets its own.
        agent_session: AgentSession::New(uuid::Uuid::nil()),
        model: agent.model.clone(),
        effort: agent.effort.clone(),
        system_prompt_file: agent.system_prompt_file.clone(),
        system_prompt: text_of("--system-prompt-file", agent.system_prompt_file.as_deref())?,
        mcp_config: agent.mcp_config.clone(),
        mcp_servers: mcp_servers(agent.mcp_config.as_deref())?,
        allowed_tools: agent.allowed_tools.clone(),
        subagents: Vec::new(),
        extra_args: agent.args.iter().map(Into::into).collect(),
        settings: text_of("the agent's own settings", settings)?,
        variables: Vec::new(),
        home,
        is_root: may_be_root(setup, runs_as),
        workspace: PathBuf::new(),
        files: PathBuf::new(),
    })
}

/// The live form, where the session is to run in it. Where calls are to wait for the Hub's word
/// (`gated`), that is the form that can hold them.
pub(in crate::daemon) fn form(
    kind: &'static AgentKind,
    agent: &AgentConfig,
    gated: bool,
) -> Result<Option<&'static LiveKind>, DaemonError> {
    let asks = agent.approval.mode != Approve::Auto;
    let refuse = |text: String| Err(DaemonError::Usage(text));
    match (agent.mode, &kind.live) {
        (Mode::Exec, _) if asks => refuse(format!(
            "--approve {}: with --mode exec nothing can wait for consent; leave --mode out",
            agent.approval.mode
        )),
        (_, None) if asks => refuse(format!(
            "--approve {}: {} cannot wait for consent; use --approve auto",
            agent.approval.mode, kind.name
        )),
        (Mode::Live, None) => refuse(format!(
            "--mode live: {} has no live form; use --mode auto or exec",
            kind.name
        )),
        (Mode::Exec, _) | (Mode::Auto, None) => Ok(None),
        (Mode::Live, Some(live)) => Ok(Some(live)),
        (Mode::Auto, Some(live)) => {
            let wanted = |live: &&LiveKind| asks || gated || live.richer_than_exec;
            Ok(Some(live).filter(wanted))
        }
    }
}

/// Settles on the live form, which is the one that takes images with a prompt.
pub fn take_images(agent: &mut AgentConfig) -> Result<(), DaemonError> {
    let kind = agent::by_name(agent.name.as_str());
    let kind = kind.map_err(|error| DaemonError::Usage(error.to_string()))?;
    let refusal = match (agent.mode, &kind.live) {
        (_, None) => SessionError::NoImages { agent: kind.name },
        (Mode::Exec, Some(_)) => SessionError::ImagesNeedLive { agent: kind.name },
        (Mode::Auto | Mode::Live, Some(_)) => {
            agent.mode = Mode::Live;
            return Ok(());
        }
    };
    Err(DaemonError::Usage(refusal.to_string()))
}

/// The text of a file that an option names.
fn text_of(option: &str, path: Option<&Path>) -> Result<Option<String>, DaemonError> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|error| {
            DaemonError::Usage(format!(
                "{option} {}: cannot be read: {error}; name a file of UTF-8 text",
                path.display()
            ))
        })
    };
    path.map(read).transpose()
}

/// The text of the list of MCP servers. Every CLI takes the same form, and none says which file it is
/// that it cannot read.
fn mcp_servers(path: Option<&Path>) -> Result<Option<String>, DaemonError> {
    const OPTION: &str = "--mcp-config";
    let Some((path, text)) = path.zip(text_of(OPTION, path)?) else {
        return Ok(None);
    };
    let why = match serde_json::from_str::<serde_json::Value>(&text) {
        Err(error) => Some(format!("it is not JSON: {error}")),
        Ok(list) => match list.get("mcpServers").map(serde_json::Value::as_object) {
            None | Some(None) => Some("it has no object `mcpServers`".to_owned()),
            Some(Some(servers)) => servers
                .iter()
                .find(|(_, server)| !server.is_object())
                .map(|(name, _)| format!("the server `{name}` is no object")),
        },
    };
    match why {
        None => Ok(Some(text)),
        Some(why) => Err(DaemonError::Usage(format!(
            "{OPTION} {}: {why}; the form is {{\"mcpServers\": {{\"NAME\": {{\"command\": \"…\"}}}}}}",
            path.display()
        ))),
    }
}

/// The home that holds the CLI's settings, login and conversations.
pub(in crate::daemon) fn agent_home(setup: &Setup<'_>, runs_as: &RunsAs) -> PathBuf {
    let agent = &setup.config.agent;
    match (agent.home, runs_as) {
        // Service users have none: theirs is in the state dir like anyone's who asks for it.
        (AgentHome::User, RunsAs::Other { home, .. }) if home.is_dir() => home.clone(),
        (AgentHome::User, RunsAs::Ourselves | RunsAs::Root) => setup
            .env
            .value("HOME")
            .map(PathBuf::from)
            .unwrap_or_default(),
        _ => setup
            .config
            .state_dir
            .join("agents")
            .join(agent.name.as_str()),
    }
}

/// The CLI's environment but for what its launch plan adds.
pub(in crate::daemon) fn environment(
    setup: &Setup<'_>,
    kind: &AgentKind,
    runs_as: &RunsAs,
) -> Result<Vec<Variable>, DaemonError> {
    let agent = &setup.config.agent;
    let spec = turn_spec(setup, kind, runs_as)?;
    let plan = (kind.plan)(&spec).map_err(|error| DaemonError::Usage(error.to_string()))?;
    let mut environment = agent_env(setup.env, plan.env_pass, &agent.env, &agent.pass_env);
    if setup.config.sandbox.kind == SandboxKind::Docker {
        environment.retain(|(name, _)| !is_of_this_machine(name) || is_named(&agent.env, name));
    }
    fall_back(&plan.env_fallback, &mut environment);
    // what a plan sets itself is known here as well, so that its keys are masked
    environment.extend(plan.env);
    environment.retain(|(name, _)| name != "HOME");
    environment.push(("HOME".into(), spec.home.into()));
    if let Some(author) = &setup.config.git.author {
        for (variable, value) in [
            ("GIT_COMMITTER_NAME", author.name()),
            ("GIT_COMMITTER_EMAIL", author.address()),
        ] {
            environment.retain(|(known, _)| known != variable);
            environment.push((variable.into(), value.into()));
        }
    }
    if let RunsAs::Other { name, .. } = runs_as {
        environment.retain(|(variable, _)| variable != "USER");
        environment.push(("USER".into(), name.into()));
    }
    Ok(environment)
}

/// What names a place of this machine, which means nothing in a container: the image has its own.
fn is_of_this_machine(name: &OsStr) -> bool {
    const PLACES: [&str; 6] = [
        "NODE_EXTRA_CA_CERTS",
        "PATH",
        "SHELL",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TMPDIR",
    ];
    PLACES.iter().any(|place| name == *place)
}

fn is_named(variables: &BTreeMap<String, String>, name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| variables.contains_key(name))
}

/// What of our environment a daemon needs to start this agent for us: what the agent may see of
/// it, but for what the settings themselves hold.
pub fn environment_to_send(setup: &Setup<'_>) -> Result<Vec<Variable>, DaemonError> {
    let agent = &setup.config.agent;
    let kind = agent::by_name(agent.name.as_str())
        .map_err(|error| DaemonError::Usage(error.to_string()))?;
    let runs_as = crate::daemon::runs_as(agent.user.as_deref(), setup.config.sandbox.kind)?;
    let spec = turn_spec(setup, kind, &runs_as)?;
    let plan = (kind.plan)(&spec).map_err(|error| DaemonError::Usage(error.to_string()))?;
    let none = BTreeMap::new();
    let mut chosen = agent_env(setup.env, plan.env_pass, &none, &agent.pass_env);
    // The daemon needs it, the agent never sees it.
    if let Some(TokenSource::Variable(name)) = &setup.config.git.token
        && let Some(token) = setup.env.value(name)
        && !chosen.iter().any(|(known, _)| known == name.as_str())
    {
        chosen.push((name.into(), token.to_owned()));
    }
    Ok(chosen)
}

/// The environment of what prepares the workspace: the agent's, without the vendor's keys.
pub(in crate::daemon) fn setup_environment(
    setup: &Setup<'_>,
    runs_as: &RunsAs,
) -> Result<Environment, DaemonError> {
    let none = BTreeMap::new();
    let mut chosen = Environment::new();
    let home = agent_home(setup, runs_as).into_os_string();
    let mut own = agent_env(setup.env, &[], &none, &setup.config.agent.pass_env);
    if setup.config.sandbox.kind == SandboxKind::Docker {
        own.retain(|(name, _)| !is_of_this_machine(name));
    }
    let user = match runs_as {
        RunsAs::Other { name, .. } => Some(("USER".into(), name.into())),
        RunsAs::Ourselves | RunsAs::Root => None,
    };
    for (name, value) in own.into_iter().chain([("HOME".into(), home)]).chain(user) {
        let set = chosen.set(name, value);
        set.map_err(|error| DaemonError::Usage(error.to_string()))?;
    }
    Ok(chosen)
}

/// Sets what the CLI knows by another name only.
fn fall_back(fallbacks: &[EnvFallback], environment: &mut Vec<Variable>) {
    for fallback in fallbacks {
        let found = |name: &str| environment.iter().find(|(variable, _)| variable == name);
        if found(fallback.name).is_some() || fallback.unless.exists() {
            continue;
        }
        if let Some((_, value)) = found(fallback.from) {
            let value = value.clone();
            environment.push((fallback.name.into(), value));
        }
    }
}

/// What in the environment and in the files that `spec` was read from is a secret by its name: to
/// be masked wherever it turns up.
pub(in crate::daemon) fn keys_in(environment: &[Variable], spec: &TurnSpec) -> Vec<SecretString> {
    let mut keys = Vec::new();
    for (name, value) in environment {
        if let (Some(name), Some(value)) = (name.to_str(), value.to_str()) {
            in_variable(name, value, &mut keys);
        }
    }
    for text in [&spec.mcp_servers, &spec.settings].into_iter().flatten() {
        in_json(text, &mut keys);
    }
    keys
}

/// What a person should know of how the agent is run.
pub(in crate::daemon) fn notices(
    setup: &Setup<'_>,
    runs_as: &RunsAs,
) -> Vec<(&'static str, String)> {
    let mut notices = Vec::new();
    match runs_as {
        RunsAs::Root => notices.push((
            "runs_as_root",
            "the agent runs as root: give --agent-user, or create a user `agent`, to run it with \
             fewer rights"
                .to_owned(),
        )),
        RunsAs::Ourselves if setup.config.sandbox.kind == SandboxKind::Docker => notices.push((
            "runs_as_same_user",
            "in its container the agent runs as the same user as what watches it there; start \
             agent-runner as root to part them"
                .to_owned(),
        )),
        RunsAs::Ourselves => notices.push((
            "runs_as_same_user",
            "the agent runs as the same user as the runner".to_owned(),
        )),
        RunsAs::Other { .. } => {}
    }
    if setup.config.agent.approval.mode == Approve::Auto {
        notices.push((
            "approve_auto",
            "the agent asks nobody before it uses a tool (--approve auto)".to_owned(),
        ));
    }
    notices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_mcp_servers_that_no_cli_can_read_is_named_with_its_fault() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mcp.json");
        let told = |text: &str| {
            std::fs::write(&file, text).unwrap();
            mcp_servers(Some(&file))
                .map_or_else(|error| error.to_string(), Option::unwrap_or_default)
        };
        let good = r#"{"mcpServers": {"x": {"command": "x"}}}"#;
        assert_eq!(told(good), good);
        for (text, fault) in [
            (
                "{",
                "mcp.json: it is not JSON: EOF while parsing an object at line 1 column 1; ",
            ),
            (
                "[1]",
                "mcp.json: it has no object `mcpServers`; the form is {\"mcpServers\": ",
            ),
            (
                r#"{"mcpServers": 1}"#,
                "mcp.json: it has no object `mcpServers`; ",
            ),
            (
                r#"{"mcpServers": {"x": 5}}"#,
                "mcp.json: the server `x` is no object; ",
            ),
        ] {
            assert!(told(text).contains(fault), "{}", told(text));
        }
    }

    #[test]
    fn a_variable_stands_in_for_one_that_is_not_set_unless_there_is_a_login() {
        let home = tempfile::tempdir().unwrap();
        let login = home.path().join("auth.json");
        let fallback = EnvFallback {
            name: "B",
            from: "A",
            unless: login.clone(),
        };
        let of = |variables: &[(&str, &str)]| {
            let pairs = variables
                .iter()
                .map(|(name, value)| (name.into(), value.into()));
            let mut environment = pairs.collect();
            fall_back(std::slice::from_ref(&fallback), &mut environment);
            let found = environment.iter().rev().find(|(name, _)| name == "B");
            found
                .and_then(|(_, value)| value.to_str())
                .map(str::to_owned)
        };
        assert_eq!(of(&[("A", "1")]).as_deref(), Some("1"));
        assert_eq!(of(&[("A", "1"), ("B", "2")]).as_deref(), Some("2"));
        assert_eq!(of(&[("C", "1")]), None);
        std::fs::write(&login, "{}").unwrap();
        assert_eq!(of(&[("A", "1")]), None);
    }
}
