//! Where runs live: for now, on this machine.
//!
//! A sandbox starts shims, finds them again and hears from them. It holds no state of its own: all
//! that it needs after a restart is in the run's folder.

mod attach;
mod control;
mod local;
mod remains;
mod run;

use std::io;
use std::path::PathBuf;

pub use attach::{Attach, Ending};
pub use control::{RunControl, RunState, Sent};
pub use local::LocalSandbox;
pub use run::{Change, RunHandle};

use crate::spool::{RunDir, SpawnFailure, StatusError};

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
