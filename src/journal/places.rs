//! `journal.seq`: how far each session is, beside the journal, for when the journal is not whole.
//!
//! One slot a session: the last `seq` that was given (written after each commit, not synced: it is
//! right as long as the machine has not stopped), and one that none has passed (synced before any
//! does). Whatever becomes of the journal, no `seq` is then given to a second event.
//!
//! A slot carries its own digest; one that is not whole counts as not there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::digest::Digest;
use crate::files;
use crate::ids::SessionId;

/// A session's id is at most 128 bytes, an agent's name at most 32.
const ID: usize = 128;
const AGENT: usize = 32;
/// Id, agent, last, beyond, digest.
const SLOT: usize = ID + AGENT + 3 * 8;
/// How far ahead the synced bound is: one sync for each million events of a session.
const AHEAD: u64 = 1_000_000;

/// How far a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    slot: u64,
    pub(super) agent: String,
    /// The last `seq` that was given, unless the machine has stopped since.
    pub(super) last: u64,
    /// No `seq` beyond this was given.
    pub(super) beyond: u64,
}

/// The file.
#[derive(Debug)]
pub(super) struct Places {
    path: PathBuf,
    file: File,
    next_slot: u64,
    known: BTreeMap<SessionId, Place>,
}

impl Places {
    /// Opens or creates the file.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = files::update_private(path)?;
        let mut content = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(0)];
        file.read_exact_at(&mut content, 0)?;
        let (slots, _torn) = content.as_chunks::<SLOT>();
        let places = (0..)
            .zip(slots)
            .filter_map(|(slot, bytes)| read(slot, bytes));
        Ok(Self {
            next_slot: slots.len() as u64,
            known: places.collect(),
            path: path.to_owned(),
            file,
        })
    }

    /// All sessions.
    pub(super) fn all(&self) -> &BTreeMap<SessionId, Place> {
        &self.known
    }

    /// Makes sure that `last` may be given to an event of the session. Durable when it returns.
    pub(super) fn reach(&mut self, session: &SessionId, agent: &str, last: u64) -> io::Result<()> {
        if self
            .known
            .get(session)
            .is_some_and(|place| last <= place.beyond)
        {
            return Ok(());
        }
        let before = self.known.get(session);
        let place = Place {
            slot: before.map_or(self.next_slot, |place| place.slot),
            agent: agent.chars().take(AGENT / 4).collect(),
            last: before.map_or(0, |place| place.last),
            beyond: last.saturating_add(AHEAD),
        };
        self.write(session, &place)?;
        self.file.sync_data()?;
        self.next_slot = self.next_slot.max(place.slot + 1);
        self.known.insert(session.clone(), place);
        Ok(())
    }

    /// The session is gone for good: nothing is known of it any more.
    pub(super) fn forget(&mut self, session: &SessionId) -> io::Result<()> {
        match self.known.remove(session) {
            Some(place) => self.file.write_all_at(&[0; SLOT], place.slot * SLOT as u64),
            None => Ok(()),
        }
    }

    /// Notes what was given. In the kernel, not on the disk, when it returns.
    pub(super) fn gave(&mut self, session: &SessionId, last: u64) -> io::Result<()> {
        let Some(place) = self.known.get(session) else {
            return Ok(());
        };
        let place = Place {
            last,
            ..place.clone()
        };
        self.write(session, &place)?;
        self.known.insert(session.clone(), place);
        Ok(())
    }

    /// Notes that the journal cannot be written to any more: the next start sets it aside.
    pub(super) fn condemn(&self) {
        if let Err(error) = files::append_private(&self.verdict()) {
            tracing::error!(%error, "cannot note that the journal is damaged");
        }
    }

    /// Whether that was noted. Once asked, it is forgotten.
    pub(super) fn was_condemned(&self) -> bool {
        std::fs::remove_file(self.verdict()).is_ok()
    }

    fn verdict(&self) -> PathBuf {
        self.path.with_extension("damaged")
    }

    fn write(&self, session: &SessionId, place: &Place) -> io::Result<()> {
        let mut slot = [0; SLOT];
        let id = session.as_str().bytes().chain(std::iter::repeat(0));
        let agent = place.agent.bytes().chain(std::iter::repeat(0));
        let fields = id.take(ID).chain(agent.take(AGENT));
        let numbers = [place.last, place.beyond].map(u64::to_le_bytes);
        for (to, from) in slot
            .iter_mut()
            .zip(fields.chain(numbers.into_iter().flatten()))
        {
            *to = from;
        }
        let (fields, digest) = slot.split_at_mut(SLOT - 8);
        digest.copy_from_slice(&of_slot(place.slot, fields).to_le_bytes());
        self.file.write_all_at(&slot, place.slot * SLOT as u64)
    }
}

fn of_slot(slot: u64, fields: &[u8]) -> i64 {
    Digest::new(b's').number(slot).bytes(fields).value()
}

fn read(slot: u64, bytes: &[u8; SLOT]) -> Option<(SessionId, Place)> {
    let (fields, digest) = bytes.split_at(SLOT - 8);
    if of_slot(slot, fields).to_le_bytes() != digest {
        return None;
    }
    let text = |bytes: &[u8]| {
        let text = bytes.split(|byte| *byte == 0).next()?;
        Some(std::str::from_utf8(text).ok()?.to_owned())
    };
    let number = |at: usize| {
        let bytes = fields.get(at..at + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    let place = Place {
        slot,
        agent: text(fields.get(ID..ID + AGENT)?)?,
        last: number(ID + AGENT)?,
        beyond: number(ID + AGENT + 8)?,
    };
    Some((text(fields.get(..ID)?)?.parse().ok()?, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_again_and_an_altered_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.seq");
        let mut places = Places::open(&path).unwrap();
        let long: SessionId = "x".repeat(128).parse().unwrap();
        let short: SessionId = "s".parse().unwrap();
        places.reach(&long, "claude", 5).unwrap();
        places.reach(&short, "codex", 1).unwrap();
        places.gave(&short, 1).unwrap();
        places.gave(&short, 2).unwrap();
        let places = Places::open(&path).unwrap();
        let short_place = places.all().get(&short).unwrap();
        assert_eq!((short_place.last, short_place.beyond), (2, 1 + AHEAD));
        assert_eq!(places.all().get(&long).unwrap().agent, "claude");

        let whole = std::fs::read(&path).unwrap();
        for bit in (0..whole.len() * 8).step_by(7) {
            let mut altered = whole.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &altered).unwrap();
            let found = Places::open(&path).unwrap();
            assert_eq!(found.all().len(), 1, "bit {bit}");
        }
    }

    #[test]
    fn the_bound_is_written_once_for_a_million_events() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.seq");
        let mut places = Places::open(&path).unwrap();
        let session: SessionId = "s".parse().unwrap();
        places.reach(&session, "claude", 1).unwrap();
        let written = path.metadata().unwrap().modified().unwrap();
        for last in 2..1000 {
            places.reach(&session, "claude", last).unwrap();
        }
        assert_eq!(path.metadata().unwrap().modified().unwrap(), written);
        places.reach(&session, "claude", 1 + AHEAD + 1).unwrap();
        let beyond = places.all().get(&session).unwrap().beyond;
        assert_eq!(beyond, 2 + 2 * AHEAD);
    }
}
