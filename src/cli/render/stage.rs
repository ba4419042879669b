//! Where a command shows events whose work counts without an audience.

use std::io::{self, Write};
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::FileType;

use super::{Renderer, ended};
use crate::cli::printing::say;
use crate::config::Output;
use crate::event::{Envelope, Outcome};
use crate::journal::StoredBatch;

/// Events on stdout. What cannot be shown still counts: a turn has its outcome also where its
/// reader has gone (`| head`) or the disk is full.
pub(in crate::cli) struct Stage {
    renderer: Renderer,
    out: Patient,
}

impl Stage {
    /// Shows them as the settings ask for.
    pub(in crate::cli) fn new(output: Output) -> Self {
        Self {
            renderer: Renderer::new(output),
            out: Patient {
                is_over: leads_nowhere(io::stdout().as_fd()),
            },
        }
    }

    /// The same, for a reader who has not typed the prompts.
    pub(in crate::cli) fn with_prompts(self) -> Self {
        Self {
            renderer: self.renderer.with_prompts(),
            ..self
        }
    }

    /// Shows a batch, and hands each event that a person is shown to `seen`; how the last turn ended
    /// that ended in it.
    pub(in crate::cli) fn batch(
        &mut self,
        batch: &StoredBatch,
        mut seen: impl FnMut(&Envelope),
    ) -> Option<Outcome> {
        if self.out.is_over {
            return how_it_ended(batch);
        }
        let mut outcome = None;
        let note = |envelope: &_| {
            outcome = ended(envelope).or(outcome);
            seen(envelope);
        };
        // It takes everything.
        drop(self.renderer.show(batch, &mut self.out, note));
        outcome
    }

    /// Shows one event's line; how its turn ended, where it is an end.
    pub(in crate::cli) fn line(&mut self, line: &[u8]) -> Option<Outcome> {
        let envelope = self.renderer.line(line, &mut self.out).ok().flatten();
        drop(self.out.flush());
        envelope.as_ref().and_then(ended)
    }

    /// Whether people read it.
    pub(in crate::cli) const fn is_pretty(&self) -> bool {
        self.renderer.is_pretty()
    }
}

/// How the last turn ended that ended in these, where nobody is shown them.
fn how_it_ended(batch: &StoredBatch) -> Option<Outcome> {
    let ends = batch
        .lines()
        .filter(|line| Envelope::type_of(line) == Some(b"end"));
    let envelopes = ends.filter_map(|line| Envelope::parse(line).ok());
    envelopes.filter_map(|envelope| ended(&envelope)).last()
}

/// Whether it is `/dev/null`: a transcript that nobody can read need not be made.
fn leads_nowhere(output: BorrowedFd<'_>) -> bool {
    const NULL: (u32, u32) = (1, 3);
    rustix::fs::fstat(output).is_ok_and(|stat| {
        let device = (
            rustix::fs::major(stat.st_rdev),
            rustix::fs::minor(stat.st_rdev),
        );
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && device == NULL
    })
}

/// Stdout that takes everything, and no more of it is shown after the first failure: what was shown
/// has an end then, and no hole.
struct Patient {
    is_over: bool,
}

impl Patient {
    fn keep(&mut self, written: io::Result<()>) {
        let Err(error) = written else { return };
        self.is_over = true;
        if error.kind() != io::ErrorKind::BrokenPipe {
            say!("agent-runner: cannot write to stdout: {error}; no more events are shown there");
        }
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_over {
            let written = io::stdout().lock().write_all(bytes);
            self.keep(written);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.is_over {
            let flushed = io::stdout().lock().flush();
            self.keep(flushed);
        }
        Ok(())
    }
}
