//! The durable record of every session: its events, its turns, its place at the Hub.
//!
//! ```text
//!   pump, driver ──Batch──► writer thread ──1 transaction──► SQLite (WAL)
//!                                │ after the commit                │
//!                                ▼                                 ▼
//!                          recent batches ──────► Tail ◄──── reader thread
//!                                            (Hub link, API, terminal)
//! ```
//!
//! Guarantees: an event is in a [`Tail`] only after its commit returned; `seq` counts from 1
//! without holes; a spool offset never advances without the events that its bytes gave; a batch
//! that carries a [`Change`] which is a promise to somebody (a prompt accepted, a turn begun or
//! ended) is on the disk, not only in the kernel, when `commit` returns.
//!
//! Deliberately not here: what events mean. The journal stores lines.

mod apply;
mod ballast;
mod change;
mod digest;
mod error;
mod failed;
mod lock;
mod open;
mod options;
mod overview;
mod own;
mod owner;
mod places;
mod prune;
mod room;
mod rows;
mod schema;
mod standing;
mod store;
mod tail;
mod writer;

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

pub use error::JournalError;
pub use lock::{StateLock, StateLockError};
pub use options::Options;
pub use overview::{TurnSpan, TurnSummary};
pub use owner::stranger;
pub use room::Room;
pub use rows::{Batch, Change, NewEvent, SessionRow, TurnRow, TurnState};
pub use tail::{StoredBatch, Tail};

use crate::ids::{RunId, Seq, SessionId, TurnId};
use crate::image::{Image, ImageNote};
use tail::Feeds;

/// Batches that may wait for the writer; each is at most about 256 KiB, so 32 MiB at worst. When
/// full, whoever commits waits, and so does the spool behind it.
const WRITER_QUEUE: usize = 128;
/// Reads that may wait for the reader thread; a reader waits when full.
const READER_QUEUE: usize = 64;

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// A handle to the journal; clones share it. It closes when the last one is dropped.
#[derive(Clone)]
pub struct Journal {
    writes: mpsc::Sender<writer::Commit>,
    reads: mpsc::Sender<Read>,
    feeds: Feeds,
    room: watch::Receiver<Room>,
    threads: TaskTracker,
}

/// A batch on its way to the disk.
#[derive(Debug)]
#[must_use = "a failed write is told only here"]
pub struct Committing(oneshot::Receiver<Result<Option<Seq>, JournalError>>);

impl Committing {
    /// Waits until the batch is stored; the last event's `seq` when there were events.
    pub async fn done(self) -> Result<Option<Seq>, JournalError> {
        self.0.await.map_err(|_| JournalError::Closed)?
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Journal")
    }
}

impl Journal {
    /// Opens or creates the journal at `path` and starts its two threads.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        Self::open_with(path, Options::default())
    }

    /// As [`Journal::open`], with other bounds.
    pub fn open_with(path: &Path, options: Options) -> Result<Self, JournalError> {
        let opened = open::open(path, &options)?;
        let read = store::open_reader(path)?;
        let feeds = Feeds::default();
        for (session, last) in &opened.last {
            feeds.of(session).begin_at(*last);
        }
        let (writes, commits) = mpsc::channel(WRITER_QUEUE);
        let (reads, requests) = mpsc::channel::<Read>(READER_QUEUE);
        let (told, room) = watch::channel(Room::Enough);
        let thread = writer::Writer::new(opened, options, feeds.clone(), told);
        let threads = TaskTracker::new();
        let (writing, reading) = (threads.token(), threads.token());
        spawn_thread("journal-writer", move || {
            thread.run(commits);
            drop(writing);
        })?;
        spawn_thread("journal-reader", move || {
            serve_reads(&read, requests);
            // Its files are closed before it counts as ended.
            drop(read);
            drop(reading);
        })?;
        Ok(Self {
            writes,
            reads,
            feeds,
            room,
            threads,
        })
    }

    /// The files of a journal at `path`, but for those that SQLite removes itself.
    pub fn files(path: &Path) -> [PathBuf; 3] {
        let beside = |extension| open::beside(path, extension);
        [path.to_owned(), beside("seq"), beside("ballast")]
    }

    /// How much room there is, and news of it. While there is none, commits wait and prompts are
    /// refused.
    pub fn room(&self) -> watch::Receiver<Room> {
        self.room.clone()
    }

    /// Stores the batch, whole or not at all. Returns the last event's `seq` when there were
    /// events. A batch that waits in the queue is committed together with its neighbours. While
    /// there is no room it waits, unless it accepts a prompt: that is refused.
    pub async fn commit(&self, batch: Batch) -> Result<Option<Seq>, JournalError> {
        self.submit(batch).await?.done().await
    }

    /// Gives the batch to the writer, behind all that was given before; returns as soon as it is
    /// in the queue. Whether it is stored, the answer tells.
    pub async fn submit(&self, batch: Batch) -> Result<Committing, JournalError> {
        let room = *self.room.borrow();
        if room.is_full() && batch.accepts_prompt() {
            return Err(JournalError::Full(room));
        }
        let (done, committed) = oneshot::channel();
        let commit = writer::Commit { batch, done };
        self.writes
            .send(commit)
            .await
            .map_err(|_| JournalError::Closed)?;
        Ok(Committing(committed))
    }

    /// Follows a session's events from just after `after` (0: from the first).
    pub fn tail(&self, session: &SessionId, after: u64) -> Tail {
        Tail::new(self.clone(), session.clone(), self.feeds.of(session), after)
    }

    /// The session's row.
    pub async fn session(&self, id: &SessionId) -> Result<Option<SessionRow>, JournalError> {
        let id = id.clone();
        self.read(move |connection| store::session(connection, &id))
            .await
    }

    /// Every session's row, the newest first.
    pub async fn sessions(&self) -> Result<Vec<SessionRow>, JournalError> {
        self.read(store::sessions).await
    }

    /// An image of a turn that is not over; none where what is kept is not that image.
    pub async fn image(
        &self,
        turn: TurnId,
        note: &ImageNote,
    ) -> Result<Option<Image>, JournalError> {
        let sha256 = note.sha256.clone();
        let kept = self.read(move |connection| store::image(connection, turn, &sha256));
        Ok(kept.await?.and_then(|data| Image::kept(note, data)))
    }

    /// The place of the session's last event; 0 before the first.
    #[allow(clippy::unused_async)] // as all that is asked of a journal
    pub async fn last_seq(&self, session: &SessionId) -> Result<u64, JournalError> {
        Ok(self.feeds.of(session).last())
    }

    /// The runs of all sessions whose raw output may still be needed: of turns that are open, or
    /// whose end the Hub has not acknowledged.
    pub async fn needed_runs(&self) -> Result<Vec<RunId>, JournalError> {
        self.read(store::needed_runs).await
    }

    /// All turns of a session, in order of acceptance.
    pub async fn turns(&self, session: &SessionId) -> Result<Vec<TurnRow>, JournalError> {
        let session = session.clone();
        self.read(move |connection| store::turns(connection, &session))
            .await
    }

    /// The turn that this id, or the command of this id, was accepted as.
    pub async fn accepted_turn(
        &self,
        session: &SessionId,
        turn: TurnId,
        command_id: Option<String>,
    ) -> Result<Option<TurnRow>, JournalError> {
        let session = session.clone();
        self.read(move |connection| {
            store::accepted_turn(connection, &session, turn, command_id.as_deref())
        })
        .await
    }

    /// The adapter's state that was stored for the newest of a session's turns that has one.
    pub async fn newest_adapter(
        &self,
        session: &SessionId,
    ) -> Result<Option<Vec<u8>>, JournalError> {
        let session = session.clone();
        self.read(move |connection| store::newest_adapter(connection, &session))
            .await
    }

    /// The first event of the turn that holds `seq`; `None` before the first turn.
    pub async fn turn_start(
        &self,
        session: &SessionId,
        seq: Seq,
    ) -> Result<Option<Seq>, JournalError> {
        let session = session.clone();
        self.read(move |connection| store::turn_start(connection, &session, seq))
            .await
    }

    /// Whether it has never held a session.
    pub async fn is_empty(&self) -> Result<bool, JournalError> {
        self.read(store::is_empty).await
    }

    /// Returns when the last handle is gone and the files are closed.
    pub async fn close(self) {
        let threads = self.threads.clone();
        drop(self);
        threads.close();
        threads.wait().await;
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (done, result) = oneshot::channel();
        let read: Read = Box::new(move |connection| {
            // Nobody waits any more: the answer has no use.
            drop(done.send(query(connection)));
        });
        self.reads
            .send(read)
            .await
            .map_err(|_| JournalError::Closed)?;
        result.await.map_err(|_| JournalError::Closed)?
    }
}

fn serve_reads(connection: &Connection, mut requests: mpsc::Receiver<Read>) {
    while let Some(read) = requests.blocking_recv() {
        read(connection);
    }
}

fn spawn_thread(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), JournalError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map(drop)
        .map_err(JournalError::file(name.as_ref()))
}

#[cfg(test)]
mod tests;
