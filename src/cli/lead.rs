//! What `run` and `daemon` share: settings, signals, waiting for a turn.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::printing::{print, say};
use super::{CliError, Exit, log, task};
use crate::agent::AGENTS;
use crate::clock::Clock;
use crate::config::{
    self, CommandKind, Config, EnvMap, Given, HubOptions, Options, Place, SessionSettings, Task,
};
use crate::daemon::{DaemonError, Setup, Surroundings};
use crate::event::Outcome;
use crate::process::{is_ignored, return_large_buffers};

/// The settings of a command, and where it runs.
pub(super) struct Context {
    pub(super) config: Config,
    /// The state dir that the settings name; a run has a folder of its own in it.
    state_root: PathBuf,
    pub(super) place: Place,
    pub(super) env: EnvMap,
    /// Where `install` places CLIs.
    pub(super) prefix: PathBuf,
}

impl Context {
    /// Reads the settings; `None` when they were only to be shown.
    pub(super) fn read(
        command: CommandKind,
        options: &Options,
        hub: Option<&HubOptions>,
        task: Option<&str>,
    ) -> Result<Option<Self>, CliError> {
        let context = Self::resolve(command, options, hub, task)?;
        if options.print_config {
            print(&context.config.render())?;
            return Ok(None);
        }
        log::start(context.config.log_level);
        for warning in &context.config.warnings {
            say!("agent-runner: warning: {warning}");
        }
        Ok(Some(context))
    }

    /// Finds out the settings, and does nothing with them.
    pub(super) fn resolve(
        command: CommandKind,
        options: &Options,
        hub: Option<&HubOptions>,
        task: Option<&str>,
    ) -> Result<Self, CliError> {
        let env = EnvMap::of_this_process();
        let place = here(command, &env)?;
        let config = config::resolve(&Given { options, hub, task }, &env, &place)
            .map_err(|error| CliError::new(Exit::Usage, error.to_string()))?;
        let prefix = prefix(&env, &config);
        Ok(Self {
            state_root: config.state_dir.clone(),
            config,
            place,
            env,
            prefix,
        })
    }

    /// What the composition root needs.
    pub(super) fn setup(&self) -> Setup<'_> {
        Setup {
            config: &self.config,
            state_root: &self.state_root,
            command: self.place.command,
            env: &self.env,
            cwd: self.place.cwd.clone(),
            prefix: self.prefix.clone(),
            in_container: self.place.container,
            clock: Clock,
        }
    }

    /// What the sessions of a daemon share.
    pub(super) fn surroundings(&self) -> Surroundings {
        Surroundings {
            state_root: self.state_root.clone(),
            prefix: self.prefix.clone(),
            in_container: self.place.container,
            clock: Clock,
        }
    }

    /// What was asked for a session, for a daemon to keep.
    pub(super) fn session_settings(
        &self,
        options: &Options,
        hub: Option<&HubOptions>,
    ) -> SessionSettings {
        let task = None;
        SessionSettings::of(&Given { options, hub, task }, &self.env, &self.place)
    }

    /// A workspace that is named and not there is a typing error where nothing is cloned into it. In
    /// the state dir folders are the runner's to make.
    pub(super) fn refuse_missing_workspace(&self) -> Result<(), CliError> {
        let is_ours = |path: &Path| path.starts_with(&self.config.state_dir);
        let missing = self.config.workspace_dir.as_deref();
        let missing = missing.filter(|path| self.config.repos.is_empty() && !path.exists());
        let missing = missing.filter(|path| !is_ours(path));
        let Some(path) = missing else {
            return Ok(());
        };
        Err(CliError::new(
            Exit::Usage,
            format!(
                "--workspace-dir {0}: there is no such folder; correct the path, make it (mkdir -p \
                 {0}), or have a repository cloned into it (--repo)",
                path.display()
            ),
        ))
    }

    /// The task's text, from wherever it is.
    pub(super) fn task(&self) -> Result<Option<String>, CliError> {
        let text = match &self.config.task {
            None => return Ok(None),
            // The settings refuse an empty one.
            Some(Task::Text(text)) => text.clone(),
            Some(Task::File(path)) => task::from_file(path)?,
            Some(Task::Stdin) => task::from_stdin()?,
        };
        Ok(Some(text))
    }
}

/// The surroundings of `command`.
pub(super) fn here(command: CommandKind, env: &EnvMap) -> Result<Place, CliError> {
    let cwd = std::env::current_dir().map_err(|error| {
        CliError::new(
            Exit::Usage,
            format!("the current directory cannot be read: {error}"),
        )
    })?;
    let cgroup = std::fs::read_to_string("/proc/1/cgroup").unwrap_or_default();
    let exists = |path: &str| Path::new(path).exists();
    let container = config::in_container(exists, env.value("container").is_some(), &cgroup);
    Ok(Place {
        command,
        cwd,
        container,
        agents: AGENTS.iter().map(|agent| agent.name).collect(),
    })
}

/// Where `install` places CLIs: what it takes from the environment, else `bin` in the state dir.
/// To be asked before a run gets a state dir of its own.
fn prefix(env: &EnvMap, config: &Config) -> PathBuf {
    let set = env.value("AGENT_RUNNER_PREFIX").map(PathBuf::from);
    set.map_or_else(
        || config.state_dir.join("bin"),
        |prefix| std::path::absolute(&prefix).unwrap_or(prefix),
    )
}

/// The runtime of a lead: two workers, as the machine's other work belongs to the agent.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    return_large_buffers();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .enable_all()
        .build()
        .map_err(|error| CliError::new(Exit::Internal, format!("no runtime: {error}")))
}

/// Requests to stop: SIGINT, SIGTERM, and SIGHUP of a terminal that is gone.
pub(super) struct Stops {
    interrupt: Signal,
    terminate: Signal,
    /// None where it is ignored (`nohup`): that is to outlive the terminal.
    hangup: Option<Signal>,
}

/// Which signal asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopSignal {
    Interrupt,
    Terminate,
}

impl Stops {
    /// Listens from now on.
    pub(super) fn listen() -> Result<Self, CliError> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                CliError::new(
                    Exit::Internal,
                    format!("cannot listen for signals: {error}"),
                )
            })
        };
        let interrupt = listen(SignalKind::interrupt())?;
        Ok(Self {
            interrupt,
            terminate: listen(SignalKind::terminate())?,
            hangup: (!is_ignored(rustix::process::Signal::HUP))
                .then(|| listen(SignalKind::hangup()))
                .transpose()?,
        })
    }

    /// The next request.
    pub(super) async fn next(&mut self) -> StopSignal {
        tokio::select! {
            _ = self.interrupt.recv() => StopSignal::Interrupt,
            _ = self.terminate.recv() => StopSignal::Terminate,
            Some(()) = async { self.hangup.as_mut()?.recv().await } => StopSignal::Terminate,
        }
    }
}

/// An outcome's exit code.
pub(super) fn exit_code(outcome: Outcome) -> ExitCode {
    ExitCode::from(outcome.exit_code())
}

impl From<DaemonError> for CliError {
    fn from(error: DaemonError) -> Self {
        Self::from(&error)
    }
}

impl From<&DaemonError> for CliError {
    fn from(error: &DaemonError) -> Self {
        let exit = match error {
            DaemonError::Usage(_) => Exit::Usage,
            DaemonError::Agent { .. } => Exit::Agent,
            DaemonError::State(_) => Exit::State,
            DaemonError::HubUnreachable(_) => Exit::HubUnreachable,
            DaemonError::HubRefused(_) => Exit::HubRefused,
            DaemonError::Workspace(_) => Exit::Repo,
            _ => Exit::Internal,
        };
        Self::new(exit, error.to_string())
    }
}
