//! Finds a run again by its folder, whatever happened since.

use std::time::Duration;

use rustix::process::Signal;

use super::place::Place;
use super::{RunHandle, SandboxError, remains};
use crate::exit::Exit;
use crate::files;
use crate::process::Identity;
use crate::spool::{CONTRACT, Claim, Phase, RunDir, SpawnFailure, Status, Stopped};

/// What became of a run.
#[derive(Debug)]
pub enum Attach {
    /// It goes on.
    Running(RunHandle),
    /// It is over.
    Ended(Ending),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The CLI ended; all its output is in the spool.
    Exited(Stopped),
    /// The CLI never ran.
    SpawnFailed(SpawnFailure),
    /// The shim died or never came: the machine, or someone, killed it. The CLI died with it; the
    /// spool holds what was read until then.
    Vanished {
        /// Processes of the run that were still there after they had been killed.
        leaked: Vec<Identity>,
    },
}

impl Ending {
    /// Of a run of which nothing is left.
    pub fn vanished() -> Self {
        Self::Vanished { leaked: Vec::new() }
    }
}

/// A shim that holds its claim writes its first record within milliseconds, or dies.
const RECORD_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks at a shim that is just starting.
const PAUSE: Duration = Duration::from_millis(5);

pub(super) async fn attach(dir: &RunDir) -> Result<Attach, SandboxError> {
    let place = Place::of(dir)?;
    let look = || Claim::take(dir).map_err(SandboxError::file(dir.path().to_owned()));
    let mut patience = RECORD_LIMIT;
    loop {
        // The claim is taken first: a record that is read while it is held by us is the last one.
        // Pids and start times alone may come again after a reboot; locks do not.
        let claim = look()?;
        let status = Status::read(dir)?;
        match (claim, status) {
            (Some(_ours), None) => {
                crash_point!("sandbox.before_abandon");
                abandon(dir)?;
                crash_point!("sandbox.abandoned");
                return Ok(Attach::Ended(ended(dir, &place, None).await));
            }
            (Some(_ours), Some(status)) => {
                return Ok(Attach::Ended(ended(dir, &place, Some(status)).await));
            }
            (None, Some(status)) => {
                if let Some(run) = RunHandle::open(dir, &place, &status).await? {
                    return Ok(Attach::Running(run));
                }
                // It ended between the two looks, and its lock is about to go.
            }
            (None, None) => {}
        }
        let Some(left) = patience.checked_sub(PAUSE) else {
            return Err(SandboxError::Shim {
                path: dir.path().to_owned(),
                reason: format!("it holds the run without a usable record for {RECORD_LIMIT:?}"),
            });
        };
        patience = left;
        tokio::time::sleep(PAUSE).await;
    }
}

/// How a run ended whose shim is gone, and nothing but its records left in its folder.
pub(super) async fn ended(dir: &RunDir, place: &Place, last: Option<Status>) -> Ending {
    let unfinished = [
        files::temporary(&dir.status()),
        Ok(dir.path().join(RunDir::CONTROL)),
    ];
    for path in unfinished.into_iter().flatten() {
        // Most shims leave nothing of the kind.
        drop(std::fs::remove_file(path));
    }
    if let Some(status) = last {
        return ending(place, status).await;
    }
    place.remove().await;
    Ending::vanished()
}

/// How a run ended by its last record. Nothing of it is left then.
pub(super) async fn ending(place: &Place, last: Status) -> Ending {
    let ending = match (&last.phase, place) {
        (Phase::Exited(stopped), _) => Ending::Exited(stopped.clone()),
        (Phase::SpawnFailed(failure), _) => Ending::SpawnFailed(failure.clone()),
        (Phase::Started, Place::Here) => Ending::Vanished {
            leaked: remains::kill(&last).await,
        },
        // The pids and paths in the record are the container's own: all of it goes with it.
        (Phase::Started, Place::Container { .. }) if place.was_out_of_memory().await => {
            Ending::Exited(out_of_memory())
        }
        (Phase::Started | Phase::Abandoned, _) => Ending::vanished(),
    };
    place.remove().await;
    ending
}

/// Of a container that the kernel killed whole, its shim included.
fn out_of_memory() -> Stopped {
    Stopped {
        exit: Exit {
            code: None,
            signal: Some(Signal::KILL.as_raw()),
            oom: true,
        },
        oom_kills: 1,
        ..Stopped::default()
    }
}

/// Closes a run that never had a shim, so that one that comes late does not start it.
fn abandon(dir: &RunDir) -> Result<(), SandboxError> {
    let status = Status {
        contract: CONTRACT,
        phase: Phase::Abandoned,
        shim: None,
        agent: None,
        group: None,
        world: None,
    };
    Ok(status.write(dir)?)
}
