//! What is left of sessions that were ended goes when it has been kept long enough: the output files
//! of their turns, their raw output, a workspace that was made here, their rows.
//!
//! What the Hub has not acknowledged stays, however old. A workspace that a user named is never
//! touched. First the files go and then the rows: what a daemon that dies has left, the next finds.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::clock::Clock;
use crate::daemon::state::output;
use crate::daemon::workspace::agents_git;
use crate::daemon::workspace::issued::Issued;
use crate::daemon::workspace::made::Made;
use crate::daemon::workspace::publishing;
use crate::daemon::{DaemonError, Registry};
use crate::ids::SessionId;
use crate::journal::{Batch, Change, SessionRow};
use crate::turn::report;
use crate::workspace::forget_pushes;

/// Between two looks: an hour is little against the days that are kept.
const PAUSE: Duration = Duration::from_hours(1);

impl Registry {
    /// Looks at once, and then from time to time, until the daemon leaves.
    pub(super) fn keep_retention(&self) {
        let (registry, stop) = (self.clone(), self.tasks().stopping().clone());
        self.tasks().spawn("retention", async move {
            let mut looks = interval(PAUSE);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = looks.tick() => {}
                }
                if let Err(error) = registry.remove_old().await {
                    tracing::warn!(%error, "what is left of old sessions stays on the disk");
                }
            }
        });
    }

    async fn remove_old(&self) -> Result<(), DaemonError> {
        let retain = self.state().session_retain().as_millis();
        let retain = u64::try_from(retain).unwrap_or(u64::MAX);
        let now = Clock.wall().millis();
        for row in self.state().journal().sessions().await? {
            let is_old = |at: u64| now.saturating_sub(at) >= retain;
            let is_due = row.closed_at.is_some_and(|at| is_old(at.millis()));
            if is_due && self.is_delivered(&row.id).await? {
                self.remove(&row).await?;
            }
        }
        Ok(())
    }

    async fn remove(&self, row: &SessionRow) -> Result<(), DaemonError> {
        let (dir, journal) = (self.state().dir(), self.state().journal());
        let fault = |path: &Path, error: io::Error| {
            DaemonError::Internal(format!("cannot remove {}: {error}", path.display()))
        };
        for turn in journal.turns(&row.id).await? {
            let output = output::output_file(dir, turn.id);
            absent(std::fs::remove_file(&output)).map_err(|error| fault(&output, error))?;
            if let Some(run) = turn.run {
                let run = dir.join("runs").join(run.to_string());
                absent(std::fs::remove_dir_all(&run)).map_err(|error| fault(&run, error))?;
            }
            crash_point!("retention.turn_removed");
        }
        let made = own_workspace(dir, &row.id);
        let removed = std::fs::remove_dir_all(&made);
        absent(removed).map_err(|error| fault(&made, error))?;
        let git = agents_git::folder(dir, &row.id);
        absent(std::fs::remove_dir_all(&git)).map_err(|error| fault(&git, error))?;
        let removed = crate::hub::file::remove(dir, &row.id);
        absent(removed).map_err(|error| fault(dir, error))?;
        let pushes = publishing::folder(dir, &row.id);
        forget_pushes(&pushes).map_err(|error| fault(&pushes, error))?;
        let forgotten = report::forget(dir, &row.id);
        forgotten.map_err(|error| fault(&made, error))?;
        let forgotten = Issued::forget(dir, &row.id);
        forgotten.map_err(|error| fault(&made, error))?;
        Made::forget(dir, &row.id).map_err(|error| fault(&made, error))?;
        crash_point!("retention.files_removed");
        let agent = &row.agent;
        let forget = Batch::new(&row.id, agent).with(Change::ForgetSession);
        journal.commit(forget).await?;
        self.forget(&row.id);
        tracing::info!(session = %row.id, "nothing is kept any more of a session that was ended");
        Ok(())
    }
}

/// The workspace that a daemon makes for a session which has none.
pub(in crate::daemon) fn own_workspace(state_dir: &Path, session: &SessionId) -> PathBuf {
    state_dir.join("workspaces").join(session.as_str())
}

fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
