//! Following a session's events, live or from the disk, without ever skipping or repeating one.
//!
//! A fresh batch is handed over from memory; whoever falls behind what memory keeps reads from
//! the disk until it has caught up. Memory therefore stays bounded however slow a reader is.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use rusqlite::Connection;

use super::own::{self, Hole, Why};
use super::{Journal, JournalError, store};
use crate::clock::Clock;
use crate::ids::{Seq, SessionId};

/// Bytes of fresh batches kept per session for its readers; older ones are read from the disk.
const RECENT_BYTES: usize = 1 << 20;

/// Bytes of them for all sessions together, about; beyond that each keeps [`CROWDED_BYTES`].
const ALL_BYTES: usize = 8 << 20;
/// With many busy sessions: the batch that readers wait for, and a small one before it.
const CROWDED_BYTES: usize = 128 << 10;

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
        let newline = memchr::memchr_iter(b'\n', &self.body).nth(skipped.checked_sub(1)?);
        let rest = newline.map(|newline| self.body.slice(newline + 1..));
        Some(Self {
            first,
            last: self.last,
            // A gap is one line for many places, and stands in the last of them.
            body: rest
                .filter(|rest| !rest.is_empty())
                .unwrap_or_else(|| self.body.clone()),
        })
    }
}

/// All sessions' feeds.
#[derive(Debug, Clone, Default)]
pub(super) struct Feeds {
    by_session: Arc<Mutex<HashMap<SessionId, Arc<Feed>>>>,
    kept: Kept,
}

impl Feeds {
    /// A session's.
    pub(super) fn of(&self, session: &SessionId) -> Arc<Feed> {
        let mut feeds = self
            .by_session
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let feed = feeds
            .entry(session.clone())
            .or_insert_with(|| Arc::new(Feed::new(self.kept.clone())));
        Arc::clone(feed)
    }

    /// The session is gone.
    pub(super) fn forget(&self, session: &SessionId) {
        let mut feeds = self
            .by_session
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        feeds.remove(session);
    }
}

/// Bytes of fresh batches that all feeds keep together.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<AtomicUsize>);

impl Kept {
    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn subtract(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn is_much(&self) -> bool {
        self.0.load(Ordering::Relaxed) > ALL_BYTES
    }
}

/// A session's fresh batches and the news of them.
#[derive(Debug)]
pub(super) struct Feed {
    recent: Mutex<Recent>,
    durable: watch::Sender<u64>,
}

#[derive(Debug)]
struct Recent {
    batches: VecDeque<StoredBatch>,
    bytes: usize,
    kept: Kept,
}

impl Recent {
    fn push(&mut self, batch: StoredBatch) {
        self.bytes += batch.body.len();
        self.kept.add(batch.body.len());
        self.batches.push_back(batch);
        self.shrink_to(RECENT_BYTES);
        // The last one stays: readers that keep up should not have to read it from the disk.
        while self.bytes > CROWDED_BYTES && self.batches.len() > 1 && self.kept.is_much() {
            self.drop_oldest();
        }
    }

    fn shrink_to(&mut self, most: usize) {
        while self.bytes > most && self.drop_oldest() {}
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(old) = self.batches.pop_front() else {
            return false;
        };
        self.bytes -= old.body.len();
        self.kept.subtract(old.body.len());
        true
    }
}

impl Drop for Recent {
    fn drop(&mut self) {
        self.kept.subtract(self.bytes);
    }
}

impl Feed {
    fn new(kept: Kept) -> Self {
        let recent = Recent {
            batches: VecDeque::new(),
            bytes: 0,
            kept,
        };
        Self {
            recent: Mutex::new(recent),
            durable: watch::Sender::new(0),
        }
    }

    /// Tells the readers of a batch whose commit has returned.
    pub(super) fn publish(&self, batch: StoredBatch) {
        let last = batch.last.get();
        {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.push(batch);
        }
        self.durable.send_replace(last);
    }

    /// Earlier processes stored events up to `last`.
    pub(super) fn begin_at(&self, last: u64) {
        self.durable.send_replace(last);
    }

    /// The last event's place.
    pub(super) fn last(&self) -> u64 {
        *self.durable.borrow()
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
            None if durable > self.after => self.read_disk(durable).await?,
            None => None,
        };
        if let Some(batch) = &batch {
            self.after = batch.last.get();
        }
        Ok(batch)
    }

    async fn read_disk(&self, last: u64) -> Result<Option<StoredBatch>, JournalError> {
        let (session, after) = (self.session.clone(), self.after);
        let read = move |connection: &Connection| stored(connection, &session, after, last);
        let batch = self.journal.read(read).await?;
        Ok(batch.after(after))
    }
}

/// What the disk has after `after`, in a session whose last event is `last`: a batch, or a gap up
/// to the next one that is as it was stored.
fn stored(
    connection: &Connection,
    session: &SessionId,
    after: u64,
    last: u64,
) -> Result<StoredBatch, JournalError> {
    let found = match store::whole_batch(connection, session, after + 1) {
        Err(error) if error.is_corruption() => beyond_damage(connection, session, after, last)?,
        found => found?,
    };
    let hole = match found {
        Some(whole) if whole.first <= after + 1 => {
            return batch(whole.first, whole.last, whole.body);
        }
        Some(whole) => whole.first - 1,
        None => last,
    };
    let row = store::pruned(connection, session).ok().flatten();
    let (agent, pruned) = row.unwrap_or_default();
    let hole = Hole {
        from: after + 1,
        to: hole,
        why: if hole <= pruned {
            Why::Retention
        } else {
            Why::Corrupt
        },
    };
    let line = own::line(session, &agent, hole.to, Clock.wall(), &hole.event())?;
    batch(hole.from, hole.to, line)
}

fn batch(first: u64, last: u64, body: Vec<u8>) -> Result<StoredBatch, JournalError> {
    let (Some(first), Some(last)) = (Seq::new(first), Seq::new(last)) else {
        let text = "a batch of events without a seq";
        return Err(JournalError::Corrupt(text.to_owned()));
    };
    let body = body.into();
    Ok(StoredBatch { first, last, body })
}

/// The first batch behind a page that cannot be read: steps that double find one, halves the first.
fn beyond_damage(
    connection: &Connection,
    session: &SessionId,
    after: u64,
    last: u64,
) -> Result<Option<store::Whole>, JournalError> {
    let (mut bad, mut step) = (after + 1, 1);
    let mut good = loop {
        let probe = bad + step;
        if probe > last {
            return Ok(None);
        }
        match store::whole_batch(connection, session, probe) {
            Ok(Some(whole)) => break (probe, whole),
            Ok(None) => return Ok(None),
            Err(error) if error.is_corruption() => {}
            Err(error) => return Err(error),
        }
        (bad, step) = (probe, step * 2);
    };
    while good.0 - bad > 1 {
        let probe = bad + (good.0 - bad) / 2;
        match store::whole_batch(connection, session, probe) {
            Ok(Some(whole)) => good = (probe, whole),
            Err(error) if !error.is_corruption() => return Err(error),
            _ => bad = probe,
        }
    }
    Ok(Some(good.1))
}
