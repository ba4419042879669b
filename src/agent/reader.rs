//! From a CLI's bytes to its events: framing, masking, adapting, in this order.
//!
//! The live path and `replay` are both this. The result depends on the bytes alone, never on how
//! they were chunked. Events come out with the span of the line that gave them; a new reader may
//! start at the end of any line, from the snapshot taken there.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::hold::Hold;
use super::{Adapter, AgentKind, Evidence, Ignored, RestoreError};
use crate::event::{Event, RawStream};
use crate::exit::Exit;
use crate::frame::{FrameLimits, Line, LineFramer, Loss};
use crate::ids::SpoolOffset;
use crate::redact::{Cut, Redactor};

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
    hold: Hold,
    scratch: Vec<u8>,
    /// As the adapter made them, and as they go on.
    made: Vec<Event>,
    events: Vec<Event>,
}

/// The reader's state at the end of a line.
#[derive(Serialize)]
struct Snapshot<'a> {
    adapter: &'a RawValue,
    hold: &'a Hold,
}

#[derive(Deserialize)]
struct Restored<'a> {
    #[serde(borrow)]
    adapter: &'a RawValue,
    hold: Hold,
}

impl std::fmt::Debug for OutputReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutputReader").finish_non_exhaustive()
    }
}

impl OutputReader {
    /// Reads a process's output from its first byte on.
    pub fn new(kind: &AgentKind, redactor: Arc<Redactor>) -> Self {
        Self::with(
            (kind.adapter)(),
            Hold::default(),
            redactor,
            SpoolOffset::START,
        )
    }

    /// Reads a process's output from its first byte on; `earlier` is the last snapshot of the
    /// process before it in the same conversation. One that is not understood is as none.
    pub fn following(kind: &AgentKind, redactor: Arc<Redactor>, earlier: &[u8]) -> Self {
        let mut reader = Self::new(kind, redactor);
        if let Ok(state) = serde_json::from_slice::<Restored<'_>>(earlier) {
            reader.parser.adapter.follow(state.adapter.get().as_bytes());
        }
        reader
    }

    /// Reads on from `at`, the end of the line after which `snapshot` was taken.
    pub fn restore(
        kind: &AgentKind,
        redactor: Arc<Redactor>,
        snapshot: &[u8],
        at: SpoolOffset,
    ) -> Result<Self, RestoreError> {
        let state: Restored<'_> = serde_json::from_slice(snapshot)?;
        let adapter = (kind.restore)(state.adapter.get().as_bytes())?;
        Ok(Self::with(adapter, state.hold, redactor, at))
    }

    /// Reads on from `at`, a line's start, without knowing what came before: what was open there
    /// is not known to be.
    pub fn resync(kind: &AgentKind, redactor: Arc<Redactor>, at: SpoolOffset) -> Self {
        Self::with((kind.adapter)(), Hold::default(), redactor, at)
    }

    fn with(
        adapter: Box<dyn Adapter>,
        hold: Hold,
        redactor: Arc<Redactor>,
        at: SpoolOffset,
    ) -> Self {
        Self {
            framer: LineFramer::new(FrameLimits::default(), at),
            parser: Parser {
                redactor,
                adapter,
                hold,
                scratch: Vec::new(),
                made: Vec::new(),
                events: Vec::new(),
            },
        }
    }

    /// The state after the last line that was given out, to go on from its end.
    pub fn snapshot(&self) -> Vec<u8> {
        let adapter = self.parser.adapter.snapshot();
        let snapshot = serde_json::from_slice(&adapter).and_then(|adapter| {
            serde_json::to_vec(&Snapshot {
                adapter,
                hold: &self.parser.hold,
            })
        });
        // an adapter's snapshot is JSON: this cannot fail
        snapshot.unwrap_or_default()
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
        parser.hold.release(out);
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
        let bytes = self
            .redactor
            .line(line.bytes, cut(line.loss), &mut self.scratch);
        let line = Line { bytes, ..*line };
        self.events.clear();
        let ignored = if self.redactor.is_none() {
            self.adapter.line(&line, &mut self.events)
        } else {
            let ignored = self.adapter.line(&line, &mut self.made);
            for event in self.made.drain(..) {
                self.hold.pass(&self.redactor, event, &mut self.events);
            }
            ignored
        };
        sink(Read {
            line,
            ignored,
            events: &mut self.events,
        });
    }
}

/// Where masking has to look for secrets that a cut has left the beginning of.
pub(super) fn cut(loss: Loss) -> Cut {
    match loss {
        Loss::None => Cut::Nowhere,
        Loss::Capped(_) => Cut::Marked,
        Loss::Oversized => Cut::AtEnd,
    }
}

/// The last `limit` bytes of `text`, from a character's start on.
fn tail(text: &str, limit: usize) -> &str {
    let from = text.len().saturating_sub(limit);
    (from..text.len())
        .find_map(|at| text.get(at..))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
