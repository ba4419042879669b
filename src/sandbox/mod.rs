//! Where runs live: on this machine, or in containers beside us.
//!
//! A sandbox starts shims, finds them again and hears from them. It holds no state of its own: all
//! that it needs after a restart is in the run's folder.

mod attach;
mod control;
pub mod docker;
mod local;
mod place;
mod remains;
mod run;

use std::io;
use std::path::{Path, PathBuf};

pub use attach::{Attach, Ending};
pub use control::{RunControl, RunState, Sent};
pub use local::LocalSandbox;
pub use run::{Change, RunHandle};

use self::docker::DockerSandbox;
use crate::process::Environment;
use crate::spool::{Plan, RunDir, SpawnFailure, StatusError};

/// Where runs are started.
#[derive(Debug, Clone)]
pub enum Sandbox {
    /// On this machine.
    Local(LocalSandbox),
    /// In containers.
    Docker(DockerSandbox),
}

impl Sandbox {
    /// Creates the run's folder and starts the CLI in it. When this returns, the CLI runs, and goes
    /// on whatever becomes of this process; or its shim was killed, which the handle tells.
    pub async fn start(
        &self,
        dir: &RunDir,
        plan: &Plan,
        prompt: &[u8],
        environment: &Environment,
    ) -> Result<RunHandle, SandboxError> {
        match self {
            Self::Local(local) => local.start(dir, plan, prompt, environment).await,
            Self::Docker(docker) => docker.start(dir, plan, prompt, environment).await,
        }
    }

    /// Whether runs are in containers.
    pub fn is_container(&self) -> bool {
        matches!(self, Self::Docker(_))
    }

    /// The same, where what is started can also read what is at `path`.
    #[must_use]
    pub fn showing(&self, path: &Path) -> Self {
        match self {
            Self::Local(local) => Self::Local(local.clone()),
            Self::Docker(docker) => Self::Docker(docker.showing(path)),
        }
    }

    /// Removes what runs have left outside of their folders, which are in `runs`.
    pub async fn sweep(&self, runs: &Path) {
        match self {
            Self::Local(_) => {}
            Self::Docker(docker) => docker.sweep(runs).await,
        }
    }
}

/// Finds a run again that this or an earlier process started, in whatever sandbox.
pub async fn attach(dir: &RunDir) -> Result<Attach, SandboxError> {
    attach::attach(dir).await
}

/// Why a sandbox could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// A file of the run cannot be used.
    #[error("cannot access {path}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The CLI could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnFailure),
    /// The shim could not be started, or gave up before the CLI ran.
    #[error("the shim of the run in {path} did not start: {reason}", path = path.display())]
    Shim {
        /// The run's folder.
        path: PathBuf,
        /// What it said, or what was seen of it.
        reason: String,
    },
    /// The status record cannot be used.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// The shim is of another version.
    #[error(
        "the shim of the run in {path} speaks contract {contract}, this program {known}; let it end \
         or use the program that started it",
        path = path.display(), known = crate::spool::CONTRACT
    )]
    UnknownContract {
        /// The run's folder.
        path: PathBuf,
        /// The shim's contract.
        contract: u32,
    },
    /// The shim is not to be reached over its socket.
    #[error("cannot reach the shim of the run in {path}", path = path.display())]
    Unreachable {
        /// The run's folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The shim refused a request.
    #[error("the shim of the run in {path} refused: {reason}", path = path.display())]
    Refused {
        /// The run's folder.
        path: PathBuf,
        /// Its words.
        reason: String,
    },
}

impl SandboxError {
    fn file(path: PathBuf) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { path, source }
    }

    fn unreachable(dir: &RunDir) -> impl Fn(io::Error) -> Self + '_ {
        move |source| Self::Unreachable {
            path: dir.path().to_owned(),
            source,
        }
    }
}
