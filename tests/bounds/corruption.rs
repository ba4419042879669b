//! A journal that is not what was written: it opens, and never gives an event that was altered.

use std::collections::HashSet;
use std::path::Path;

use crate::journal::{
    Place, assert_contiguous, begin, commit, gap, lines, open_session, options, queue, seq, tokens,
};
use agent_runner::event::{Envelope, Event};
use agent_runner::journal::Journal;

/// Damages of each kind.
const DAMAGES: usize = 1000;
const SEED: u64 = 0x5eed_0a6e_2700_0001;

/// splitmix64
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }
}

/// A journal of a turn in the middle, and its lines.
async fn whole() -> (Place, HashSet<String>) {
    let place = Place::in_memory();
    let journal = place.open();
    commit(&journal, open_session()).await;
    commit(&journal, queue()).await;
    commit(&journal, tokens(0..1).with(begin())).await;
    for n in 0..30 {
        commit(&journal, tokens(1 + n * 5..6 + n * 5)).await;
    }
    let lines = lines(&journal, 0).await.into_iter().collect();
    journal.close().await;
    (place, lines)
}

/// Opens what was damaged: it gives what was stored, or a gap; what is stored then is there.
async fn assert_honest(path: &Path, stored: &HashSet<String>, damage: &str) -> bool {
    let journal = Journal::open_with(path, options())
        .unwrap_or_else(|error| panic!("{damage}: does not open: {error}"));
    let found = lines(&journal, 0).await;
    let mut gaps = assert_contiguous(&found, 0);
    let mut reset = false;
    for line in &found {
        let event = Envelope::parse(line.as_bytes()).unwrap().event;
        let corrupt = matches!(&event, Event::Notice { code, .. } if code == "journal_corrupt");
        reset |= corrupt;
        assert!(
            corrupt || gap(line).is_some() || stored.contains(line),
            "{damage}: altered: {line}"
        );
    }
    gaps.retain(|(_, _, why)| why != "corrupt");
    assert_eq!(gaps, [], "{damage}");
    let before = stored.iter().map(|line| seq(line)).max().unwrap();
    let Ok(next) = journal.commit(tokens(900..901)).await else {
        // Found only by writing to it: the daemon ends with 70, and its next start goes on.
        journal.close().await;
        let journal = Journal::open_with(path, options()).unwrap();
        let next = commit(&journal, tokens(900..901)).await.unwrap().get();
        journal.close().await;
        assert!(next > before, "{damage}: {next} was told before");
        return true;
    };
    let next = next.unwrap().get();
    assert!(next > before, "{damage}: {next} was told before");
    journal.close().await;
    reset
}

#[tokio::test]
async fn one_turned_bit_anywhere_never_alters_an_event() {
    let (place, stored) = whole().await;
    let file = std::fs::read(place.path()).unwrap();
    let mut random = Random(SEED);
    let mut resets = 0;
    let damaged = Place::in_memory();
    for _ in 0..DAMAGES {
        let bit = random.below(file.len() * 8);
        let mut altered = file.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        restore(&place, &damaged, &altered);
        let damage = format!("bit {bit}");
        resets += usize::from(assert_honest(&damaged.path(), &stored, &damage).await);
    }
    println!("{resets} of {DAMAGES} damaged journals were set aside");
    assert!(resets < DAMAGES / 2, "events' pages cost their events only");
}

#[tokio::test]
async fn a_journal_cut_off_anywhere_opens_and_its_places_go_on() {
    let (place, stored) = whole().await;
    let file = std::fs::read(place.path()).unwrap();
    let mut random = Random(SEED + 1);
    let damaged = Place::in_memory();
    for n in 0..DAMAGES {
        // Half of the lengths are whole pages, where SQLite would see nothing odd.
        let length = random.below(file.len());
        let length = if n % 2 == 0 {
            length
        } else {
            length / 4096 * 4096
        };
        restore(&place, &damaged, &file[..length]);
        assert_honest(&damaged.path(), &stored, &format!("{length} bytes")).await;
    }
}

#[tokio::test]
async fn a_turned_bit_in_the_log_of_writes_never_alters_an_event() {
    let place = Place::in_memory();
    let journal = place.open();
    commit(&journal, open_session()).await;
    for n in 0..20 {
        commit(&journal, tokens(n * 5..5 + n * 5)).await;
    }
    let stored: HashSet<String> = lines(&journal, 0).await.into_iter().collect();
    // As a kill -9 leaves it.
    let place = place.copy();
    let log = place.path().with_extension("db-wal");
    let file = std::fs::read(&log).unwrap();
    let mut random = Random(SEED + 2);
    for n in 0..200 {
        let damaged = place.copy();
        let mut altered = file.clone();
        if n % 2 == 0 {
            let bit = random.below(file.len() * 8);
            altered[bit / 8] ^= 1 << (bit % 8);
        } else {
            altered.truncate(random.below(file.len()));
        }
        std::fs::write(damaged.path().with_extension("db-wal"), &altered).unwrap();
        assert_honest(&damaged.path(), &stored, &format!("log, damage {n}")).await;
    }
}

#[tokio::test]
async fn a_damaged_journal_is_set_aside_and_its_sessions_are_told() {
    let (place, stored) = whole().await;
    let mut file = std::fs::read(place.path()).unwrap();
    file[..100].fill(0x2a);
    for round in 0..4 {
        std::fs::write(place.path(), &file).unwrap();
        assert!(assert_honest(&place.path(), &stored, &format!("round {round}")).await);
    }
    let entries = std::fs::read_dir(place.dir.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let aside =
        names.filter(|name| name.starts_with("journal.corrupt-") && !name.ends_with("-wal"));
    assert_eq!(aside.count(), 2, "the latest two are kept");
}

#[tokio::test]
async fn a_journal_that_is_gone_is_told_like_one_that_is_damaged() {
    let (place, stored) = whole().await;
    std::fs::remove_file(place.path()).unwrap();
    assert!(assert_honest(&place.path(), &stored, "removed").await);
}

/// Puts the damaged file where its sound companions are.
fn restore(sound: &Place, damaged: &Place, file: &[u8]) {
    for entry in std::fs::read_dir(damaged.dir.path()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let seq = |place: &Place| place.path().with_extension("seq");
    std::fs::copy(seq(sound), seq(damaged)).unwrap();
    std::fs::write(damaged.path(), file).unwrap();
}
