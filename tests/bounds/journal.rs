//! A journal of numbered events, and reading all of it.

use std::path::{Path, PathBuf};

use agent_runner::clock::Timestamp;
use agent_runner::event::{Envelope, Event, Outcome};
use agent_runner::ids::{EventId, RunId, Seq, SessionId, TurnId};
use agent_runner::journal::{Batch, Change, Journal, NewEvent, Options};
use tempfile::TempDir;
use uuid::Uuid;

pub(crate) fn session() -> SessionId {
    "s1".parse().unwrap()
}

pub(crate) fn turn() -> TurnId {
    TurnId::from_uuid(Uuid::from_u128(1))
}

/// Without ballast, so that a test's folder holds what the test writes.
pub(crate) fn options() -> Options {
    Options {
        ballast: 0,
        ..Options::default()
    }
}

pub(crate) struct Place {
    pub(crate) dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("journal.db")
    }

    pub(crate) fn open(&self) -> Journal {
        Journal::open_with(&self.path(), options()).unwrap()
    }

    /// In memory: a test that opens thousands of journals waits for no disk.
    pub(crate) fn in_memory() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self { dir: dir.unwrap() }
    }

    /// Copies all files to a new place: what a machine has on its disk at this moment.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::in_memory();
        copy_files(self.dir.path(), copy.dir.path());
        copy
    }
}

pub(crate) fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

pub(crate) fn batch() -> Batch {
    Batch::new(&session(), "claude")
}

/// An event with that number in its text.
pub(crate) fn token(number: u64, at: u64) -> NewEvent {
    let event = Event::Token {
        text: format!("number {number} {}", "x".repeat(80)),
        message_id: None,
        parent_call_id: None,
    };
    let id = EventId::derive(Uuid::from_u128(9), number);
    NewEvent::encode(&event, id, Timestamp::from_millis(at), Some((turn(), 1))).unwrap()
}

pub(crate) fn tokens(range: std::ops::Range<u64>) -> Batch {
    let now = agent_runner::clock::Clock.wall().millis();
    let mut batch = batch();
    batch.events = range.map(|number| token(number, now)).collect();
    batch
}

pub(crate) fn open_session() -> Batch {
    let at = Timestamp::from_millis(1);
    let workspace = "/w".to_owned();
    batch().with(Change::OpenSession { workspace, at })
}

pub(crate) fn queue() -> Batch {
    batch().with(Change::QueueTurn {
        turn: turn(),
        command_id: Some("c1".to_owned()),
        prompt: "do it".to_owned(),
        author: None,
        images: Vec::new(),
        is_task: false,
        at: Timestamp::from_millis(2),
    })
}

pub(crate) fn begin() -> Change {
    Change::BeginAttempt {
        turn: turn(),
        attempt: 1,
        run: RunId::from_uuid(Uuid::from_u128(77)),
        ordinal_next: 0,
    }
}

pub(crate) fn end() -> Change {
    Change::EndTurn {
        turn: turn(),
        outcome: Outcome::Completed,
        at: Timestamp::from_millis(9),
    }
}

/// Every line that the journal gives, with its first and last place.
pub(crate) async fn lines(journal: &Journal, after: u64) -> Vec<String> {
    let mut tail = journal.tail(&session(), after);
    let mut lines = Vec::new();
    while let Some(batch) = tail.try_next().await.unwrap() {
        let text = batch.lines().map(|line| String::from_utf8(line.to_vec()));
        lines.extend(text.map(Result::unwrap));
    }
    lines
}

pub(crate) fn seq(line: &str) -> u64 {
    Envelope::parse(line.as_bytes()).unwrap().header.seq.get()
}

/// `from`, `to` and `why` of a gap.
pub(crate) fn gap(line: &str) -> Option<(u64, u64, String)> {
    match Envelope::parse(line.as_bytes()).unwrap().event {
        Event::Gap {
            from_seq,
            to_seq,
            why,
        } => Some((from_seq, to_seq, why)),
        _ => None,
    }
}

/// Checks that places go on from `after` without holes, each once, gaps standing for what they
/// name; the gaps.
pub(crate) fn assert_contiguous(lines: &[String], after: u64) -> Vec<(u64, u64, String)> {
    let mut next = after + 1;
    let mut gaps = Vec::new();
    for line in lines {
        if let Some((from, to, why)) = gap(line) {
            assert_eq!((from, to), (next, seq(line)), "{line}");
            next = to + 1;
            gaps.push((from, to, why));
        } else {
            assert_eq!(seq(line), next, "{line}");
            next += 1;
        }
    }
    gaps
}

pub(crate) async fn commit(journal: &Journal, batch: Batch) -> Option<Seq> {
    journal.commit(batch).await.unwrap()
}
