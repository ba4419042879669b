//! The state dir of a daemon: the lock and the journal.

pub(super) mod footprint;
pub(super) mod housekeeping;
pub(super) mod output;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::footprint::{Found, journal_path};
use crate::config::KeepingConfig;
use crate::daemon::agent::program::{RunsAs, open_way};
use crate::daemon::{DaemonError, Footprint};
use crate::journal::{Journal, Options, StateLock};

/// A state dir that is ours until this and its clones are gone.
#[derive(Debug, Clone)]
pub struct State {
    journal: Journal,
    lock: Arc<StateLock>,
    dir: PathBuf,
    found: Found,
    session_retain: Duration,
}

impl State {
    /// Takes `dir` and opens its journal. `root` is `dir` or the folder that holds it; the user
    /// whom an agent runs as can get to what will be theirs in it.
    pub fn take(
        root: &Path,
        dir: &Path,
        runs_as: Option<&RunsAs>,
        keeping: &KeepingConfig,
    ) -> Result<Self, DaemonError> {
        let found = Found::look(dir);
        if let Some(RunsAs::Other { user, name, .. }) = runs_as {
            open_way(root, user, name)?;
        }
        let lock = Arc::new(StateLock::take(dir)?);
        let options = Options {
            quota: keeping.journal_quota,
            retain: keeping.journal_retain,
            retain_bytes: keeping.journal_retain_size,
            ..Options::default()
        };
        let journal = Journal::open_with(&journal_path(dir), options)?;
        Ok(Self {
            journal,
            lock,
            dir: dir.to_owned(),
            found,
            session_retain: keeping.session_retain,
        })
    }

    /// The events and rows of all sessions.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Gives back the room that was kept against a full disk: nobody opens this journal again.
    pub fn retire(&self) {
        let ballast = journal_path(&self.dir).with_extension("ballast");
        if let Err(error) = std::fs::remove_file(&ballast)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %ballast.display(), "the ballast stays behind");
        }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is left of a session that was ended is kept so long.
    pub(super) fn session_retain(&self) -> Duration {
        self.session_retain
    }

    /// The lock, for an end in order.
    pub(super) fn lock(&self) -> &StateLock {
        &self.lock
    }

    /// What was made for the start, for a start that fails to take back.
    pub fn footprint(&self) -> Footprint {
        let (journal, lock) = (self.journal.clone(), Arc::clone(&self.lock));
        Footprint::new(journal, lock, self.dir.clone(), self.found)
    }
}
