//! That the journal's disk has failed, told to the next daemon.
//!
//! What was stored without a sync is then in the kernel alone, and gone once the disk is mended and
//! mounted anew: as after a power cut, but the machine has not stopped. The disk itself takes no word
//! of it, so the word lies in memory that lasts as long as the machine runs. Without that (no
//! `/dev/shm`, or a container that was made anew meanwhile) the next daemon does not know.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rusqlite::ffi;
use uuid::Uuid;

use super::JournalError;
use crate::files;

const MEMORY: &str = "/dev/shm";

/// Leaves word if `error` says, or the disk itself does, that what was written is not kept.
pub(super) fn note(journal: &Path, error: &JournalError) {
    if !is_of_sync(error) && syncs(journal) {
        return;
    }
    let noted = place(journal).map(|place| files::create_private(&place));
    if let Err(error) = noted.transpose() {
        // It may be there from the time before.
        tracing::debug!(%error, "that the journal's disk failed is not noted");
    }
}

/// Whether there is such a word of ours.
pub(super) fn is_noted(journal: &Path) -> bool {
    let found = place(journal).and_then(|place| place.symlink_metadata().ok());
    found.is_some_and(|found| found.uid() == rustix::process::geteuid().as_raw())
}

/// What followed from it is stored.
pub(super) fn forget(journal: &Path) {
    if let Some(place) = place(journal) {
        // Mostly nothing is there.
        drop(std::fs::remove_file(place));
    }
}

fn is_of_sync(error: &JournalError) -> bool {
    let JournalError::Store(error) = error else {
        return false;
    };
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(
        code,
        Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC)
    )
}

fn syncs(journal: &Path) -> bool {
    File::open(journal).and_then(|file| file.sync_all()).is_ok()
}

fn place(journal: &Path) -> Option<PathBuf> {
    let folder = journal.parent()?.canonicalize().ok()?;
    let whole = folder.join(journal.file_name()?);
    let name = Uuid::new_v5(&Uuid::NAMESPACE_URL, whole.as_os_str().as_encoded_bytes());
    Some(Path::new(MEMORY).join(format!("agent-runner-failed-{name}")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_failed_sync_is_noted_until_it_is_forgotten_and_a_refused_write_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("journal.db");
        files::create_private(&journal).unwrap();
        let store = |code| {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            JournalError::Store(Arc::new(error))
        };
        note(&journal, &store(ffi::SQLITE_IOERR_WRITE));
        assert!(!is_noted(&journal), "the disk is well");
        for _ in 0..2 {
            note(&journal, &store(ffi::SQLITE_IOERR_FSYNC));
            assert!(is_noted(&journal));
        }
        assert!(!is_noted(&dir.path().join("other.db")));
        forget(&journal);
        assert!(!is_noted(&journal));
    }
}
