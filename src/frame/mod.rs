//! Bytes to bounded lines.
//!
//! A [`LineFramer`] cuts the stream at `\n` and at nothing else (U+2028 is content), says where in
//! the spool each line lies, and keeps memory flat whatever comes: strings over a limit are cut
//! with a marker that says how much, lines over a limit give their head only. How the stream was
//! chunked never changes what comes out. It knows nothing of what a line means.

mod ansi;
mod depth;
mod string_cap;

use crate::ids::SpoolOffset;

pub use ansi::{uncoloured, without_sequences};
pub use depth::nesting;
use string_cap::StringCap;

/// How deeply JSON that is passed on may nest: half of what common parsers take, so that a
/// consumer can still wrap it.
pub const MAX_DEPTH: usize = 96;

/// How much of an oversized line is given.
pub(crate) const HEAD: usize = 4096;

/// A buffer that grew for one long line is given back down to this size.
const KEPT_CAPACITY: usize = 256 * 1024;

/// One line of a CLI's output.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Where the line's first byte lies in the spool.
    pub start: SpoolOffset,
    /// Where the next line begins.
    pub end: SpoolOffset,
    /// The line without its line end, and without what a terminal put in front of it.
    pub bytes: &'a [u8],
    /// What was cut from it.
    pub loss: Loss,
}

/// What the framer had to leave out of a line; the spool still holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing.
    None,
    /// Strings over the limit were cut by this many bytes in all; the JSON is still valid.
    Capped(u64),
    /// The line itself is over the limit: `bytes` is its head only.
    Oversized,
}

/// How much of a line is kept, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// The longest JSON string, as written (escapes count as they are).
    pub string: usize,
    /// The longest line, after its strings were cut.
    pub line: usize,
}

impl Default for FrameLimits {
    /// What the published contract says: strings of 4 MiB and lines of 16 MiB are kept whole.
    fn default() -> Self {
        Self {
            string: 4 << 20,
            line: 16 << 20,
        }
    }
}

/// Cuts a byte stream into lines. Holds at most [`FrameLimits::line`] and one chunk.
#[derive(Debug)]
pub struct LineFramer {
    limits: FrameLimits,
    /// Where the current line starts, and where the next pushed byte lies.
    start: SpoolOffset,
    next: SpoolOffset,
    /// What is kept of the current line so far.
    buffer: Vec<u8>,
    /// Set once the line is longer than a string may be: only then can a string need cutting.
    cap: Option<StringCap>,
    oversized: bool,
}

impl LineFramer {
    /// A framer whose first byte lies at `at`, which is a line's start.
    pub fn new(limits: FrameLimits, at: SpoolOffset) -> Self {
        Self {
            limits,
            start: at,
            next: at,
            buffer: Vec::new(),
            cap: None,
            oversized: false,
        }
    }

    /// Takes the next bytes; gives each line that they finish to `sink`.
    pub fn push(&mut self, chunk: &[u8], sink: &mut impl FnMut(Line<'_>)) {
        let mut from = 0;
        for at in memchr::memchr_iter(b'\n', chunk) {
            self.close(chunk.get(from..at).unwrap_or_default(), sink);
            from = at + 1;
        }
        self.hold(chunk.get(from..).unwrap_or_default());
    }

    /// No more bytes will come: gives what stands after the last line end, if it is more than the
    /// terminal reset that Claude Code (93 bytes of escapes) writes to a terminal when it exits.
    pub fn finish(mut self, sink: &mut impl FnMut(Line<'_>)) {
        let loss = self.settle();
        let tail = without_sequences(&self.buffer);
        let tail = ansi::strip_lead(tail.strip_suffix(b"\r").unwrap_or(&tail));
        if !tail.is_empty() {
            sink(Line {
                start: self.start,
                end: self.next,
                bytes: tail,
                loss,
            });
        }
    }

    /// The current line ends with `rest`.
    fn close(&mut self, rest: &[u8], sink: &mut impl FnMut(Line<'_>)) {
        let whole = self.start == self.next && rest.len() <= self.limits.string;
        let (bytes, loss) = if whole {
            self.next = self.next.advanced(rest.len() as u64);
            (rest, Loss::None)
        } else {
            self.hold(rest);
            let loss = self.settle();
            (self.buffer.as_slice(), loss)
        };
        let end = self.next.advanced(1);
        sink(Line {
            start: self.start,
            end,
            bytes: ansi::strip_lead(bytes.strip_suffix(b"\r").unwrap_or(bytes)),
            loss,
        });
        self.start = end;
        self.next = end;
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_CAPACITY);
        self.oversized = false;
    }

    /// Adds bytes without a line end to the current line.
    fn hold(&mut self, bytes: &[u8]) {
        self.next = self.next.advanced(bytes.len() as u64);
        if self.oversized {
            return;
        }
        match &mut self.cap {
            Some(cap) => cap.feed(bytes, &mut self.buffer),
            None if self.buffer.len() + bytes.len() <= self.limits.string => {
                self.buffer.extend_from_slice(bytes);
            }
            None => {
                let mut cap = StringCap::new(self.limits.string);
                let before = std::mem::take(&mut self.buffer);
                cap.feed(&before, &mut self.buffer);
                drop(before);
                cap.feed(bytes, &mut self.buffer);
                self.cap = Some(cap);
            }
        }
        self.bound();
    }

    /// Gives up a line that is too long even with its strings cut.
    fn bound(&mut self) {
        if self.buffer.len() > self.limits.line {
            self.oversized = true;
            // the last bytes may be part of a character that its string's cut takes back yet
            let settled = self.limits.line.saturating_sub(char::MAX_LEN_UTF8);
            self.buffer.truncate(HEAD.min(settled));
            self.buffer.shrink_to(KEPT_CAPACITY);
        }
    }

    /// The line has ended: what was lost of it.
    fn settle(&mut self) -> Loss {
        let cut = self.cap.take().map_or(0, |mut cap| {
            if !self.oversized {
                cap.finish(&mut self.buffer);
            }
            cap.cut()
        });
        self.bound();
        match (self.oversized, cut) {
            (true, _) => Loss::Oversized,
            (false, 0) => Loss::None,
            (false, bytes) => Loss::Capped(bytes),
        }
    }
}

#[cfg(test)]
mod tests;
