//! What is kept, what goes, and what a late reader is told.

use std::time::Duration;

use agent_runner::clock::{Clock, Timestamp};
use agent_runner::event::{Event, Outcome};
use agent_runner::ids::{EventId, TurnId};
use agent_runner::journal::{Change, Journal, JournalError, NewEvent, Options, Room};
use uuid::Uuid;

use crate::journal::{
    Place, assert_contiguous, batch, commit, lines, open_session, options, queue, session, token,
    tokens,
};

const HOUR: u64 = 3_600_000;

async fn first(journal: &Journal) -> u64 {
    let first = journal.first_seq(&session()).await.unwrap();
    first.unwrap().get()
}

/// Ten batches of five events, each an hour younger than the one before; the last is of now.
async fn hourly(place: &Place, acked: u64) {
    let journal = place.open();
    commit(&journal, open_session()).await;
    let now = Clock.wall().millis();
    for n in 0..10 {
        let mut hour = batch();
        let at = now - (9 - n) * HOUR;
        hour.events = (n * 5..n * 5 + 5).map(|number| token(number, at)).collect();
        commit(&journal, hour).await;
    }
    commit(&journal, batch().with(Change::Acked { seq: acked })).await;
    journal.close().await;
}

fn keep_hours(hours: u64) -> Options {
    Options {
        retain: Duration::from_millis(hours * HOUR + HOUR / 2),
        ..options()
    }
}

/// Waits for what the writer does at its start.
async fn reopened(place: &Place, options: Options) -> Journal {
    let journal = Journal::open_with(&place.path(), options).unwrap();
    commit(&journal, batch()).await;
    journal
}

#[tokio::test]
async fn old_events_go_once_the_hub_has_them_and_a_late_reader_is_told() {
    let place = Place::new();
    hourly(&place, 50).await;
    let journal = reopened(&place, keep_hours(4)).await;
    assert_eq!(first(&journal).await, 26);
    let gaps = assert_contiguous(&lines(&journal, 0).await, 0);
    assert_eq!(gaps, [(1, 25, "retention".to_owned())]);
    let gaps = assert_contiguous(&lines(&journal, 7).await, 7);
    assert_eq!(gaps, [(8, 25, "retention".to_owned())]);
    assert_eq!(assert_contiguous(&lines(&journal, 25).await, 25), []);
}

#[tokio::test]
async fn old_events_go_while_nothing_happens() {
    let place = Place::new();
    let idle = Options {
        look_every: Duration::ZERO,
        ..keep_hours(4)
    };
    hourly(&place, 0).await;
    let journal = reopened(&place, idle).await;
    commit(&journal, batch().with(Change::Acked { seq: 50 })).await;
    // As a daemon does each minute; the one before has looked by the time the next is stored.
    commit(&journal, batch()).await;
    commit(&journal, batch()).await;
    assert_eq!(first(&journal).await, 26);
}

#[tokio::test]
async fn what_the_hub_has_not_acknowledged_stays_however_old_it_is() {
    let place = Place::new();
    hourly(&place, 12).await;
    let journal = reopened(&place, keep_hours(1)).await;
    assert_eq!(first(&journal).await, 11);
    // And with the clock a year ahead.
    drop(journal);
    let none = Options {
        retain: Duration::from_millis(1),
        retain_bytes: 0,
        ..options()
    };
    let journal = reopened(&place, none).await;
    assert_eq!(first(&journal).await, 11);
    let gaps = assert_contiguous(&lines(&journal, 0).await, 0);
    assert_eq!(gaps.len(), 1, "{gaps:?}");
}

#[tokio::test]
async fn the_last_batch_stays_so_that_places_go_on() {
    let place = Place::new();
    hourly(&place, 50).await;
    let none = Options {
        retain: Duration::from_millis(1),
        retain_bytes: 0,
        ..options()
    };
    let journal = reopened(&place, none).await;
    assert_eq!(first(&journal).await, 46);
    drop(journal);
    let journal = place.open();
    assert_eq!(commit(&journal, tokens(50..51)).await.unwrap().get(), 51);
}

#[tokio::test]
async fn events_of_an_open_turn_stay_for_its_next_attempt() {
    let place = Place::new();
    hourly(&place, 50).await;
    let journal = place.open();
    commit(&journal, queue()).await;
    commit(&journal, tokens(50..51).with(crate::journal::begin())).await;
    for n in 0..4 {
        commit(&journal, tokens(51 + n * 5..56 + n * 5)).await;
    }
    commit(&journal, batch().with(Change::Acked { seq: 71 })).await;
    journal.close().await;
    let none = Options {
        retain: Duration::from_millis(1),
        retain_bytes: 0,
        ..options()
    };
    let journal = reopened(&place, none).await;
    assert_eq!(first(&journal).await, 51);
}

#[tokio::test]
async fn order_is_by_place_however_the_clock_jumps() {
    let place = Place::new();
    let journal = place.open();
    commit(&journal, open_session()).await;
    let now = Clock.wall().millis();
    let year = 365 * 24 * HOUR;
    for (n, at) in [now, now + HOUR, now - HOUR, now + year, now - year, now]
        .into_iter()
        .enumerate()
    {
        let mut batch = batch();
        batch.events = vec![token(n as u64, at)];
        commit(&journal, batch).await;
    }
    let before = lines(&journal, 0).await;
    assert_eq!(assert_contiguous(&before, 0), []);
    for (n, line) in before.iter().enumerate() {
        assert!(line.contains(&format!("number {n} ")), "{line}");
    }
    journal.close().await;
    assert_eq!(lines(&place.open(), 0).await, before);
}

fn big(number: u64) -> NewEvent {
    let event = Event::Token {
        text: "x".repeat(60_000),
        message_id: None,
        parent_call_id: None,
    };
    let id = EventId::derive(Uuid::from_u128(10), number);
    NewEvent::encode(&event, id, Clock.wall(), None).unwrap()
}

fn big_batch(number: u64) -> agent_runner::journal::Batch {
    let mut batch = batch();
    batch.events = vec![big(number)];
    batch
}

/// Fills a journal of 8 MiB until it holds on; how many batches it took.
async fn fill(journal: &Journal) -> u64 {
    let mut room = journal.room();
    let mut number = 0;
    loop {
        let commit = journal.commit(big_batch(number));
        tokio::pin!(commit);
        tokio::select! {
            biased;
            stored = &mut commit => drop(stored.unwrap()),
            _ = room.wait_for(|room| room.is_full()) => return number,
        }
        number += 1;
        assert!(number < 1000, "the quota is not kept");
    }
}

#[tokio::test]
async fn a_journal_at_its_quota_holds_until_the_hub_has_taken_some() {
    let place = Place::new();
    let small = Options {
        quota: 8 << 20,
        ..options()
    };
    let journal = Journal::open_with(&place.path(), small).unwrap();
    commit(&journal, open_session()).await;
    let stored = fill(&journal).await;
    assert!(place.path().metadata().unwrap().len() <= 8 << 20);
    assert_eq!(*journal.room().borrow(), Room::QuotaReached);
    let refused = journal.commit(queue()).await.unwrap_err();
    assert!(
        matches!(refused, JournalError::Full(Room::QuotaReached)),
        "{refused}"
    );
    assert!(refused.to_string().contains("journal_quota"), "{refused}");

    let waiting = journal.commit(big_batch(5000));
    tokio::pin!(waiting);
    let early = tokio::time::timeout(Duration::from_millis(100), &mut waiting).await;
    assert!(early.is_err(), "what waits is not stored, and not refused");
    commit(&journal, batch().with(Change::Acked { seq: stored })).await;
    waiting.await.unwrap();
    assert!(!journal.room().borrow().is_full());
    let told = lines(&journal, 0).await;
    let gaps = assert_contiguous(&told, 0);
    assert!(
        matches!(&gaps[..], [(1, _, why)] if why == "retention"),
        "{gaps:?}"
    );
    assert!(told.iter().any(|line| line.contains("journal_full")));
    commit(&journal, queue()).await;
}

#[tokio::test]
async fn a_journal_that_is_pruned_gives_its_pages_back() {
    let place = Place::new();
    let small = || Options {
        retain_bytes: 1 << 20,
        ..options()
    };
    let journal = Journal::open_with(&place.path(), small()).unwrap();
    commit(&journal, open_session()).await;
    let mut last = 0;
    for number in 0..200 {
        last = commit(&journal, big_batch(number)).await.unwrap().get();
    }
    commit(&journal, batch().with(Change::Acked { seq: last })).await;
    journal.close().await;
    let before = place.path().metadata().unwrap().len();
    assert!(before > 10 << 20);
    reopened(&place, small()).await.close().await;
    let after = place.path().metadata().unwrap().len();
    assert!(after < 2 << 20, "{before} bytes became {after}");
}

#[tokio::test]
async fn runs_are_needed_until_their_turn_is_closed_and_acknowledged() {
    let place = Place::new();
    let journal = place.open();
    commit(&journal, open_session()).await;
    commit(&journal, queue()).await;
    let needed = async || journal.needed_runs().await.unwrap().len();
    assert_eq!(needed().await, 0);
    commit(&journal, tokens(0..1).with(crate::journal::begin())).await;
    assert_eq!(needed().await, 1);
    let end = Change::EndTurn {
        turn: TurnId::from_uuid(Uuid::from_u128(1)),
        outcome: Outcome::Completed,
        at: Timestamp::from_millis(9),
    };
    commit(&journal, tokens(1..3).with(end)).await;
    assert_eq!(needed().await, 1);
    commit(&journal, batch().with(Change::Acked { seq: 2 })).await;
    assert_eq!(needed().await, 1);
    commit(&journal, batch().with(Change::Acked { seq: 3 })).await;
    assert_eq!(needed().await, 0);
}

/// Names the journal to the copy of this program that is to die over it.
#[cfg(feature = "crash-points")]
const DIES_OVER: &str = "BOUNDS_TEST_JOURNAL";

/// Not by itself: started by the test below, and killed by what it does.
#[cfg(feature = "crash-points")]
#[tokio::test]
async fn a_copy_prunes_until_it_dies() {
    let Some(path) = std::env::var_os(DIES_OVER) else {
        return;
    };
    let journal = Journal::open_with(path.as_ref(), keep_hours(4)).unwrap();
    commit(&journal, batch()).await;
}

#[cfg(feature = "crash-points")]
#[tokio::test]
async fn a_death_while_old_events_go_loses_no_other() {
    use std::os::unix::process::ExitStatusExt as _;
    for (point, first_kept) in [
        ("prune.before_commit:1", 1),
        ("prune.committed:1", 26),
        ("prune.vacuumed:1", 26),
    ] {
        let place = Place::new();
        hourly(&place, 50).await;
        let died = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "retention::a_copy_prunes_until_it_dies"])
            .env(DIES_OVER, place.path())
            .env("AGENT_RUNNER_CRASH", point)
            .output()
            .unwrap();
        assert_eq!(died.status.signal(), Some(9), "{point}: {died:?}");
        let journal = place.open();
        assert_eq!(first(&journal).await, first_kept, "{point}");
        let gaps = assert_contiguous(&lines(&journal, 0).await, 0);
        assert_eq!(gaps.len(), usize::from(first_kept > 1), "{point}");
        journal.close().await;
        // What is due goes then.
        let journal = reopened(&place, keep_hours(4)).await;
        assert_eq!(first(&journal).await, 26, "{point}");
        commit(&journal, tokens(50..55)).await;
        assert_contiguous(&lines(&journal, 0).await, 0);
    }
}
