//! The CLI's stdout on its way into the spool.
//!
//! Nothing is dropped while the CLI lives: over the quota, or with a disk that takes no more, the
//! output is left unread and the CLI blocks in its next write.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::spool::Appender;

/// One read; a PTY gives 4 KiB at most, a pipe 64.
const READ: usize = 64 * 1024;
/// Reads in a row before the other descriptors get their turn.
const ROUNDS: usize = 64;
/// How soon a failed write to the spool is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// What a dead CLI may have left in the kernel over the quota: a full pipe and more.
const LAST_WORDS: u64 = 1024 * 1024;

/// The source, the spool and what lies between.
#[derive(Debug)]
pub(super) struct Output {
    source: Option<OwnedFd>,
    spool: Appender,
    buffer: Vec<u8>,
    /// The part of `buffer` that the disk has not taken yet.
    unwritten: std::ops::Range<usize>,
    retry_at: Option<Instant>,
    quota: u64,
    lost: bool,
}

/// Whether a pump may have left something in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// No: everything that was written so far is in the spool.
    Nothing,
    /// Yes.
    Something,
}

impl Output {
    pub(super) fn new(source: OwnedFd, spool: Appender, quota: u64) -> Self {
        Self {
            source: Some(source),
            spool,
            buffer: vec![0; READ],
            unwritten: 0..0,
            retry_at: None,
            quota,
            lost: false,
        }
    }

    /// The source, when it should be polled.
    pub(super) fn wanted(&self) -> Option<BorrowedFd<'_>> {
        let source = self.source.as_ref()?;
        (!self.held()).then(|| source.as_fd())
    }

    /// Whether the CLI's output is left unread.
    pub(super) fn held(&self) -> bool {
        self.spool.len() >= self.quota || !self.unwritten.is_empty()
    }

    /// Whether there is nobody left who could write, and all is in the spool.
    pub(super) fn at_end(&self) -> bool {
        self.source.is_none() && self.unwritten.is_empty()
    }

    /// When to pump again although nothing is readable.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.retry_at
    }

    /// The length of the spool.
    pub(super) fn bytes(&self) -> u64 {
        self.spool.len()
    }

    /// Whether output was lost.
    pub(super) fn lost(&self) -> bool {
        self.lost
    }

    pub(super) fn set_quota(&mut self, bytes: u64) {
        self.quota = bytes;
    }

    /// The CLI is dead: what the kernel still holds is taken even over the quota.
    pub(super) fn take_last_words(&mut self) {
        self.quota = self.quota.max(self.spool.len()).saturating_add(LAST_WORDS);
    }

    /// No more output is wanted; what is not in the spool by now is lost.
    pub(super) fn close(&mut self, left: Left) {
        self.lost |=
            !self.unwritten.is_empty() || (left == Left::Something && self.source.is_some());
        self.source = None;
        self.unwritten = 0..0;
        self.retry_at = None;
    }

    /// Makes the spool durable.
    pub(super) fn sync(&mut self) {
        // What the disk refuses to keep is as good as lost.
        self.lost |= self.spool.sync().is_err();
    }

    /// Moves what is there, up to a limit that keeps the shim responsive.
    pub(super) fn pump(&mut self, now: Instant) -> Left {
        if !self.write_out(now) {
            return Left::Something;
        }
        for _ in 0..ROUNDS {
            if self.held() {
                return Left::Something;
            }
            match self.read() {
                Ok(0) | Err(rustix::io::Errno::AGAIN) => return Left::Nothing,
                Ok(count) => {
                    crash_point!("shim.output_read");
                    self.unwritten = 0..count;
                }
                // EIO is how a PTY master says that the last slave was closed.
                Err(_) => {
                    self.source = None;
                    return Left::Nothing;
                }
            }
            if !self.write_out(now) {
                return Left::Something;
            }
        }
        Left::Something
    }

    fn read(&mut self) -> rustix::io::Result<usize> {
        let Some(source) = &self.source else {
            return Ok(0);
        };
        let room = usize::try_from(self.quota - self.spool.len()).unwrap_or(READ);
        let room = self.buffer.len().min(room);
        let Some(buffer) = self.buffer.get_mut(..room) else {
            return Ok(0);
        };
        let count = rustix::io::retry_on_intr(|| rustix::io::read(source, &mut *buffer))?;
        if count == 0 {
            self.source = None;
        }
        Ok(count)
    }

    /// Writes the unwritten; `false` when the disk does not take it all now.
    fn write_out(&mut self, now: Instant) -> bool {
        if self.retry_at.is_some_and(|at| now < at) {
            return false;
        }
        self.retry_at = None;
        while let Some(rest @ [_, ..]) = self.buffer.get(self.unwritten.clone()) {
            match self.spool.append(rest) {
                Ok(count) if count > 0 => self.unwritten.start += count,
                // A full disk, most likely: someone may make room.
                _ => {
                    self.retry_at = Some(now + RETRY);
                    return false;
                }
            }
        }
        crash_point!("shim.output_written");
        self.unwritten = 0..0;
        true
    }
}

/// Reads what `source` has and hands it on; `false` at its end.
pub(super) fn drain(source: &OwnedFd, mut sink: impl FnMut(&[u8])) -> bool {
    let mut buffer = [0; 8 * 1024];
    for _ in 0..ROUNDS {
        match rustix::io::read(source, &mut buffer) {
            Ok(0) => return false,
            Ok(count) => sink(buffer.get(..count).unwrap_or_default()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return error == rustix::io::Errno::AGAIN,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::clock::Clock;

    fn output(spool: &Path, content: &[u8], quota: u64) -> Output {
        let (source, writer) = rustix::pipe::pipe().unwrap();
        rustix::io::ioctl_fionbio(&source, true).unwrap();
        rustix::io::write(&writer, content).unwrap();
        Output::new(source, Appender::open(spool).unwrap(), quota)
    }

    #[test]
    fn on_a_full_disk_output_is_held_and_tried_again() {
        let mut output = output(Path::new("/dev/full"), b"words", 100);
        let now = Clock.now();
        assert_eq!(output.pump(now), Left::Something);
        assert!(output.held() && output.wanted().is_none() && !output.at_end());
        assert_eq!(output.deadline(), Some(now + RETRY));
        assert_eq!(output.pump(now + RETRY), Left::Something);
        assert_eq!(output.deadline(), Some(now + RETRY * 2));
        assert!(!output.lost());
        output.close(Left::Something);
        assert!(output.lost());
    }

    #[test]
    fn the_quota_is_kept_to_the_byte_until_the_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool.raw");
        let mut output = output(&path, b"0123456789", 4);
        let now = Clock.now();
        assert_eq!(output.pump(now), Left::Something);
        assert!(output.held());
        assert_eq!(std::fs::read(&path).unwrap(), b"0123");
        output.take_last_words();
        assert_eq!(output.pump(now), Left::Nothing);
        assert!(output.at_end());
        assert_eq!(std::fs::read(&path).unwrap(), b"0123456789");
    }
}
