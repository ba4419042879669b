//! Room that is kept for the moment when there is none left.
//!
//! On a full disk SQLite cannot even delete: that needs its log to grow. A file of real blocks is
//! given up then, to store what is on its way, to say what is wrong, and to prune.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;

use rustix::fs::{FallocateFlags, fallocate};

use super::JournalError;
use crate::files;

/// The file and its size.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    pub(super) fn new(path: PathBuf, bytes: u64) -> Self {
        Self { path, bytes }
    }

    /// Takes the room, if it is not taken already; whether there was enough.
    pub(super) fn take(&self) -> bool {
        if self.bytes == 0 || self.is_whole() {
            return true;
        }
        let taken = files::update_private(&self.path).and_then(|file| self.fill(&file));
        let Err(error) = taken else { return true };
        self.give_up();
        let is_full = JournalError::file(&self.path)(error.kind().into()).is_full();
        if !is_full {
            // Whatever that is, it is not for want of room.
            tracing::warn!(%error, "there is no ballast against a full disk");
        }
        !is_full
    }

    /// Gives the room back.
    pub(super) fn give_up(&self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.path.display(), "cannot give up the ballast");
        }
    }

    fn is_whole(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let blocks = |file: &std::fs::Metadata| file.blocks() * 512 >= self.bytes;
        self.path.metadata().is_ok_and(|file| blocks(&file))
    }

    fn fill(&self, mut file: &File) -> io::Result<()> {
        match fallocate(file, FallocateFlags::empty(), 0, self.bytes) {
            Ok(()) => Ok(()),
            // A file system that cannot reserve: written, it has the blocks as well.
            Err(rustix::io::Errno::OPNOTSUPP) => {
                let block = [0x55; 8 * 1024];
                let mut left = self.bytes;
                while left > 0 {
                    let part = usize::try_from(left)
                        .unwrap_or(block.len())
                        .min(block.len());
                    file.write_all(block.get(..part).unwrap_or_default())?;
                    left -= part as u64;
                }
                file.sync_data()
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ballast_has_real_blocks_and_goes() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.ballast");
        let ballast = Ballast::new(path.clone(), 1 << 20);
        assert!(ballast.take());
        assert!(ballast.take());
        assert!(path.metadata().unwrap().blocks() * 512 >= 1 << 20);
        ballast.give_up();
        assert!(!path.exists());
        ballast.give_up();
    }
}
