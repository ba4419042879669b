//! The machine stops: what was promised is there, what was streamed may not be, and no `seq` has
//! two contents.

use agent_runner::journal::{Journal, Options, TurnState};

use crate::journal::{
    Place, assert_contiguous, begin, commit, end, lines, open_session, options, queue, seq, tokens,
};

fn after_a_stop() -> Options {
    Options {
        boot: "another".to_owned(),
        ..options()
    }
}

/// A journal whose turn streams, as the disk has it after its last sync; the events behind that are
/// in the kernel only, and go with the machine.
async fn stopped_in_a_turn() -> (Place, u64) {
    let place = Place::new();
    let journal = place.open();
    commit(&journal, open_session()).await;
    commit(&journal, queue()).await;
    commit(&journal, tokens(0..1).with(begin())).await;
    let on_disk = place.copy();
    let mut told = 0;
    for n in 0..20 {
        told = commit(&journal, tokens(1 + n * 5..6 + n * 5))
            .await
            .unwrap()
            .get();
    }
    assert_eq!(lines(&journal, 0).await.len(), 101);
    (on_disk, told)
}

#[tokio::test]
async fn after_a_power_cut_places_jump_over_what_was_lost_and_a_gap_says_so() {
    let (disk, told) = stopped_in_a_turn().await;
    let journal = Journal::open_with(&disk.path(), after_a_stop()).unwrap();
    let found = lines(&journal, 0).await;
    let gaps = assert_contiguous(&found, 0);
    let [(from, to, why)] = &gaps[..] else {
        panic!("{gaps:?}");
    };
    assert_eq!((*from, why.as_str()), (2, "power_cut"));
    assert!(*to >= told, "a place that was told is not given again");
    let next = commit(&journal, tokens(50..51)).await.unwrap().get();
    assert_eq!(next, to + 1);
    // The turn that was promised goes on.
    let turns = journal.turns(&crate::journal::session()).await.unwrap();
    assert_eq!(turns[0].state, TurnState::Running);
    // A reader with a place in the lost part hears of the gap, and goes on behind it.
    let late = lines(&journal, told).await;
    assert_eq!(seq(&late[0]), *to);
    assert_eq!(seq(&late[1]), next);
}

#[tokio::test]
async fn a_second_power_cut_before_any_event_adds_no_second_gap() {
    let (disk, _) = stopped_in_a_turn().await;
    drop(Journal::open_with(&disk.path(), after_a_stop()).unwrap());
    let third = Options {
        boot: "third".to_owned(),
        ..options()
    };
    let journal = Journal::open_with(&disk.copy().path(), third).unwrap();
    let gaps = assert_contiguous(&lines(&journal, 0).await, 0);
    assert_eq!(gaps.len(), 1, "{gaps:?}");
}

#[tokio::test]
async fn a_session_without_a_turn_loses_nothing_to_a_power_cut() {
    let place = Place::new();
    let journal = place.open();
    commit(&journal, open_session()).await;
    commit(&journal, queue()).await;
    commit(&journal, tokens(0..1).with(begin())).await;
    commit(&journal, tokens(1..9)).await;
    commit(&journal, tokens(9..10).with(end())).await;
    let disk = place.copy();
    let journal = Journal::open_with(&disk.path(), after_a_stop()).unwrap();
    assert_eq!(assert_contiguous(&lines(&journal, 0).await, 0), []);
    assert_eq!(commit(&journal, tokens(10..11)).await.unwrap().get(), 11);
}

#[tokio::test]
async fn the_death_of_the_process_alone_leaves_no_gap() {
    let place = Place::new();
    let journal = place.open();
    commit(&journal, open_session()).await;
    commit(&journal, tokens(0..7)).await;
    // As a kill -9 leaves it: not closed, everything in the kernel.
    let left = place.copy();
    let journal = left.open();
    assert_eq!(assert_contiguous(&lines(&journal, 0).await, 0), []);
    assert_eq!(commit(&journal, tokens(7..8)).await.unwrap().get(), 8);
}
