//! Events for people and programs: a readable transcript, or the journal's own JSON lines.
//!
//! Whatever an agent prints is data: control bytes never reach the terminal as they are, so an
//! escape sequence in a file or a tool's output cannot move the cursor, set the clipboard or
//! change the title.

mod line;
mod transcript;

use std::io::{self, Write};

use crate::event::{Envelope, Event};
use crate::journal::StoredBatch;

pub(super) use transcript::Transcript;

/// How events are shown.
pub(super) enum Renderer {
    /// For people.
    Pretty(Transcript),
    /// One JSON object a line, as stored.
    JsonLines,
}

impl Renderer {
    /// Shows a batch; hands every event that a person is shown to `seen` as well, and the ends of
    /// turns in any case. What a program is given is not read: it is as it was stored.
    pub(super) fn show(
        &mut self,
        batch: &StoredBatch,
        out: &mut impl Write,
        mut seen: impl FnMut(&Envelope),
    ) -> io::Result<()> {
        for line in batch.lines() {
            if let Self::JsonLines = self {
                out.write_all(line)?;
                out.write_all(b"\n")?;
                if Envelope::type_of(line) != Some(b"end") {
                    continue;
                }
            }
            // Written by a newer version: people do not miss it.
            let Ok(envelope) = Envelope::parse(line) else {
                continue;
            };
            if let Self::Pretty(transcript) = self {
                transcript.show(&envelope.event, out)?;
            }
            seen(&envelope);
        }
        out.flush()
    }

    /// Whether people read it.
    pub(super) const fn is_pretty(&self) -> bool {
        matches!(self, Self::Pretty(_))
    }
}

/// The outcome of a turn, if this is its end.
pub(super) fn ended(envelope: &Envelope) -> Option<crate::event::Outcome> {
    match &envelope.event {
        Event::End { outcome, .. } => Some(*outcome),
        _ => None,
    }
}
