//! Serves the embedded Hub.

mod waker;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::lead::here;
use super::{CliError, Exit};
use crate::cli::printing::print;
use crate::config::{CommandKind, EnvMap, WakeCommand, resolve_waking};
use crate::local_hub::{ApiKey, HubError, LocalHub, StoreError};
use crate::tasks::Tasks;
use waker::CommandWaker;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where to listen; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDR:PORT",
        default_value = "127.0.0.1:3500",
        env = "AGENT_RUNNER_LISTEN"
    )]
    listen: SocketAddr,
    /// Where sessions are kept [default: $XDG_STATE_HOME/agent-runner]
    #[arg(long, value_name = "DIR", env = "AGENT_RUNNER_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// File with the API key that clients must show (or set `AGENT_RUNNER_API_KEY`); needed to
    /// listen anywhere but on loopback
    #[arg(long, value_name = "FILE", env = "AGENT_RUNNER_API_KEY_FILE")]
    api_key_file: Option<PathBuf>,
    /// One word of the command that has a paused session led again (repeatable); `none` for no
    /// such command [default: the daemon in the background of the session's own state dir]
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    wake_command: Vec<String>,
    /// Config file [default: $XDG_CONFIG_HOME/agent-runner/config.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let key = api_key(arguments.api_key_file.as_deref())?;
    LocalHub::check_address(arguments.listen, key.is_some()).map_err(|error| hub_error(&error))?;
    let dir = state_dir(arguments.state_dir.clone())?;
    let env = EnvMap::of_this_process();
    let place = here(CommandKind::Start, &env)?;
    let config = arguments.config.as_deref();
    let waking = resolve_waking(&arguments.wake_command, config, &env, &place)
        .map_err(|error| CliError::new(Exit::Usage, error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CliError::new(Exit::Internal, format!("cannot start: {error}")))?;
    runtime.block_on(serve(arguments.listen, &dir, key, waking))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(
    listen: SocketAddr,
    dir: &Path,
    key: Option<SecretString>,
    waking: WakeCommand,
) -> Result<(), CliError> {
    let internal = |error| CliError::new(Exit::Internal, format!("cannot watch signals: {error}"));
    let mut interrupted = signal(SignalKind::interrupt()).map_err(internal)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(internal)?;
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        let message =
            format!("cannot listen on {listen}: {error}; pass another --listen ADDR:PORT");
        CliError::new(Exit::Usage, message)
    })?;
    let tasks = Tasks::new();
    let url = own_url(&listener).map_err(internal)?;
    let waker = CommandWaker::new(waking, url, key.clone(), dir);
    let key = key.and_then(|key| ApiKey::new(key.expose_secret()));
    let hub = LocalHub::open_with(dir, key, Some(Arc::new(waker)), &tasks)
        .await
        .map_err(|error| store_error(&error))?;
    let address = hub.serve(listener).map_err(|error| hub_error(&error))?;
    print(&format!("listening http://{address}\n"))?;
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    hub.stop().await;
    Ok(())
}

/// Where this Hub is reached from this machine.
fn own_url(listener: &TcpListener) -> std::io::Result<String> {
    let mut address = listener.local_addr()?;
    if address.ip().is_unspecified() {
        let loopback = match address {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
        };
        address.set_ip(loopback);
    }
    Ok(format!("http://{address}"))
}

fn api_key(file: Option<&Path>) -> Result<Option<SecretString>, CliError> {
    let (text, place) = match file {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                let message = format!("cannot read --api-key-file {}: {error}", path.display());
                CliError::new(Exit::Usage, message)
            })?;
            (text, path.display().to_string())
        }
        None => match std::env::var("AGENT_RUNNER_API_KEY") {
            Ok(text) => (text, "AGENT_RUNNER_API_KEY".to_owned()),
            Err(std::env::VarError::NotPresent) => return Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => {
                let message = "AGENT_RUNNER_API_KEY is not UTF-8 text";
                return Err(CliError::new(Exit::Usage, message));
            }
        },
    };
    let key = text.trim();
    let key = (!key.is_empty()).then(|| SecretString::from(key.to_owned()));
    key.map(Some).ok_or_else(|| {
        let message = format!("{place} holds no key: put one line of text in it, or leave it out");
        CliError::new(Exit::Usage, message)
    })
}

fn state_dir(given: Option<PathBuf>) -> Result<PathBuf, CliError> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|dir| dir.is_absolute())
    };
    given
        .or_else(|| Some(absolute("XDG_STATE_HOME")?.join("agent-runner")))
        .or_else(|| Some(absolute("HOME")?.join(".local/state/agent-runner")))
        .ok_or_else(|| {
            let message = "neither XDG_STATE_HOME nor HOME is set; pass --state-dir DIR";
            CliError::new(Exit::Usage, message)
        })
}

fn hub_error(error: &HubError) -> CliError {
    let exit = match error {
        HubError::KeyRequired(_) => Exit::Usage,
        HubError::Store(error) => return store_error(error),
        _ => Exit::Internal,
    };
    CliError::new(exit, error.to_string())
}

fn store_error(error: &StoreError) -> CliError {
    CliError::new(Exit::State, error.to_string())
}
