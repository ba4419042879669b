//! The daemon in the background, as `start` starts it. Not for people.
//!
//! Its stdout is a pipe to whoever started it, on which it says that it is ready; its stderr is
//! the log. It has a session of its own, so that no terminal ends it, and no working directory, so
//! that it keeps none from being removed.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use super::daemon::Over;
use super::hosting::{Ended, Signals, hub_target, leave, serve_api, settle, stop};
use super::lead::{Context, runtime};
use super::{CliError, Exit, log};
use crate::config::{ApiListen, CommandKind, HubConfig, HubOptions, Options};
use crate::daemon::{HubAccess, OwnHub, Registry, State};
use crate::process::close_inherited;
use crate::tasks::Tasks;

/// The command's name.
pub(super) const COMMAND: &str = "background";

/// The log, in the state dir.
pub(super) const LOG: &str = "daemon.log";

/// What it says on stdout once its API answers.
pub(super) const READY: &str = "ready";

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[arg(long)]
    state_dir: String,
    #[arg(long)]
    config: Option<String>,
    #[arg(long)]
    log_level: Option<String>,
    #[arg(long)]
    hub: Option<String>,
    #[arg(long)]
    hub_key_file: Option<String>,
    #[arg(long)]
    hub_wait: Option<String>,
    #[arg(long)]
    api_listen: Option<String>,
    #[arg(long)]
    api_token_file: Option<String>,
}

impl Arguments {
    /// As words of a command line.
    pub(super) fn words(&self) -> Vec<&str> {
        // Taken apart whole: a new flag cannot be forgotten here.
        let Self {
            state_dir,
            config,
            log_level,
            hub,
            hub_key_file,
            hub_wait,
            api_listen,
            api_token_file,
        } = self;
        let options = [
            ("--state-dir", Some(state_dir)),
            ("--config", config.as_ref()),
            ("--log-level", log_level.as_ref()),
            ("--hub", hub.as_ref()),
            ("--hub-key-file", hub_key_file.as_ref()),
            ("--hub-wait", hub_wait.as_ref()),
            ("--api-listen", api_listen.as_ref()),
            ("--api-token-file", api_token_file.as_ref()),
        ];
        let given = options
            .into_iter()
            .filter_map(|(flag, value)| Some([flag, value?.as_str()]));
        std::iter::once(COMMAND).chain(given.flatten()).collect()
    }

    /// Those of `start` that are the daemon's, with absolute paths.
    pub(super) fn of(options: &Options, hub: &HubOptions, context: &Context) -> Self {
        let absolute = |path: &String| context.place.cwd.join(path).display().to_string();
        let variable = |name: &str| {
            let value = context.env.value(name)?.to_str()?;
            Some(value.to_owned())
        };
        let config = options.config.clone();
        let key_file = hub.hub_key_file.clone();
        let token_file = hub.api_token_file.clone();
        Self {
            state_dir: context.config.state_dir.display().to_string(),
            config: config
                .or_else(|| variable("AGENT_RUNNER_CONFIG"))
                .as_ref()
                .map(absolute),
            log_level: Some(context.config.log_level.to_string()),
            hub: hub.hub.clone(),
            hub_key_file: key_file
                .or_else(|| variable("AGENT_RUNNER_HUB_KEY_FILE"))
                .as_ref()
                .map(absolute),
            hub_wait: hub.hub_wait.clone(),
            api_listen: hub.api_listen.clone(),
            api_token_file: token_file
                .or_else(|| variable("AGENT_RUNNER_API_TOKEN_FILE"))
                .as_ref()
                .map(absolute),
        }
    }
}

/// Runs the command.
pub(super) fn run(arguments: Arguments) -> Result<ExitCode, CliError> {
    let internal = |what: &str, error: &dyn std::fmt::Display| {
        CliError::new(Exit::Internal, format!("{what}: {error}"))
    };
    close_inherited().map_err(|error| internal("descriptors cannot be closed", &error))?;
    nix::unistd::setsid().map_err(|error| internal("no session of its own", &error))?;
    let hub = HubOptions {
        hub: arguments.hub,
        hub_key_file: arguments.hub_key_file,
        hub_wait: arguments.hub_wait,
        api_listen: arguments.api_listen,
        api_token_file: arguments.api_token_file,
        ..HubOptions::default()
    };
    let options = Options {
        state_dir: Some(arguments.state_dir),
        config: arguments.config,
        log_level: arguments.log_level,
        ..Options::default()
    };
    let context = Context::resolve(CommandKind::Start, &options, Some(&hub), None)?;
    let path = context.config.state_dir.join(LOG);
    log::start_in(context.config.log_level, path)
        .map_err(|error| internal("the log cannot be written", &error))?;
    let runtime = runtime()?;
    runtime.block_on(lead(context))?.exit(runtime)
}

async fn lead(mut context: Context) -> Result<Ended, CliError> {
    let mut signals = Signals::listen()?;
    let dir = context.config.state_dir.clone();
    let asked = (context.config.hub.take(), context.config.api.take());
    let state = State::take(&dir, &dir, None, &context.config.keeping)?;
    let footprint = state.footprint();
    let tasks = Tasks::new();
    let result = with(
        &context,
        asked,
        state,
        dir.join("hub"),
        &tasks,
        &mut signals,
    )
    .await;
    if !stop(&tasks, &result).await {
        return result;
    }
    match result {
        Ok(_) => footprint.keep().await,
        Err(_) => footprint.erase().await,
    }
    result
}

/// Leads with the state dir taken.
async fn with(
    context: &Context,
    (hub, listen): (Option<HubConfig>, Option<ApiListen>),
    state: State,
    own_hub: PathBuf,
    tasks: &Tasks,
    signals: &mut Signals,
) -> Result<Ended, CliError> {
    // Without a Hub that was asked for, or that a key leads to, there is one in this process.
    let asked = hub.filter(|hub| hub.url.is_some() || hub.key.is_some());
    let (target, own) = if let Some(hub) = asked {
        (hub_target(&hub)?, None)
    } else {
        let own = OwnHub::open(&own_hub, tasks).await?;
        (own.target()?, Some(own))
    };
    let hub = HubAccess::find(target, &context.env).await?;
    let (around, env) = (context.surroundings(), context.env.clone());
    let registry = Registry::new(around, state, hub, env, tasks.clone());
    registry.reopen().await?;
    let api = serve_api(&registry, &context.env, listen, tasks).await?;
    ready()?;
    settle(tasks);
    let over = tokio::select! {
        biased;
        over = signals.next() => over,
        error = registry.fatal() => return Err(error.into()),
    };
    if let Over::Upgrade = over {
        registry.ended_in_order();
        return Ok(Ended::Left(ExitCode::SUCCESS));
    }
    let ended = leave(&registry, signals, None).await;
    drop(api);
    if let Some(own) = own {
        own.stop().await;
    }
    Ok(ended)
}

/// Says that the API answers; from then on stdout leads nowhere.
fn ready() -> Result<(), CliError> {
    let mut stdout = std::io::stdout();
    // Whoever has started us may have gone; we are here all the same.
    drop(writeln!(stdout, "{READY}").and_then(|()| stdout.flush()));
    File::options()
        .write(true)
        .open("/dev/null")
        .and_then(|null| Ok(nix::unistd::dup2_stdout(null)?))
        .map_err(|error| CliError::new(Exit::Internal, format!("/dev/null: {error}")))
}
