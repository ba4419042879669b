//! What a start puts into the state dir before there is a session, and taking it back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::journal::{Journal, StateLock};

/// Whoever else holds the journal is ending by now.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// The files of a start. A start that fails takes them back, if they are its own and hold nothing.
#[derive(Debug)]
pub struct Footprint {
    journal: Journal,
    lock: Arc<StateLock>,
    state_dir: PathBuf,
    found: Found,
}

/// What was there before.
#[derive(Debug, Clone, Copy)]
pub(in crate::daemon) struct Found {
    state_dir: bool,
    journal: bool,
}

impl Found {
    /// Looks, before anything is made.
    pub(in crate::daemon) fn look(state_dir: &Path) -> Self {
        Self {
            state_dir: state_dir.exists(),
            journal: journal_path(state_dir).exists(),
        }
    }
}

/// Where the journal is.
pub(super) fn journal_path(state_dir: &Path) -> PathBuf {
    state_dir.join("journal.db")
}

/// The journals below a state dir: that of its daemon, and one for each run in the foreground.
pub fn journals(state_dir: &Path) -> Vec<PathBuf> {
    let runs = state_dir.join("runs").read_dir();
    let runs = runs.into_iter().flatten().flatten();
    let folders = std::iter::once(state_dir.to_owned()).chain(runs.map(|entry| entry.path()));
    folders.map(|folder| journal_path(&folder)).collect()
}

impl Footprint {
    pub(in crate::daemon) fn new(
        journal: Journal,
        lock: Arc<StateLock>,
        state_dir: PathBuf,
        found: Found,
    ) -> Self {
        Self {
            journal,
            lock,
            state_dir,
            found,
        }
    }

    /// Closes the journal after an orderly end: one file is left of it, and no log beside it.
    pub async fn keep(self) {
        let closed = tokio::time::timeout(CLOSE_LIMIT, self.journal.close()).await;
        if closed.is_err() {
            tracing::debug!("the journal is still in use; the next start finds its log");
        }
    }

    /// Leaves the state dir as it was found, unless something is stored in it by now. All tasks
    /// that use the journal must have been stopped.
    pub async fn erase(self) {
        if self.found.journal || !matches!(self.journal.is_empty().await, Ok(true)) {
            return;
        }
        let closed = tokio::time::timeout(CLOSE_LIMIT, self.journal.close()).await;
        if closed.is_err() {
            return;
        }
        let files = Journal::files(&journal_path(&self.state_dir));
        let removed = files
            .iter()
            .try_for_each(|file| match std::fs::remove_file(file) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            })
            .and_then(|()| self.lock.discard());
        if let Err(error) = removed {
            tracing::debug!(%error, "an empty journal stays in the state dir");
        }
        drop(self.lock);
        if !self.found.state_dir {
            // Anything that others have put there keeps it.
            std::fs::remove_dir(&self.state_dir).ok();
        }
    }
}
