//! Giving back what a spool's bytes take on the disk once the journal has their events.
//!
//! A hole is punched into the front of the file: offsets stay what they are, and a turn of any
//! length needs no more disk than its quota. What is read again after a power cut must be there
//! still, so only bytes whose offset is synced may go.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};

use crate::files;
use crate::ids::SpoolOffset;

/// The most that is kept of what may go: a crash report shows the end of the output.
const KEEP: u64 = 1 << 20;
/// Bytes that are worth a sync and a hole.
const STEP: u64 = 64 << 20;

/// A spool's front.
#[derive(Debug)]
pub struct Reclaimer {
    file: File,
    quota: u64,
    punched: u64,
}

impl Reclaimer {
    /// Opens the spool at `path`, which may hold `quota` bytes at a time.
    pub fn open(path: &Path, quota: u64) -> io::Result<Self> {
        let file = files::update_private(path)?;
        Ok(Self {
            file,
            quota,
            punched: 0,
        })
    }

    /// Whether `done`, up to where the events are stored, is far enough on that it should be synced
    /// and what lies before it given back.
    pub fn is_due(&self, done: SpoolOffset) -> bool {
        self.front(done) - self.punched >= STEP.min(self.quota / 4)
    }

    /// Gives back what lies before `done`, which is synced; how long the spool may become.
    pub fn reclaim(&mut self, done: SpoolOffset) -> io::Result<u64> {
        let front = self.front(done);
        if front > self.punched {
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // From the start: what an earlier daemon punched costs nothing to punch again.
            fallocate(&self.file, hole, 0, front)?;
            self.punched = front;
        }
        Ok(self.punched.saturating_add(self.quota))
    }

    fn front(&self, done: SpoolOffset) -> u64 {
        let kept = KEEP.min(self.quota / 4);
        done.get().saturating_sub(kept).max(self.punched)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::spool::{Appender, Tail};

    #[test]
    fn reclaimed_bytes_take_no_room_and_offsets_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool.raw");
        let mut spool = Appender::open(&path).unwrap();
        let quota = 1 << 20;
        let block = vec![b'x'; 1 << 20];
        for _ in 0..8 {
            assert_eq!(spool.append(&block).unwrap(), block.len());
        }
        spool.append(b"end").unwrap();
        let mut reclaimer = Reclaimer::open(&path, quota).unwrap();
        assert!(!reclaimer.is_due(SpoolOffset::new(quota / 4)));
        let done = SpoolOffset::new(8 << 20);
        assert!(reclaimer.is_due(done));
        let kept = quota / 4;
        assert_eq!(reclaimer.reclaim(done).unwrap(), (8 << 20) - kept + quota);
        assert!(!reclaimer.is_due(done));
        let metadata = path.metadata().unwrap();
        assert_eq!(metadata.len(), (8 << 20) + 3);
        assert!(metadata.blocks() * 512 <= kept + (1 << 16));
        let mut tail = Tail::open(&path, done).unwrap();
        assert_eq!(tail.read().unwrap(), b"end");
        let mut tail = Tail::open(&path, SpoolOffset::new((8 << 20) - kept)).unwrap();
        assert_eq!(tail.read().unwrap().first(), Some(&b'x'));
    }
}
