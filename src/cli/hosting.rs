//! What `daemon` and the daemon in the background share: signals, leaving, how they end.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::daemon::Over;
use super::lead::Stops;
use super::printing::say;
use super::{CliError, Exit};
use crate::api;
use crate::clock::Clock;
use crate::config::{ApiListen, EnvMap, HubConfig};
use crate::daemon::{HubTarget, Registry, credentials};
use crate::hub::HubAddress;
use crate::process::release_program_pages;
use crate::tasks::Tasks;

/// How long after its start a daemon has done what only a start does.
const CALM: Duration = Duration::from_secs(1);

/// What a daemon exits with that was stopped in the middle of a turn: 128 + SIGTERM, so that a
/// supervisor starts it again and the turn goes on.
const PAUSED: u8 = 143;

/// How long sessions may take to be left: 4.5 s for a CLI that heeds no signal before SIGKILL, and
/// what its shim and the Hub take. Together with [`STOP_LIMIT`] a daemon leaves in under 8 s.
const LEAVE_LIMIT: Duration = Duration::from_secs(6);
/// How long the other tasks may take to end after that.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// Lets go, once, of the program's pages that only a start has touched.
pub(super) fn settle(tasks: &Tasks) {
    let stop = tasks.stopping().clone();
    let _joined_at_the_end = tasks.spawn("settle", async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(CALM) => release_program_pages(),
        }
    });
}

/// How a daemon ended.
pub(super) enum Ended {
    /// In order.
    With(ExitCode),
    /// At once, with agents or shims still there: the next daemon finds them.
    Left(ExitCode),
}

impl Ended {
    /// The process's exit code. A daemon that leaves waits for nothing: what its tasks would still
    /// do, the next daemon does.
    #[allow(clippy::unnecessary_wraps)] // as commands end
    pub(super) fn exit(self, runtime: Runtime) -> Result<ExitCode, CliError> {
        match self {
            Self::With(code) => Ok(code),
            Self::Left(code) => {
                runtime.shutdown_background();
                Ok(code)
            }
        }
    }
}

/// Ends what a daemon has started besides its sessions. Whether nothing of it is left: on a full
/// disk there may be some that waits for room, and a daemon that is told to end does not.
pub(super) async fn stop(tasks: &Tasks, ended: &Result<Ended, CliError>) -> bool {
    if matches!(ended, Ok(Ended::Left(_))) {
        return false;
    }
    let stopped = tokio::time::timeout(STOP_LIMIT, tasks.stop()).await;
    stopped.is_ok()
}

/// The signals that a daemon heeds: SIGINT and SIGTERM to stop, SIGUSR2 to leave.
pub(super) struct Signals {
    stops: Stops,
    upgrade: Signal,
}

impl Signals {
    /// Listens from now on.
    pub(super) fn listen() -> Result<Self, CliError> {
        let upgrade = signal(SignalKind::user_defined2()).map_err(|error| {
            let message = format!("cannot listen for signals: {error}");
            CliError::new(Exit::Internal, message)
        })?;
        Ok(Self {
            stops: Stops::listen()?,
            upgrade,
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Over {
        tokio::select! {
            signal = self.stops.next() => {
                tracing::info!(?signal, "asked to stop");
                Over::Signal
            }
            _ = self.upgrade.recv() => Over::Upgrade,
        }
    }
}

/// Leaves the running turns to the next daemon; a second signal ends them at once. With `code`,
/// that is how it ends. A turn that cannot even be left, because there is no room to store what it
/// said, stays with its shim.
pub(super) async fn leave(
    registry: &Registry,
    signals: &mut Signals,
    code: Option<ExitCode>,
) -> Ended {
    registry.leave(false);
    let left = async {
        let left = registry.left();
        tokio::pin!(left);
        tokio::select! {
            open = &mut left => open,
            _ = signals.next() => {
                registry.leave(true);
                left.await
            }
        }
    };
    let left = tokio::time::timeout(LEAVE_LIMIT, left).await;
    registry.ended_in_order();
    let Ok(open) = left else {
        tracing::warn!("a turn could not be left in time; the next daemon takes it over as it is");
        return Ended::Left(code.unwrap_or_else(|| ExitCode::from(PAUSED)));
    };
    Ended::With(match code {
        Some(code) => code,
        None if open => ExitCode::from(PAUSED),
        None => ExitCode::SUCCESS,
    })
}

/// The Hub of the settings.
pub(super) fn hub_target(hub: &HubConfig) -> Result<HubTarget, CliError> {
    let address = hub.url.as_ref().map(|url| HubAddress::parse(url.as_str()));
    let address = address.transpose();
    Ok(HubTarget {
        address: address.map_err(|error| CliError::new(Exit::Usage, error.to_string()))?,
        credentials: credentials(hub)?,
        key_in_url: hub.key_in_url,
        coalesce: hub.coalesce,
        session_file: hub.session_file,
        wait: hub.wait,
        gate: hub.gate,
        lends_key: false,
    })
}

/// Serves the API of a daemon; until what it gives is dropped.
pub(super) async fn serve_api(
    registry: &Registry,
    env: &EnvMap,
    listen: Option<ApiListen>,
    tasks: &Tasks,
) -> Result<api::Serving, CliError> {
    let runtime_dir = env.value("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime_dir = runtime_dir.filter(|dir| dir.is_absolute() && dir.is_dir());
    let config = api::ApiConfig {
        state_dir: registry.state_dir(),
        runtime_dir: &runtime_dir.unwrap_or_else(|| PathBuf::from("/tmp")),
        network: listen.map(|listen| api::Network {
            listen: listen.address,
            token: listen.token,
        }),
    };
    let serving = api::serve(Arc::new(registry.clone()), config, tasks, Clock)
        .await
        .map_err(|error| CliError::new(Exit::State, error.to_string()))?;
    if let Some(address) = serving.network() {
        say!("agent-runner: the API listens at http://{address}");
    }
    Ok(serving)
}
