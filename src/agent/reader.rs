//! From a CLI's bytes to its events: framing, masking, adapting, in this order.
//!
//! The live path and `replay` are both this. The result depends on the bytes alone, never on how
//! they were chunked. Events come out with the span of the line that gave them; a new reader may
//! start at the end of any line, from the snapshot taken there.

use std::sync::Arc;

use super::{Adapter, Evidence, Exit, Ignored};
use crate::event::{Event, RawStream};
use crate::frame::{FrameLimits, Line, LineFramer};
use crate::ids::SpoolOffset;
use crate::redact::Redactor;

/// How much of stderr's end becomes an event.
const STDERR_TAIL: usize = 8 * 1024;

/// What one line came to.
#[derive(Debug)]
pub struct Read<'a> {
    /// The line, masked.
    pub line: Line<'a>,
    /// Why it gave no event, if it gave none.
    pub ignored: Ignored,
    /// Its events; what is left in here is dropped.
    pub events: &'a mut Vec<Event>,
}

/// Reads one process's output.
pub struct OutputReader {
    framer: LineFramer,
    parser: Parser,
}

struct Parser {
    redactor: Arc<Redactor>,
    adapter: Box<dyn Adapter>,
    scratch: Vec<u8>,
    events: Vec<Event>,
}

impl std::fmt::Debug for OutputReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutputReader").finish_non_exhaustive()
    }
}

impl OutputReader {
    /// Reads on from `at`, a line's start, in the state that `adapter` is in.
    pub fn new(adapter: Box<dyn Adapter>, redactor: Arc<Redactor>, at: SpoolOffset) -> Self {
        Self {
            framer: LineFramer::new(FrameLimits::default(), at),
            parser: Parser {
                redactor,
                adapter,
                scratch: Vec::new(),
                events: Vec::new(),
            },
        }
    }

    /// Takes the next bytes of stdout; gives every line that they finish to `sink`.
    pub fn push(&mut self, chunk: &[u8], sink: &mut impl FnMut(Read<'_>)) {
        let parser = &mut self.parser;
        self.framer
            .push(chunk, &mut |line| parser.line(&line, sink));
    }

    /// The process is gone: gives the unterminated tail to `sink` and the last events to `out`.
    /// `stderr` is its tail; what it says becomes an event, since users look for it.
    pub fn finish(
        self,
        exit: Option<Exit>,
        stderr: &[u8],
        sink: &mut impl FnMut(Read<'_>),
        out: &mut Vec<Event>,
    ) -> Evidence {
        let mut parser = self.parser;
        self.framer.finish(&mut |line| parser.line(&line, sink));
        let stderr = parser.redactor.text(stderr);
        let text = String::from_utf8_lossy(&stderr);
        let text = tail(text.trim_end(), STDERR_TAIL);
        if !text.is_empty() {
            out.push(Event::Raw {
                stream: RawStream::Stderr,
                text: text.to_owned(),
                count: None,
                span: None,
            });
        }
        parser.adapter.end(exit, &stderr, out)
    }

    /// The adapter, for what it knows so far.
    pub fn adapter(&self) -> &dyn Adapter {
        &*self.parser.adapter
    }
}

impl Parser {
    fn line(&mut self, line: &Line<'_>, sink: &mut impl FnMut(Read<'_>)) {
        let bytes = self.redactor.line(line.bytes, line.loss, &mut self.scratch);
        let line = Line { bytes, ..*line };
        self.events.clear();
        let ignored = self.adapter.line(&line, &mut self.events);
        sink(Read {
            line,
            ignored,
            events: &mut self.events,
        });
    }
}

/// The last `limit` bytes of `text`, from a character's start on.
fn tail(text: &str, limit: usize) -> &str {
    let from = text.len().saturating_sub(limit);
    (from..text.len())
        .find_map(|at| text.get(at..))
        .unwrap_or_default()
}
