//! The writing side of the byte files: the spool, and the log that forgets.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;

use crate::files;

/// Appends to the spool and knows its length.
#[derive(Debug)]
pub struct Appender {
    file: File,
    bytes: u64,
}

impl Appender {
    /// Opens `path` for appending.
    pub fn open(path: &std::path::Path) -> io::Result<Self> {
        let file = files::append_private(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes })
    }

    /// Appends as much of `bytes` as the disk takes and says how much that was. An error means
    /// that nothing was written.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&self.file, bytes))?;
        self.bytes += written as u64;
        Ok(written)
    }

    /// The length so far.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Makes what was written durable.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// A log that keeps its last one to two `segment`s: the current file and the one before (`.1`).
#[derive(Debug)]
pub struct RotatingLog {
    path: PathBuf,
    segment: u64,
    file: Option<File>,
    in_segment: u64,
    total: u64,
    dropped: bool,
}

impl RotatingLog {
    /// Names the log; the file is created with the first byte.
    pub fn new(path: PathBuf, segment: u64) -> Self {
        Self {
            path,
            segment,
            file: None,
            in_segment: 0,
            total: 0,
            dropped: false,
        }
    }

    /// Appends; what cannot be written is counted and dropped.
    pub fn append(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        if self.try_append(bytes).is_err() {
            self.dropped = true;
        }
    }

    /// All bytes that came, kept or not.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Whether something is no longer there.
    pub fn truncated(&self) -> bool {
        self.dropped
    }

    fn try_append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.in_segment >= self.segment {
            let older = self.older();
            self.dropped |= older.exists();
            self.file = None;
            fs::rename(&self.path, older)?;
            self.in_segment = 0;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(files::append_private(&self.path)?),
        };
        file.write_all(bytes)?;
        self.in_segment += bytes.len() as u64;
        Ok(())
    }

    fn older(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".1");
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotating_log_keeps_the_end_and_says_that_the_rest_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stderr.log");
        let mut log = RotatingLog::new(path.clone(), 10);
        assert!(!path.exists());
        for number in 0..9 {
            log.append(format!("line{number}").as_bytes());
        }
        assert_eq!(log.total(), 45);
        assert!(log.truncated());
        assert_eq!(fs::read(&path).unwrap(), b"line8");
        assert_eq!(
            fs::read(dir.path().join("stderr.log.1")).unwrap(),
            b"line6line7"
        );
    }
}
