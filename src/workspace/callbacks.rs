//! What libgit2 asks while it talks to a server: whether to go on.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use git2::RemoteCallbacks;

use crate::clock::Clock;

use super::clone::Progress;

/// Why a callback ended the transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    No,
    Cancelled,
    TimedOut,
    TooLarge,
}

/// Watches one clone.
pub(super) struct Watch<'a> {
    pub(super) cancelled: &'a AtomicBool,
    pub(super) deadline: Instant,
    pub(super) clock: Clock,
    pub(super) stopped: Cell<Stopped>,
    /// The most bytes.
    pub(super) most: u64,
}

impl Watch<'_> {
    /// Whether to go on.
    pub(super) fn go_on(&self) -> bool {
        if self.cancelled.load(Ordering::Relaxed) {
            self.stopped.set(Stopped::Cancelled);
        } else if self.clock.now() >= self.deadline {
            self.stopped.set(Stopped::TimedOut);
        }
        self.stopped.get() == Stopped::No
    }

    /// Whether so many bytes are few enough.
    pub(super) fn has_room_for(&self, bytes: u64) -> bool {
        if bytes > self.most {
            self.stopped.set(Stopped::TooLarge);
        }
        self.stopped.get() == Stopped::No
    }

    /// Callbacks that report to `progress`.
    pub(super) fn callbacks<'c>(
        &'c self,
        progress: &'c mut dyn FnMut(Progress),
    ) -> RemoteCallbacks<'c> {
        let mut callbacks = RemoteCallbacks::new();
        callbacks.transfer_progress(move |stats| {
            progress(Progress::Receiving {
                objects: stats.received_objects(),
                total: stats.total_objects(),
                bytes: stats.received_bytes() as u64,
            });
            self.has_room_for(stats.received_bytes() as u64) && self.go_on()
        });
        callbacks.sideband_progress(|_| self.go_on());
        callbacks
    }
}
