//! What the journal costs, and how fast a long one is there again.

use std::collections::VecDeque;
use std::path::Path;

use agent_runner::clock::Clock;
use agent_runner::event::Event;
use agent_runner::ids::{EventId, SessionId};
use agent_runner::journal::{Batch, Change, Journal, NewEvent};
use uuid::Uuid;

use crate::place::{cpu_millis, now, resident};
use crate::report::{Figure, Goal, Report};

/// A day of an agent that never rests.
const EVENTS: u64 = 1_000_000;
/// What a chunk of the spool gives.
const BATCH: u64 = 250;
/// As many as a turn and its readers have on their way.
const WAITING: usize = 8;
/// What a viewer shows first.
const LAST: u64 = 1000;
const ROUNDS: usize = 21;

pub async fn figures(report: &mut Report) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("journal.db");
    let session: SessionId = "bench".parse().expect("an id");
    let own = i32::try_from(std::process::id()).expect("a pid");
    let journal = Journal::open(&path).expect("a new journal");
    let (began, cpu, memory) = (now(), cpu_millis(own), resident(own, "VmRSS:"));
    write(&journal, &session).await;
    let (took, spent) = (seconds(now() - began), cpu_millis(own) - cpu);
    let per_100k = spent as f64 / 1000.0 / (EVENTS / 100_000) as f64;
    let row = |measure: &str, goal, got| Figure::new("P15", measure, goal, got);
    let rate = EVENTS as f64 / took / 1000.0;
    report.add(row("events of 350 bytes stored, k/s", Goal::None, rate));
    report.add(row("CPU for 100,000 of them, s", Goal::None, per_100k));

    // As a daemon leaves it that is killed: the log is not in the database yet.
    let killed = dir.path().join("killed");
    std::fs::create_dir(&killed).expect("a folder");
    for name in ["journal.db", "journal.db-wal", "journal.seq"] {
        std::fs::copy(dir.path().join(name), killed.join(name)).expect("copied");
    }
    journal.close().await;
    let took = reopen(&killed.join("journal.db"), &session).await;
    let measure = "journal of 1,000,000 events, killed: ready again, s";
    report.add(row(measure, Goal::AtMost(2.0), took));
    let took = reopen(&path, &session).await;
    let measure = "the same after an end in order, s";
    report.add(row(measure, Goal::AtMost(2.0), took));

    let journal = Journal::open(&path).expect("it is whole");
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let began = now();
        assert_eq!(read(&journal, &session, EVENTS - LAST).await, LAST);
        rounds.push(seconds(now() - began) * 1000.0);
    }
    rounds.sort_by(f64::total_cmp);
    let measure = "its last 1,000 events, median, ms";
    report.add(row(measure, Goal::AtMost(10.0), rounds[ROUNDS / 2]).of(ROUNDS));
    let began = now();
    assert_eq!(read(&journal, &session, 0).await, EVENTS);
    let rate = EVENTS as f64 / seconds(now() - began) / 1000.0;
    report.add(row("all of them read, k/s", Goal::None, rate));
    let peak = resident(own, "VmHWM:").saturating_sub(memory);
    let measure = "memory that all of this took at most, MB";
    report.add(row(measure, Goal::None, peak as f64 / 1_048_576.0));
    journal.close().await;
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

async fn write(journal: &Journal, session: &SessionId) {
    let batch = || Batch::new(session, "claude");
    let open = Change::OpenSession {
        workspace: "/w".to_owned(),
        at: Clock.wall(),
    };
    journal.commit(batch().with(open)).await.expect("stored");
    let mut waiting = VecDeque::new();
    for first in (0..EVENTS).step_by(usize::try_from(BATCH).expect("small")) {
        let mut batch = batch();
        batch.events = (first..first + BATCH).map(event).collect();
        waiting.push_back(journal.submit(batch).await.expect("taken"));
        if waiting.len() > WAITING {
            let oldest = waiting.pop_front().expect("there are some");
            oldest.done().await.expect("stored");
        }
    }
    for committing in waiting {
        committing.done().await.expect("stored");
    }
}

fn event(number: u64) -> NewEvent {
    let event = Event::Token {
        text: format!("{number} {}", "word ".repeat(20)),
        message_id: None,
        parent_call_id: None,
    };
    let id = EventId::derive(Uuid::from_u128(1), number);
    NewEvent::encode(&event, id, Clock.wall(), None).expect("it is JSON")
}

/// Until the session's place is known.
async fn reopen(path: &Path, session: &SessionId) -> f64 {
    let began = now();
    let journal = Journal::open(path).expect("it is whole");
    assert_eq!(journal.last_seq(session).await.expect("read"), EVENTS);
    let took = seconds(now() - began);
    journal.close().await;
    took
}

async fn read(journal: &Journal, session: &SessionId, after: u64) -> u64 {
    let mut tail = journal.tail(session, after);
    let mut count = 0;
    while let Some(batch) = tail.try_next().await.expect("read") {
        count += batch.lines().count() as u64;
    }
    count
}
