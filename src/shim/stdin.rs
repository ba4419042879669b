//! The pipe to the CLI's stdin: recorded first, then written as the CLI takes it.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use crate::ids::SpoolOffset;
use crate::spool::InputLog;

/// What may wait for a CLI that does not read: one control line's worth. Beyond that a frame is
/// refused, and its sender knows.
const MAX_QUEUE: usize = crate::spool::control::MAX_LINE;

/// The writing end of a CLI's stdin.
#[derive(Debug)]
pub(super) struct StdinPipe {
    pipe: Option<OwnedFd>,
    log: InputLog,
    queue: Vec<u8>,
    written: usize,
    closing: bool,
}

impl StdinPipe {
    pub(super) fn new(pipe: OwnedFd, log: InputLog) -> Self {
        Self {
            pipe: Some(pipe),
            log,
            queue: Vec::new(),
            written: 0,
            closing: false,
        }
    }

    /// Records a frame and sends what the pipe takes of it; where its record ends.
    pub(super) fn send(&mut self, frame: &[u8], at: SpoolOffset) -> Result<SpoolOffset, String> {
        if self.pipe.is_none() || self.closing {
            return Err("stdin of the CLI is closed".to_owned());
        }
        if self.queue.len() - self.written + frame.len() > MAX_QUEUE {
            return Err(format!(
                "the CLI does not read its stdin: {} bytes wait",
                self.queue.len() - self.written
            ));
        }
        crash_point!("shim.before_frame");
        let end = self
            .log
            .record(at, frame)
            .map_err(|error| format!("cannot record the frame: {error}"))?;
        crash_point!("shim.frame_recorded");
        self.queue.extend_from_slice(frame);
        self.flush();
        Ok(end)
    }

    /// Closes the pipe once all is written.
    pub(super) fn close(&mut self) {
        self.closing = true;
        self.flush();
    }

    /// The pipe, while something waits for it to become writable.
    pub(super) fn waiting(&self) -> Option<BorrowedFd<'_>> {
        let pipe = self.pipe.as_ref()?;
        (self.written < self.queue.len()).then(|| pipe.as_fd())
    }

    /// Writes what the pipe takes.
    pub(super) fn flush(&mut self) {
        let result = self.try_flush();
        // EPIPE: the CLI has closed its stdin, which is its right.
        if result.is_err() || (self.closing && self.queue.is_empty()) {
            self.pipe = None;
            self.queue.clear();
            self.written = 0;
        }
    }

    fn try_flush(&mut self) -> io::Result<()> {
        let Some(pipe) = &self.pipe else {
            return Ok(());
        };
        while let Some(rest @ [_, ..]) = self.queue.get(self.written..) {
            match rustix::io::write(pipe, rest) {
                Ok(count) => self.written += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.queue.clear();
        self.written = 0;
        Ok(())
    }
}
