//! Why the journal could not do it, and what that means.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;

use super::Room;

/// Why the journal could not do it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// SQLite said no.
    #[error("journal: {0}")]
    Store(Arc<rusqlite::Error>),
    /// A file beside the database could not be used.
    #[error("journal: {what}: {source}")]
    File {
        /// Which.
        what: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A row holds what this version does not understand.
    #[error("journal: {0}")]
    Corrupt(String),
    /// A newer program has written it.
    #[error(
        "the journal has version {version}, this program knows {known}: use the newer program, or \
         another --state-dir"
    )]
    Newer {
        /// Its version.
        version: i64,
        /// The newest that is known here.
        known: i64,
    },
    /// Nothing more is accepted until there is room.
    #[error("{0}")]
    Full(Room),
    /// The disk does not take a write, or does not keep what it took.
    #[error(
        "the journal {path} cannot be written: {why}; what is on the disk is not known any more and \
         nothing more is taken, agents that run are held: mend the disk (the kernel's log says what \
         is wrong with it), then start the daemon again, which goes on from what is there",
        path = path.display()
    )]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// What SQLite or the system said.
        why: String,
    },
    /// A write failed earlier, so what is on the disk is no longer known; the daemon must restart.
    #[error("journal: an earlier write failed, nothing more is accepted until a restart")]
    Poisoned,
    /// Its file is not at its place any more: what is written to it nobody will find.
    #[error(
        "the journal {path} was removed or replaced while it was in use: nothing can be kept any \
         more; start the daemon again", path = path.display()
    )]
    Removed {
        /// Where it was.
        path: PathBuf,
    },
    /// The journal was closed.
    #[error("journal: closed")]
    Closed,
}

impl From<rusqlite::Error> for JournalError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl JournalError {
    pub(super) fn file(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::File {
            what: path.display().to_string(),
            source: Arc::new(source),
        }
    }

    /// The same, as what has become of the file at `path` by it.
    pub(super) fn of_write(&self, path: &Path) -> Self {
        let why = match self {
            Self::Store(error) => error.to_string(),
            Self::File { what, source } => format!("{what}: {source}"),
            other => return other.clone(),
        };
        let path = path.to_owned();
        Self::Unwritable { path, why }
    }

    /// Whether a write failed for want of room, and left everything as it was: SQLite rolls it
    /// back, and it can be tried again. A failed *sync* is something else.
    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::Store(error) => matches!(
                error
                    .sqlite_error()
                    .map(|error| (error.code, error.extended_code)),
                Some((ErrorCode::DiskFull, _) | (_, rusqlite::ffi::SQLITE_IOERR_SHMSIZE))
            ),
            Self::File { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            _ => false,
        }
    }

    /// Whether it says that the file is not what was written to it. What the system refuses (no
    /// permission, no room, a disk that cannot be read) does not say so.
    pub(super) fn is_corruption(&self) -> bool {
        let Self::Store(error) = self else {
            return matches!(self, Self::Corrupt(_));
        };
        let Some(error) = error.sqlite_error() else {
            // A value that is no text, no number, too large: not ours.
            return true;
        };
        match error.code {
            ErrorCode::SystemIoFailure => matches!(
                error.extended_code,
                rusqlite::ffi::SQLITE_IOERR_SHORT_READ
                    | rusqlite::ffi::SQLITE_IOERR_DATA
                    | rusqlite::ffi::SQLITE_IOERR_CORRUPTFS
            ),
            ErrorCode::CannotOpen
            | ErrorCode::DiskFull
            | ErrorCode::PermissionDenied
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::FileLockingProtocolFailed => false,
            // The file's own header may say so as well, if a bit of it has turned.
            ErrorCode::ReadOnly => error.extended_code == rusqlite::ffi::SQLITE_READONLY,
            _ => true,
        }
    }
}
