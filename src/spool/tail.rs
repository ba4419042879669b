//! Reads a spool from an offset on, while it grows.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::files;
use crate::ids::SpoolOffset;

/// The most that one read gives: large enough that a flood costs few calls, small enough that the
/// reader's other work waits a millisecond at most.
const CHUNK: usize = 256 * 1024;

/// The reading side of a spool.
#[derive(Debug)]
pub struct Tail {
    file: File,
    offset: SpoolOffset,
    buffer: Vec<u8>,
}

impl Tail {
    /// Opens the spool at `path`, to read from `offset` on.
    pub fn open(path: &Path, offset: SpoolOffset) -> io::Result<Self> {
        Ok(Self {
            // In a container the CLI may be able to put something else in its place.
            file: files::open_plain(path)?,
            offset,
            buffer: Vec::new(),
        })
    }

    /// Where the next chunk begins.
    pub fn offset(&self) -> SpoolOffset {
        self.offset
    }

    /// How many bytes before the next chunk are not there.
    pub fn lacks(&self) -> io::Result<u64> {
        let length = self.file.metadata()?.len();
        Ok(self.offset.get().saturating_sub(length))
    }

    /// Goes on from another offset.
    pub fn go_to(&mut self, offset: SpoolOffset) {
        self.offset = offset;
    }

    /// The next chunk of at most 256 KiB; empty when there is no more for now.
    pub fn read(&mut self) -> io::Result<&[u8]> {
        // Allocated with the first read: an idle run costs nothing.
        self.buffer.resize(CHUNK, 0);
        let count = loop {
            match self.file.read_at(&mut self.buffer, self.offset.get()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.offset = self.offset.advanced(count as u64);
        Ok(self.buffer.get(..count).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_follows_a_growing_file_from_its_offset() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool.raw");
        let mut spool = super::super::Appender::open(&path).unwrap();
        spool.append(b"one two").unwrap();
        let mut tail = Tail::open(&path, SpoolOffset::new(4)).unwrap();
        assert_eq!(tail.read().unwrap(), b"two");
        assert_eq!(tail.read().unwrap(), b"");
        spool.append(&vec![b'x'; CHUNK + 1]).unwrap();
        assert_eq!(tail.read().unwrap().len(), CHUNK);
        assert_eq!(tail.read().unwrap(), b"x");
        assert_eq!(tail.offset().get(), spool.len());
    }
}
