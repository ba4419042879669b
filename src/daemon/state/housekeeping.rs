//! Raw output goes once nobody needs it: its turn is closed and the Hub has all of it. Events go by
//! age also where nothing happens: the journal looks when it is written to.
//!
//! A run that no turn knows of (its journal was lost) is stopped: nobody would read what it does.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::ids::{RunId, SessionId};
use crate::journal::{Batch, Journal, JournalError};
use crate::sandbox::{self, Attach, Sandbox, SandboxError};
use crate::spool::control::Stop;
use crate::spool::{Claim, RunDir};

/// Between two looks. Nothing is lost by a late one but room on the disk.
const PAUSE: Duration = Duration::from_mins(1);

/// Looks after the folder of runs.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct Housekeeping {
    pub(in crate::daemon) journal: Journal,
    /// The session, and its agent, in whose name the journal is written to so that it looks.
    pub(in crate::daemon) session: Option<(SessionId, &'static str)>,
    pub(in crate::daemon) runs: PathBuf,
    pub(in crate::daemon) sandbox: Sandbox,
    /// Raw output is kept.
    pub(in crate::daemon) retain: bool,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Run(#[from] SandboxError),
    #[error("{0}")]
    Folder(#[from] io::Error),
}

impl Housekeeping {
    /// Goes on until `stop`.
    pub(in crate::daemon) async fn keep(self, stop: CancellationToken) {
        let mut looks = interval(PAUSE);
        // A daemon that stood still looks once.
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => self.look().await,
            }
        }
    }

    /// Looks once.
    pub(in crate::daemon) async fn look(&self) {
        self.sandbox.sweep(&self.runs).await;
        if let Err(error) = self.sweep().await {
            tracing::warn!(%error, "runs that are over stay on the disk");
        }
    }

    async fn sweep(&self) -> Result<(), Fault> {
        if let Some((session, agent)) = &self.session {
            self.journal.commit(Batch::new(session, agent)).await?;
        }
        // First the folders: a run's row is there before its folder.
        let found = self.found()?;
        let needed: HashSet<RunId> = self.journal.needed_runs().await?.into_iter().collect();
        for (run, dir) in found {
            if needed.contains(&run) {
                continue;
            }
            let claim = match Claim::take(&dir) {
                // Another session of this daemon has looked, too.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                claim => claim?,
            };
            match claim {
                Some(_claim) if self.retain => {}
                Some(_claim) => remove(&dir)?,
                None => self.stop(&dir).await?,
            }
        }
        Ok(())
    }

    /// All runs. A foreground run's own state dir is in this folder, too: it has no plan.
    fn found(&self) -> io::Result<Vec<(RunId, RunDir)>> {
        let entries = match std::fs::read_dir(&self.runs) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let run = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let dir = RunDir::new(entry.path());
            found.extend(run.filter(|_| dir.plan().exists()).map(|run| (run, dir)));
        }
        Ok(found)
    }

    /// Stops a run whose turn was ended without it.
    pub(in crate::daemon) async fn stop_run(&self, run: RunId) {
        let dir = RunDir::new(self.runs.join(run.to_string()));
        if let Err(error) = self.stop(&dir).await {
            tracing::warn!(%error, "a run that is over may still go on");
        }
    }

    async fn stop(&self, dir: &RunDir) -> Result<(), Fault> {
        if let Attach::Running(run) = sandbox::attach(dir).await?
            && let Some(control) = run.control()
        {
            let path = dir.path().display();
            tracing::warn!(%path, "an agent that no turn knows of is stopped");
            control.stop(Stop::ORDERLY).await?;
        }
        Ok(())
    }
}

fn remove(dir: &RunDir) -> io::Result<()> {
    match std::fs::remove_file(dir.container()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match std::fs::remove_dir_all(dir.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::clock::Timestamp;
    use crate::event::Outcome;
    use crate::ids::TurnId;
    use crate::journal::Change;
    use crate::sandbox::LocalSandbox;

    const AT: Timestamp = Timestamp::from_millis(1);

    async fn commit(journal: &Journal, changes: Vec<Change>) {
        let session: SessionId = "s".parse().unwrap();
        let mut batch = Batch::new(&session, "claude");
        batch.changes = changes;
        journal.commit(batch).await.unwrap();
    }

    fn open_turn(turn: TurnId, run: RunId) -> Vec<Change> {
        let workspace = "/w".to_owned();
        vec![
            Change::OpenSession { workspace, at: AT },
            Change::QueueTurn {
                turn,
                command_id: None,
                prompt: "do it".to_owned(),
                author: None,
                images: Vec::new(),
                is_task: false,
                at: AT,
            },
            Change::BeginAttempt {
                turn,
                attempt: 1,
                run,
                ordinal_next: 0,
            },
        ]
    }

    #[tokio::test]
    async fn a_runs_folder_goes_when_its_turn_is_closed_and_a_foreground_runs_stays() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(&dir.path().join("journal.db")).unwrap();
        let runs = dir.path().join("runs");
        let folder = |n: u128| runs.join(Uuid::from_u128(n).to_string());
        for n in 1..=3 {
            std::fs::create_dir_all(folder(n)).unwrap();
        }
        std::fs::write(folder(1).join("plan.json"), "{}").unwrap();
        std::fs::write(folder(2).join("plan.json"), "{}").unwrap();
        std::fs::write(folder(3).join("journal.db"), "").unwrap();
        let keeping = Housekeeping {
            journal: journal.clone(),
            session: Some(("s".parse().unwrap(), "claude")),
            runs: runs.clone(),
            sandbox: Sandbox::Local(LocalSandbox::of_this_program()),
            retain: false,
        };
        let turn = TurnId::from_uuid(Uuid::from_u128(7));
        let run = RunId::from_uuid(Uuid::from_u128(1));
        commit(&journal, open_turn(turn, run)).await;
        keeping.look().await;
        let there = || [1, 2, 3].map(|n| folder(n).exists());
        assert_eq!(there(), [true, false, true], "the second belongs to nobody");
        let outcome = Outcome::Completed;
        let end = Change::EndTurn {
            turn,
            outcome,
            at: AT,
        };
        commit(&journal, vec![end]).await;
        let retaining = Housekeeping {
            retain: true,
            ..keeping.clone()
        };
        retaining.look().await;
        assert_eq!(there(), [true, false, true]);
        keeping.look().await;
        assert_eq!(there(), [false, false, true]);
    }
}
