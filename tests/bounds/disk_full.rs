//! A full disk under the journal: nothing is lost, it says so, and it goes on by itself.

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use agent_runner::clock::Clock;
use agent_runner::journal::{Journal, JournalError, Options, Room};
use rusqlite::Connection;

use crate::full::{SmallDisk, may_mount};
use crate::journal::{
    Place, assert_contiguous, commit, lines, open_session, options, queue, session, tokens,
};

const BALLAST: u64 = 2 << 20;

fn with_ballast() -> Options {
    Options {
        ballast: BALLAST,
        ..options()
    }
}

fn number(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("\"number ")?;
    rest.split(' ').next()?.parse().ok()
}

fn integrity(place: &Place) -> String {
    let connection = Connection::open(place.path()).unwrap();
    connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap()
}

/// Gives batches until the disk is full; how many. The last one is stored already, with the
/// ballast's room, or waits.
async fn until_full(journal: &Journal, from: u64) -> u64 {
    let mut room = journal.room();
    let mut number = from;
    loop {
        let first = number * 50;
        let committing = journal.submit(tokens(first..first + 50)).await.unwrap();
        number += 1;
        tokio::select! {
            _ = room.wait_for(|room| *room == Room::DiskFull) => return number,
            stored = committing.done() => drop(stored.unwrap()),
        }
    }
}

/// Waits until the latest event says that the disk is full.
async fn said_so(journal: &Journal) {
    let mut tail = journal.tail(&session(), 0);
    let said = async {
        loop {
            let batch = tail.next().await.unwrap();
            let line = batch.lines().last().unwrap().to_vec();
            if String::from_utf8(line).unwrap().contains("disk_full")
                && batch.last.get() == journal.last_seq(&session()).await.unwrap()
            {
                return;
            }
        }
    };
    let limit = Duration::from_secs(10);
    tokio::time::timeout(limit, said)
        .await
        .expect("it is said at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_on_a_full_disk_holds_on_and_goes_on_when_there_is_room() {
    if !may_mount("disk_full::a_journal_on_a_full_disk_holds_on_and_goes_on_when_there_is_room") {
        return;
    }
    let place = Place::new();
    let disk = SmallDisk::mount(place.dir.path(), 16);
    let journal = Journal::open_with(&place.path(), with_ballast()).unwrap();
    commit(&journal, open_session()).await;
    let ballast = place.path().with_extension("ballast");
    let mut stored = 0;
    // Full in the middle of the log, at its wrap, and with the database itself having to grow.
    for part in [0, 512 << 10, 3 << 20] {
        for _ in 0..part / 8192 {
            commit(&journal, tokens(stored * 50..stored * 50 + 50)).await;
            stored += 1;
        }
        disk.fill();
        stored = until_full(&journal, stored).await;
        // It is tried for again at once, and then there for a moment, though never whole.
        let blocks = ballast.metadata().map_or(0, |file| file.blocks());
        assert!(blocks * 512 < BALLAST, "given up, to record what is wrong");
        let refused = journal.commit(queue()).await.unwrap_err();
        assert!(matches!(refused, JournalError::Full(Room::DiskFull)));
        assert!(refused.to_string().contains("free some space"), "{refused}");
        said_so(&journal).await;

        let waiting = journal.commit(tokens(stored * 50..stored * 50 + 50));
        tokio::pin!(waiting);
        let early = tokio::time::timeout(Duration::from_millis(50), &mut waiting).await;
        assert!(early.is_err(), "held, neither stored nor refused");
        let freed = Clock.now();
        disk.empty();
        waiting.await.unwrap();
        stored += 1;
        assert!(freed.elapsed() < Duration::from_secs(30));
        assert!(ballast.metadata().unwrap().len() >= BALLAST);
        let mut room = journal.room();
        room.wait_for(|room| !room.is_full()).await.unwrap();
        commit(&journal, queue()).await;
    }
    let told = lines(&journal, 0).await;
    assert_eq!(assert_contiguous(&told, 0), []);
    let numbers: Vec<u64> = told.iter().filter_map(|line| number(line)).collect();
    assert_eq!(numbers, (0..stored * 50).collect::<Vec<_>>());
    journal.close().await;
    assert_eq!(integrity(&place), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_starts_on_a_full_disk_and_waits_for_room() {
    if !may_mount("disk_full::a_journal_starts_on_a_full_disk_and_waits_for_room") {
        return;
    }
    let place = Place::new();
    let disk = SmallDisk::mount(place.dir.path(), 16);
    let journal = Journal::open_with(&place.path(), with_ballast()).unwrap();
    commit(&journal, open_session()).await;
    commit(&journal, tokens(0..50)).await;
    journal.close().await;
    disk.fill();
    std::fs::remove_file(place.path().with_extension("ballast")).unwrap();
    disk.fill();
    disk.give_back(256 << 10);
    let journal = Journal::open_with(&place.path(), with_ballast()).unwrap();
    let mut room = journal.room();
    room.wait_for(|room| *room == Room::DiskFull).await.unwrap();
    assert_eq!(lines(&journal, 0).await.len(), 50, "it can be read");
    disk.empty();
    commit(&journal, tokens(50..60)).await;
    assert_eq!(lines(&journal, 0).await.len(), 60);
}
