//! Whether the journal's file is still at its place. A file that was removed, or a folder that was
//! moved, takes writes as before, and nobody finds what they hold.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::JournalError;

/// A file, and which one it was when it was opened.
#[derive(Debug)]
pub(super) struct Standing {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Standing {
    /// The file that is there now.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let now = path.symlink_metadata()?;
        Ok(Self {
            path: path.to_owned(),
            device: now.dev(),
            inode: now.ino(),
        })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fails where another file is in its place, or none. One that cannot be looked at counts as
    /// there.
    pub(super) fn check(&self) -> Result<(), JournalError> {
        let is_gone = match self.path.symlink_metadata() {
            Ok(now) => (now.dev(), now.ino()) != (self.device, self.inode),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if is_gone {
            let path = self.path.clone();
            return Err(JournalError::Removed { path });
        }
        Ok(())
    }
}
