//! An attempt's batches on their way to the journal, in their order.
//!
//! One is being stored, which takes as long as the journal has no room; the next is made meanwhile.
//! With both there, nothing more of the attempt is read.

use futures_util::future::BoxFuture;

use super::spool_room::SpoolRoom;
use crate::ids::SpoolOffset;
use crate::journal::{Batch, Journal, JournalError};

/// How far a run's files were read when a batch was made of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reached {
    /// The output.
    pub(super) output: SpoolOffset,
    /// The record of the input, which only live processes have.
    pub(super) input: SpoolOffset,
}

/// Stores one batch. Each form of a turn has its own, for the sake of its crash points.
pub(super) type Commit = fn(Journal, Batch) -> BoxFuture<'static, Result<(), JournalError>>;

/// Batches on their way.
pub(super) struct Storing {
    journal: Journal,
    commit: Commit,
    under_way: Option<BoxFuture<'static, Result<Reached, JournalError>>>,
    next: Option<(Batch, Reached)>,
}

impl Storing {
    pub(super) const fn new(journal: Journal, commit: Commit) -> Self {
        Self {
            journal,
            commit,
            under_way: None,
            next: None,
        }
    }

    /// Whether nothing more may be read for now.
    pub(super) const fn is_full(&self) -> bool {
        self.next.is_some()
    }

    /// Takes the next batch; only while this is not full.
    pub(super) fn put(&mut self, batch: Batch, reached: Reached) {
        debug_assert!(!self.is_full(), "a batch would be lost");
        self.next = Some((batch, reached));
    }

    /// Sends the next batch on its way, once the one before it is stored.
    pub(super) fn send(&mut self, room: &mut SpoolRoom) {
        if self.under_way.is_some() {
            return;
        }
        if let Some((mut batch, reached)) = self.next.take() {
            batch.synced = room.is_due(reached.output);
            let storing = (self.commit)(self.journal.clone(), batch);
            self.under_way = Some(Box::pin(async move {
                storing.await?;
                Ok(reached)
            }));
        }
    }

    /// Whether all batches so far are stored.
    pub(super) const fn is_settled(&self) -> bool {
        self.under_way.is_none() && self.next.is_none()
    }

    /// Waits until all batches so far are stored.
    pub(super) async fn settle(&mut self, room: &mut SpoolRoom) -> Result<(), JournalError> {
        while !self.is_settled() {
            self.send(room);
            self.stored().await?;
        }
        Ok(())
    }

    /// The end of what is being stored; never, while nothing is. Nothing is lost where this is
    /// dropped before it is done.
    pub(super) async fn stored(&mut self) -> Result<Reached, JournalError> {
        let result = match &mut self.under_way {
            Some(storing) => storing.await,
            None => std::future::pending().await,
        };
        self.under_way = None;
        result
    }
}
