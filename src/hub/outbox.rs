//! From the journal to frames: reads events in order and maps them, joining deltas.
//!
//! The journal is the only queue: nothing is kept here but what is on its way. After a lost
//! connection a new outbox starts again at the last acknowledged event, and maps its turn from the
//! turn's first event on so that the frames come out with the same ids as before.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::file::{Added, SessionFile};
use super::pi::{Class, Frame, Mapper};
use crate::event::Envelope;
use crate::ids::{Seq, SessionId};

/// The most of a session file that one frame writes, in bytes; the rest follows line by line.
const MAX_WRITE: usize = 96 * 1024;

/// Whatever a source failed with.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Events as they were stored together.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The first event's place.
    pub first: Seq,
    /// The last event's place.
    pub last: Seq,
    /// Enveloped event lines, separated by newlines.
    pub body: Bytes,
}

/// Durable events of sessions, and how far the Hub has them.
pub trait EventSource: Clone + Send + Sync + 'static {
    /// Follows one session.
    type Tail: EventTail;

    /// Up to where the Hub is known to have the session.
    fn acked(
        &self,
        session: &SessionId,
    ) -> impl Future<Output = Result<Option<Seq>, SourceError>> + Send;

    /// Keeps that the Hub has everything up to `seq`.
    fn set_acked(
        &self,
        session: &SessionId,
        seq: Seq,
    ) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// The first event of the turn that `seq` belongs to; `seq` itself when it belongs to none.
    fn turn_start(
        &self,
        session: &SessionId,
        seq: Seq,
    ) -> impl Future<Output = Result<Seq, SourceError>> + Send;

    /// Where the session's agent works.
    fn workspace(
        &self,
        session: &SessionId,
    ) -> impl Future<Output = Result<String, SourceError>> + Send;

    /// Follows the session from the event after `after`, or from its first.
    fn tail(&self, session: &SessionId, after: Option<Seq>) -> Self::Tail;
}

/// Follows a session's events as they become durable.
pub trait EventTail: Send + 'static {
    /// The next events; waits until there are any. A batch may begin before the place asked for.
    fn next(&mut self) -> impl Future<Output = Result<Batch, SourceError>> + Send;
}

/// What a connection has to send.
#[derive(Debug)]
pub(super) enum Outgoing {
    Frame(Frame),
    /// A frame that is never acknowledged, as it goes out.
    Told(String),
    /// Everything of the events up to here has been given.
    Mark(Seq),
}

/// What is known of earlier connections.
#[derive(Debug, Default)]
pub(super) struct Resume {
    /// The Hub has everything up to here.
    pub(super) acked: Option<Seq>,
    /// Frames beyond it that the Hub has, too.
    pub(super) arrived: HashMap<String, Seq>,
    /// Deltas up to here went out on an earlier connection: they are stale.
    pub(super) written: Option<Seq>,
}

/// The session file on a connection.
pub(super) struct Filing<'a> {
    pub(super) file: &'a mut SessionFile,
    /// How much of it the Hub needs first.
    pub(super) first: First,
}

/// What of the session file goes out before anything new.
#[derive(Debug, Default)]
pub(super) enum First {
    /// Nothing: the Hub has it.
    #[default]
    Nothing,
    /// These lines.
    Lines(Vec<String>),
    /// Lines that tell of events beyond the acknowledged one.
    Beyond,
    /// The whole file.
    Whole,
}

/// One connection's reader of the journal.
pub(super) struct Outbox<'a> {
    mapper: Mapper,
    file: Option<Filing<'a>>,
    workspace: String,
    resume: Resume,
    seq: Option<Seq>,
    marked: Option<Seq>,
    frames: Vec<Frame>,
    to: mpsc::Sender<Outgoing>,
}

impl<'a> Outbox<'a> {
    pub(super) fn new(
        resume: Resume,
        file: Option<Filing<'a>>,
        to: mpsc::Sender<Outgoing>,
    ) -> Self {
        Self {
            mapper: Mapper::new(),
            file,
            workspace: String::new(),
            seq: resume.acked,
            marked: resume.acked,
            resume,
            frames: Vec::new(),
            to,
        }
    }

    /// Runs until the source fails (or the receiver goes away: then it waits for its own end).
    pub(super) async fn run(
        mut self,
        source: &impl EventSource,
        session: &SessionId,
        join: Duration,
    ) -> Result<Infallible, SourceError> {
        self.begin_file().await?;
        let after = match self.resume.acked {
            Some(acked) => Seq::new(source.turn_start(session, acked).await?.get() - 1),
            None => None,
        };
        let mut reading = read(source.tail(session, after));
        let mut due: Option<Instant> = None;
        loop {
            let flush = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                (tail, batch) = &mut reading => {
                    reading = read(tail);
                    if self.file.is_some() && self.workspace.is_empty() {
                        self.workspace = source.workspace(session).await?;
                    }
                    self.take(&batch?.body).await;
                }
                () = flush => self.flush().await,
            }
            due = match due {
                _ if !self.mapper.has_pending() => None,
                None => Some(Instant::now() + join),
                due => due,
            };
        }
    }

    async fn take(&mut self, body: &[u8]) {
        for line in body.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            match Envelope::parse(line) {
                Ok(envelope) => self.map(&envelope).await,
                Err(error) => tracing::warn!(%error, "a journal line has no frame"),
            }
        }
        self.mark().await;
    }

    async fn map(&mut self, envelope: &Envelope) {
        let seq = envelope.header.seq;
        let known = self.resume.acked.is_some_and(|acked| seq <= acked);
        if !known && self.mapper.has_pending() && self.seq == self.resume.acked {
            // What was joined up to here is acknowledged: it must not go out with what follows.
            self.mapper.flush(&mut self.frames);
            self.frames.clear();
        }
        self.mapper.map(envelope, &mut self.frames);
        let added = match &mut self.file {
            Some(filing) => filing.file.record(envelope, &self.frames, &self.workspace),
            None => Added::default(),
        };
        if known {
            self.frames.clear();
        } else {
            self.seq = Some(seq);
        }
        if !self.frames.is_empty() || !added.lines.is_empty() {
            self.send().await;
            self.tell(added).await;
            self.mark().await;
        }
    }

    /// Brings the Hub's session file to where ours is.
    async fn begin_file(&mut self) -> Result<(), SourceError> {
        let Some(Filing { file, first }) = &self.file else {
            return Ok(());
        };
        let mut frames = Vec::new();
        let path = file.path();
        match first {
            First::Nothing => {}
            First::Lines(lines) => frames.extend(lines.iter().map(|line| entry(path, line))),
            First::Beyond => {
                file.each_beyond(self.resume.acked, |line| frames.push(entry(path, line)))?;
            }
            First::Whole if file.is_empty() => {}
            First::Whole => {
                let (mut start, mut rest) = (String::new(), Vec::new());
                file.each(|line| {
                    if rest.is_empty() && start.len() + line.len() < MAX_WRITE {
                        start.extend([line, "\n"]);
                    } else {
                        rest.push(entry(path, line));
                    }
                })?;
                frames.push(write(path, &start));
                frames.append(&mut rest);
            }
        }
        for frame in frames {
            self.give(Outgoing::Told(frame)).await;
        }
        Ok(())
    }

    async fn tell(&self, added: Added) {
        let Some(Filing { file, .. }) = &self.file else {
            return;
        };
        if added.begins {
            let content = added.lines.join("\n") + "\n";
            self.give(Outgoing::Told(write(file.path(), &content)))
                .await;
            return;
        }
        for line in &added.lines {
            self.give(Outgoing::Told(entry(file.path(), line))).await;
        }
    }

    async fn flush(&mut self) {
        self.mapper.flush(&mut self.frames);
        self.send().await;
        self.mark().await;
    }

    async fn send(&mut self) {
        for frame in std::mem::take(&mut self.frames) {
            let stale = match frame.class {
                Class::State => self.resume.arrived.remove(&frame.id).is_some(),
                Class::Delta => {
                    Some(frame.seq) <= self.resume.written || Some(frame.seq) <= self.resume.acked
                }
            };
            if !stale {
                self.give(Outgoing::Frame(frame)).await;
            }
        }
    }

    /// Tells how far everything was given: only when no joined delta of it is still here.
    async fn mark(&mut self) {
        if let Some(seq) = self.seq
            && self.seq > self.marked
            && !self.mapper.has_pending()
        {
            self.marked = self.seq;
            self.give(Outgoing::Mark(seq)).await;
        }
    }

    async fn give(&self, outgoing: Outgoing) {
        if self.to.send(outgoing).await.is_err() {
            // The connection is ending and takes this future with it.
            std::future::pending::<()>().await;
        }
    }
}

/// The Hub's session file, anew.
fn write(path: &str, content: &str) -> String {
    json!({"type": "session_write", "path": path, "content": content}).to_string()
}

/// A line that is added to the Hub's session file.
fn entry(path: &str, line: &str) -> String {
    json!({"type": "session_entry", "path": path, "line": line}).to_string()
}

type Reading<T> = Pin<Box<dyn Future<Output = (T, Result<Batch, SourceError>)> + Send>>;

/// Owns the tail while it reads, so that a source need not survive a dropped call.
fn read<T: EventTail>(mut tail: T) -> Reading<T> {
    Box::pin(async move {
        let batch = tail.next().await;
        (tail, batch)
    })
}
