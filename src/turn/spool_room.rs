//! The room that a run's spool has: its quota, and giving back what the journal has the events of.

use super::context::TurnContext;
use crate::event::{Event, NoticeLevel};
use crate::ids::SpoolOffset;
use crate::sandbox::RunControl;
use crate::spool::{Reclaimer, RunDir};

/// A run's room.
#[derive(Debug)]
pub(super) struct SpoolRoom {
    /// None where raw output is kept.
    reclaimer: Option<Reclaimer>,
    /// The place whose batch is being synced.
    due: Option<SpoolOffset>,
    /// The shim leaves output unread.
    held: bool,
    /// Whether that was said.
    told: bool,
}

impl SpoolRoom {
    pub(super) fn new(context: &TurnContext, dir: &RunDir) -> Self {
        let reclaims = !context.spool_retain && dir.spool().exists();
        let open = || Reclaimer::open(&dir.spool(), context.spool_quota).ok();
        Self {
            reclaimer: if reclaims { open() } else { None },
            due: None,
            held: false,
            told: false,
        }
    }

    /// The shim leaves output unread, or reads on.
    pub(super) fn held(&mut self, held: bool) {
        self.held = held;
        self.told &= held;
    }

    /// Whether the shim leaves output unread.
    pub(super) const fn is_held(&self) -> bool {
        self.held
    }

    /// Whether the batch up to `done` should be synced, so that what lies before can be given back.
    pub(super) fn is_due(&mut self, done: SpoolOffset) -> bool {
        let reclaimer = self.reclaimer.as_ref();
        let is_due = reclaimer.is_some_and(|reclaimer| reclaimer.is_due(done));
        self.due = is_due.then_some(done);
        is_due
    }

    /// Gives back what lies before `done`, if its batch was synced, and lets the run go on by as
    /// much. `done` is stored.
    pub(super) async fn reclaim(&mut self, done: SpoolOffset, control: Option<&RunControl>) {
        if self.due.take() != Some(done) {
            return;
        }
        let Some(reclaimer) = &mut self.reclaimer else {
            return;
        };
        let length = match reclaimer.reclaim(done) {
            Ok(length) => length,
            Err(error) => {
                // Then the quota holds for the whole of the run, and the agent is told.
                tracing::info!(%error, "the file system cannot give back a part of a file");
                self.reclaimer = None;
                return;
            }
        };
        if let Some(control) = control
            && let Err(error) = control.set_quota(length).await
        {
            // It may be over, and its last output still be read.
            tracing::debug!(%error, "the run cannot be told that its spool has room");
        }
    }

    /// What to say, once, when all that was read is stored and the output is held nevertheless.
    pub(super) fn stuck(&mut self) -> Option<Event> {
        if !self.held || std::mem::replace(&mut self.told, true) {
            return None;
        }
        let text = "the agent's output is held: its raw output has reached spool_quota, or the \
            disk is full. Where it is the quota, cancel the turn and raise it";
        Some(Event::Notice {
            level: NoticeLevel::Warning,
            code: "output_held".to_owned(),
            text: text.to_owned(),
        })
    }
}
