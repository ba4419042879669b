//! Events for people and programs: a readable transcript, or the journal's own JSON lines.
//!
//! Whatever an agent prints is data: control bytes never reach the terminal as they are, so an
//! escape sequence in a file or a tool's output cannot move the cursor, set the clipboard or
//! change the title.

mod line;
mod stage;
mod transcript;

use std::io::{self, IsTerminal as _, Write};

use crate::config::Output;
use crate::event::{Envelope, Event};
use crate::journal::StoredBatch;

pub(super) use line::{duration, grouped, harmless, summary};
pub(super) use stage::Stage;
pub(super) use transcript::{Transcript, outcome_words, telling, usage_words};

/// How events are shown.
pub(super) enum Renderer {
    /// For people.
    Pretty(Transcript),
    /// One JSON object a line, as stored.
    JsonLines,
}

impl Renderer {
    /// The renderer that the settings ask for; colours only where a person looks at them.
    pub(super) fn new(output: Output) -> Self {
        match output {
            Output::Jsonl => Self::JsonLines,
            Output::Pretty => {
                let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                Self::Pretty(Transcript::new(io::stdout().is_terminal() && !plain))
            }
        }
    }

    /// The same, for a reader who has not typed the prompts.
    pub(super) fn with_prompts(self) -> Self {
        match self {
            Self::Pretty(transcript) => Self::Pretty(transcript.with_prompts()),
            Self::JsonLines => self,
        }
    }

    /// Shows a batch; hands every event that a person is shown to `seen` as well, and the ends of
    /// turns in any case. What a program is given is not read: it is as it was stored.
    pub(super) fn show(
        &mut self,
        batch: &StoredBatch,
        out: &mut impl Write,
        mut seen: impl FnMut(&Envelope),
    ) -> io::Result<()> {
        for line in batch.lines() {
            if let Some(envelope) = self.line(line, out)? {
                seen(&envelope);
            }
        }
        out.flush()
    }

    /// Shows one event's line, and gives what it says: of every event that a person is shown, and
    /// of the ends of turns in any case. What a newer version wrote, programs get as it is, and
    /// people do not miss.
    pub(super) fn line(
        &mut self,
        line: &[u8],
        out: &mut impl Write,
    ) -> io::Result<Option<Envelope>> {
        if let Self::JsonLines = self {
            out.write_all(line)?;
            out.write_all(b"\n")?;
            if Envelope::type_of(line) != Some(b"end") {
                return Ok(None);
            }
        }
        let envelope = Envelope::parse(line).ok();
        if let Self::Pretty(transcript) = self {
            match &envelope {
                Some(envelope) => transcript.show(&envelope.event, out)?,
                // A gap that a reader is told of has no place among the events.
                None => {
                    if let Ok(event) = serde_json::from_slice(line) {
                        transcript.show(&event, out)?;
                    }
                }
            }
        }
        Ok(envelope)
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
