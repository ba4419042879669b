//! Following a session's events, live or from the disk, without ever skipping or repeating one.
//!
//! A fresh batch is handed over from memory; whoever falls behind what memory keeps reads from
//! the disk until it has caught up. Memory therefore stays bounded however slow a reader is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::{Journal, JournalError, store};
use crate::ids::{Seq, SessionId};

/// Bytes of fresh batches kept per session for its readers; older ones are read from the disk.
const RECENT_BYTES: usize = 1 << 20;

/// What is kept of them once a turn is over: its end, for the readers that wait for it. An idle
/// session has no use for more.
const IDLE_BYTES: usize = 16 << 10;

/// Events `first..=last`, each on its own line (with newline), as they were committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBatch {
    /// The first event's place.
    pub first: Seq,
    /// The last event's place.
    pub last: Seq,
    /// The lines.
    pub body: Bytes,
}

impl StoredBatch {
    /// The lines, without their newlines.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
    }

    /// The part of the batch after `after`; `None` when that is nothing.
    fn after(&self, after: u64) -> Option<Self> {
        if after < self.first.get() {
            return Some(self.clone());
        }
        let first = Seq::new(after + 1).filter(|first| *first <= self.last)?;
        let skipped = usize::try_from(first.get() - self.first.get()).ok()?;
        let newline = memchr::memchr_iter(b'\n', &self.body).nth(skipped.checked_sub(1)?)?;
        Some(Self {
            first,
            last: self.last,
            body: self.body.slice(newline + 1..),
        })
    }
}

/// A session's fresh batches and the news of them.
#[derive(Debug)]
pub(super) struct Feed {
    recent: Mutex<Recent>,
    durable: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Recent {
    batches: VecDeque<StoredBatch>,
    bytes: usize,
}

impl Recent {
    fn shrink_to(&mut self, most: usize) {
        while self.bytes > most {
            let Some(old) = self.batches.pop_front() else {
                break;
            };
            self.bytes -= old.body.len();
        }
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            recent: Mutex::default(),
            durable: watch::Sender::new(0),
        }
    }
}

impl Feed {
    /// Tells the readers of a batch whose commit has returned.
    pub(super) fn publish(&self, batch: StoredBatch) {
        let last = batch.last.get();
        {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.bytes += batch.body.len();
            recent.batches.push_back(batch);
            recent.shrink_to(RECENT_BYTES);
        }
        self.durable.send_replace(last);
    }

    /// A turn is over: readers that are behind read from the disk.
    pub(super) fn settle(&self) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.shrink_to(IDLE_BYTES);
        recent.batches.shrink_to_fit();
    }

    fn after(&self, after: u64) -> Option<StoredBatch> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let index = recent
            .batches
            .partition_point(|batch| batch.last.get() <= after);
        let batch = recent.batches.get(index)?;
        // Only a batch that follows on directly: a hole means that memory has dropped its part.
        (batch.first.get() <= after + 1)
            .then(|| batch.after(after))
            .flatten()
    }
}

/// A reader's place in a session.
#[derive(Debug)]
pub struct Tail {
    journal: Journal,
    session: SessionId,
    feed: Arc<Feed>,
    durable: watch::Receiver<u64>,
    after: u64,
    /// Whether the disk holds nothing more of what earlier processes stored.
    caught_up: bool,
}

impl Tail {
    pub(super) fn new(journal: Journal, session: SessionId, feed: Arc<Feed>, after: u64) -> Self {
        let durable = feed.durable.subscribe();
        Self {
            journal,
            session,
            feed,
            durable,
            after,
            caught_up: false,
        }
    }

    /// The last event handed out.
    pub const fn position(&self) -> u64 {
        self.after
    }

    /// The next events; waits until there are some. Cancel-safe: a dropped call loses nothing.
    pub async fn next(&mut self) -> Result<StoredBatch, JournalError> {
        loop {
            if let Some(batch) = self.try_next().await? {
                return Ok(batch);
            }
            self.durable
                .changed()
                .await
                .map_err(|_| JournalError::Closed)?;
        }
    }

    /// The next events that are committed already, if any.
    pub async fn try_next(&mut self) -> Result<Option<StoredBatch>, JournalError> {
        let durable = *self.durable.borrow_and_update();
        let fresh = self.feed.after(self.after);
        let batch = match fresh {
            Some(batch) => Some(batch),
            None if durable > self.after || !self.caught_up => self.read_disk().await?,
            None => None,
        };
        if let Some(batch) = &batch {
            self.after = batch.last.get();
        }
        Ok(batch)
    }

    async fn read_disk(&mut self) -> Result<Option<StoredBatch>, JournalError> {
        let (session, after) = (self.session.clone(), self.after);
        let row = self
            .journal
            .read(move |connection| store::batch_at(connection, &session, after + 1))
            .await?;
        let Some((first, last, body)) = row else {
            self.caught_up = true;
            return Ok(None);
        };
        let (Some(first), Some(last)) = (Seq::new(first), Seq::new(last)) else {
            return Err(JournalError::Corrupt(
                "a batch of events without a seq".to_owned(),
            ));
        };
        Ok(StoredBatch {
            first,
            last,
            body: body.into(),
        }
        .after(after))
    }
}
