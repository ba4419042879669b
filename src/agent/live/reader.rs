//! From a live CLI's bytes, and the frames sent to it, to what they tell: framing, masking, the
//! dialog, in this order.
//!
//! A frame has a place: how long the output was when it was sent. It counts before every line that
//! was not whole by then, however the bytes are chunked. For a talk that is read while it happens
//! this holds when nothing is read between handing a frame over and learning its place.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Dialog, LiveKind, LiveSpec, Told};
use crate::agent::hold::Hold;
use crate::agent::reader::cut;
use crate::agent::{Evidence, Ignored, RestoreError};
use crate::event::Event;
use crate::exit::Exit;
use crate::frame::{FrameLimits, Line, LineFramer};
use crate::ids::SpoolOffset;
use crate::redact::Redactor;

/// What one line or one frame came to.
#[derive(Debug)]
pub struct Heard<'a> {
    /// The line, masked; none for a frame.
    pub line: Option<Line<'a>>,
    /// Why a line gave nothing, if it gave nothing.
    pub ignored: Ignored,
    /// What it tells; what is left in here is dropped.
    pub told: &'a mut Vec<Told>,
}

/// Reads one process's output and the frames that were sent to it.
pub struct LiveReader {
    framer: LineFramer,
    /// How much output was read, whole lines or not.
    read: SpoolOffset,
    talk: Talk,
}

struct Talk {
    dialog: Box<dyn Dialog>,
    redactor: Arc<Redactor>,
    hold: Hold,
    /// Frames whose place was not come to yet.
    waiting: VecDeque<(SpoolOffset, Vec<u8>)>,
    /// How many frames the dialog has taken.
    taken: u64,
    scratch: Vec<u8>,
    made: Vec<Told>,
    told: Vec<Told>,
    events: Vec<Event>,
}

#[derive(Serialize)]
struct Snapshot<'a> {
    dialog: &'a RawValue,
    hold: &'a Hold,
    frames: u64,
}

#[derive(Deserialize)]
struct Restored<'a> {
    #[serde(borrow)]
    dialog: &'a RawValue,
    hold: Hold,
    frames: u64,
}

impl std::fmt::Debug for LiveReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveReader").finish_non_exhaustive()
    }
}

impl LiveReader {
    /// Reads a process's talk from its start on.
    pub fn new(kind: &LiveKind, spec: &LiveSpec, redactor: Arc<Redactor>) -> Self {
        let dialog = (kind.open)(spec);
        Self::with(dialog, Hold::default(), 0, redactor, SpoolOffset::START)
    }

    /// Reads on from `at`, the end of the line after which `snapshot` was taken. The frames of the
    /// input's log from [`LiveReader::frames`] on are still to be given to it.
    pub fn restore(
        kind: &LiveKind,
        redactor: Arc<Redactor>,
        snapshot: &[u8],
        at: SpoolOffset,
    ) -> Result<Self, RestoreError> {
        let state: Restored<'_> = serde_json::from_slice(snapshot)?;
        let dialog = (kind.restore)(state.dialog.get().as_bytes())?;
        Ok(Self::with(dialog, state.hold, state.frames, redactor, at))
    }

    fn with(
        dialog: Box<dyn Dialog>,
        hold: Hold,
        taken: u64,
        redactor: Arc<Redactor>,
        at: SpoolOffset,
    ) -> Self {
        Self {
            framer: LineFramer::new(FrameLimits::default(), at),
            read: at,
            talk: Talk {
                dialog,
                redactor,
                hold,
                waiting: VecDeque::new(),
                taken,
                scratch: Vec::new(),
                made: Vec::new(),
                told: Vec::new(),
                events: Vec::new(),
            },
        }
    }

    /// The state after the last line or frame that was given out.
    pub fn snapshot(&self) -> Vec<u8> {
        let dialog = self.talk.dialog.snapshot();
        let snapshot = serde_json::from_slice(&dialog).and_then(|dialog| {
            serde_json::to_vec(&Snapshot {
                dialog,
                hold: &self.talk.hold,
                frames: self.talk.taken,
            })
        });
        // a dialog's snapshot is JSON: this cannot fail
        snapshot.unwrap_or_default()
    }

    /// How many frames, from the first of the process on, the state holds.
    pub fn frames(&self) -> u64 {
        self.talk.taken
    }

    /// Takes the next bytes of stdout.
    pub fn push(&mut self, chunk: &[u8], sink: &mut impl FnMut(Heard<'_>)) {
        let talk = &mut self.talk;
        self.framer.push(chunk, &mut |line| talk.line(&line, sink));
        self.read = self.read.advanced(chunk.len() as u64);
        talk.send_until(self.read, sink);
    }

    /// Takes the next frame; `at` is how long the output was when it was sent.
    pub fn sent(&mut self, at: SpoolOffset, frame: Vec<u8>, sink: &mut impl FnMut(Heard<'_>)) {
        self.talk.waiting.push_back((at, frame));
        self.talk.send_until(self.read, sink);
    }

    /// The process is gone: gives the unterminated tail to `sink` and the last that is told to
    /// `out`. How the running turn went, if one was running.
    pub fn finish(
        self,
        exit: Option<Exit>,
        stderr: &[u8],
        sink: &mut impl FnMut(Heard<'_>),
        out: &mut Vec<Told>,
    ) -> Option<Evidence> {
        let mut talk = self.talk;
        self.framer.finish(&mut |line| talk.line(&line, sink));
        // the end of the output is the end of all places in it
        while let Some((_, frame)) = talk.waiting.pop_front() {
            talk.frame(&frame, sink);
        }
        talk.release(out);
        let stderr = talk.redactor.text(stderr);
        talk.dialog.end(exit, &stderr, out)
    }

    /// The dialog, for what it knows so far and for the frames that it wants sent.
    pub fn dialog(&self) -> &dyn Dialog {
        &*self.talk.dialog
    }
}

impl Talk {
    fn line(&mut self, line: &Line<'_>, sink: &mut impl FnMut(Heard<'_>)) {
        while let Some((_, frame)) = self.waiting.pop_front_if(|(at, _)| *at < line.end) {
            self.frame(&frame, sink);
        }
        let cut = cut(line.loss);
        let bytes = self.redactor.line(line.bytes, cut, &mut self.scratch);
        let line = Line { bytes, ..*line };
        let ignored = self.dialog.received(&line, &mut self.made);
        pass(
            &self.redactor,
            &mut self.hold,
            &mut self.made,
            &mut self.events,
            &mut self.told,
        );
        sink(Heard {
            line: Some(line),
            ignored,
            told: &mut self.told,
        });
        self.told.clear();
    }

    fn send_until(&mut self, read: SpoolOffset, sink: &mut impl FnMut(Heard<'_>)) {
        while let Some((_, frame)) = self.waiting.pop_front_if(|(at, _)| *at <= read) {
            self.frame(&frame, sink);
        }
    }

    fn frame(&mut self, frame: &[u8], sink: &mut impl FnMut(Heard<'_>)) {
        self.taken += 1;
        self.dialog.sent(frame, &mut self.made);
        pass(
            &self.redactor,
            &mut self.hold,
            &mut self.made,
            &mut self.events,
            &mut self.told,
        );
        sink(Heard {
            line: None,
            ignored: Ignored::No,
            told: &mut self.told,
        });
        self.told.clear();
    }

    fn release(&mut self, out: &mut Vec<Told>) {
        self.hold.release(&mut self.events);
        super::tell(&mut self.events, out);
    }
}

/// Masks what was streamed in pieces. What ends a turn lets go of all that was held back.
fn pass(
    redactor: &Redactor,
    hold: &mut Hold,
    made: &mut Vec<Told>,
    events: &mut Vec<Event>,
    told: &mut Vec<Told>,
) {
    if redactor.is_none() {
        told.append(made);
        return;
    }
    for next in made.drain(..) {
        match next {
            Told::Event(event) => {
                hold.pass(redactor, event, events);
                super::tell(events, told);
            }
            other => {
                if matches!(other, Told::TurnOver { .. }) {
                    hold.release(events);
                    super::tell(events, told);
                }
                told.push(other);
            }
        }
    }
}
