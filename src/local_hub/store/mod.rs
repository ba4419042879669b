//! The Hub's store: one SQLite file, one writing thread, one reading connection.
//!
//! Guarantees:
//! * A write is settled (its outcome told) only after its transaction has committed.
//! * Writes are applied and settled in the order in which they were queued. Whoever publishes
//!   from `settle` therefore publishes in store order.
//! * Events survive every death of this process (`synchronous=NORMAL`); what was promised to a
//!   caller by name (a session made, changed, a lead taken) also survives a power cut (`FULL`).
//!
//! There is no timer: the thread commits what is there, and while a commit runs the next burst
//! grows by itself, so a lone event waits for nothing and a flood costs few commits.

mod columns;
mod events;
mod library;
mod participants;
mod schema;
mod session_files;
mod sessions;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, oneshot};

pub(crate) use events::{
    EventPage, EventRow, Mark, Of, event_count, events, insert_event, marked_events, newest_event,
};
pub(crate) use library::{Kind, Record, delete_record, find_record, list_records, put_record};
pub(crate) use participants::{
    ParticipantRow, insert_participant, leave_participant, participant_count, participants,
};
pub(crate) use session_files::{
    FileResume, append_file_line, file_content, file_lines, file_resume, replace_file,
};
pub(crate) use sessions::{
    SessionRow, archive_session, delete_session, driver_known, find_session, insert_driver,
    insert_session, last_driver_is, list_sessions, mark_lead_seen, update_session,
};

use crate::files;

/// Writes waiting for the writing thread. When it is full, the sockets that feed it wait, and so
/// do the leads behind them. Their bytes are bounded by the sessions' own budget.
const QUEUE: usize = 1_024;

/// One change of the store.
pub(crate) trait Write: Send {
    /// Whether it must survive a power cut.
    fn is_promise(&self) -> bool {
        false
    }

    /// Makes the change inside the burst's transaction.
    fn apply(&mut self, db: &Connection) -> rusqlite::Result<()>;

    /// Hears the outcome, after the commit, on the writing thread: must not block.
    fn settle(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// Why the store could not do it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has it.
    #[error(
        "the Hub state in {0} is in use by another process; stop it or pass another --state-dir"
    )]
    InUse(PathBuf),
    /// The folder or file cannot be used.
    #[error("cannot use {path} for the Hub's state: {source}; pass a writable --state-dir")]
    Folder {
        /// What could not be used.
        path: PathBuf,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// SQLite refused.
    #[error("the Hub's store failed: {0}")]
    Database(Arc<rusqlite::Error>),
    /// Written by a newer version.
    #[error(
        "{path} has schema {found}, newer than this version's {known}; use the newer agent-runner or another --state-dir"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// What this version knows.
        known: i64,
    },
    /// The writing thread has ended.
    #[error("the Hub's store is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

/// The open store. Dropping it ends the writing thread once its queue is empty.
#[derive(Debug)]
pub(crate) struct Store {
    queue: Option<mpsc::Sender<Box<dyn Write>>>,
    thread: Option<JoinHandle<()>>,
    reader: Arc<Mutex<Connection>>,
    /// Held for as long as the store is open: one process a folder.
    _lock: File,
}

impl Store {
    /// Opens or creates `hub.db` in `dir`. Blocking: a few file operations.
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        let folder = |path: &Path, source: std::io::Error| StoreError::Folder {
            path: path.to_owned(),
            source: Arc::new(source),
        };
        files::create_private_dir(dir).map_err(|error| folder(dir, error))?;
        let lock_path = dir.join("hub.lock");
        let lock = files::append_private(&lock_path).map_err(|error| folder(&lock_path, error))?;
        let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        match rustix::fs::flock(&lock, exclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StoreError::InUse(dir.to_owned())),
            Err(error) => return Err(folder(&lock_path, error.into())),
        }
        let path = dir.join("hub.db");
        // SQLite would create it by the umask.
        drop(files::append_private(&path).map_err(|error| folder(&path, error))?);
        let writer = Connection::open(&path)?;
        schema::prepare(&writer, &path)?;
        let reader = Connection::open_with_flags(
            &path,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        let (queue, inbox) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("hub-store".into())
            .spawn(move || writer::run(&writer, inbox))
            .map_err(|error| folder(&path, error))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
            reader: Arc::new(Mutex::new(reader)),
            _lock: lock,
        })
    }

    /// Queues a write; waits while the queue is full.
    pub(crate) async fn push(&self, write: Box<dyn Write>) -> Result<(), StoreError> {
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        queue.send(write).await.map_err(|_| StoreError::Closed)
    }

    /// Makes a change that is promised to the caller; returns once it is on the disk.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.push(Box::new(Call {
            change: Some(change),
            result: None,
            reply,
        }))
        .await?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Reads, off the async threads. Sees everything that was settled before.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reader = Arc::clone(&self.reader);
        tokio::task::spawn_blocking(move || {
            let db = reader.lock().unwrap_or_else(PoisonError::into_inner);
            query(&db)
        })
        .await
        .map_err(|_| StoreError::Closed)?
        .map_err(StoreError::from)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the Hub's store thread panicked; its last burst was not acknowledged");
        }
    }
}

struct Call<F, T> {
    change: Option<F>,
    result: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Write for Call<F, T>
where
    T: Send,
    F: FnOnce(&Connection) -> rusqlite::Result<T> + Send,
{
    fn is_promise(&self) -> bool {
        true
    }

    fn apply(&mut self, db: &Connection) -> rusqlite::Result<()> {
        if let Some(change) = self.change.take() {
            self.result = Some(change(db)?);
        }
        Ok(())
    }

    fn settle(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { result, reply, .. } = *self;
        let answer = outcome.and_then(|()| result.ok_or(StoreError::Closed));
        // A caller who has gone away no longer wants to know.
        drop(reply.send(answer));
    }
}
