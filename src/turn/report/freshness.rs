//! Whether a report is of the turn at hand, or was there before.
//!
//! What each report was when the turn began is kept beside the session, so that the answer is the same
//! for a daemon that goes on with the turn. A file counts as made by the turn when it was written to
//! since then, also with the same words.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files;
use crate::ids::{SessionId, TurnId};

/// A file as it was written last: the kernel changes this with each write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written {
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
}

/// Whose a report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// The turn has written it.
    ThisTurn,
    /// An earlier turn of the session has, and this one has not.
    EarlierTurn,
    /// No turn of the session has: it was there before.
    Before,
}

/// What is known of a session's reports.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    turn: Option<TurnId>,
    /// As they were when that turn began; absent: they were not there.
    before: BTreeMap<PathBuf, Written>,
    /// Those that some turn has written.
    made: BTreeSet<PathBuf>,
}

impl Written {
    pub(super) fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            seconds: metadata.ctime(),
            nanoseconds: metadata.ctime_nsec(),
        }
    }
}

impl Known {
    /// What was kept; nothing where that cannot be read.
    pub(super) fn read(path: &Path) -> Self {
        let text = std::fs::read(path).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    pub(super) fn keep(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            files::create_private_dir(folder)?;
        }
        files::replace_durably(path, &serde_json::to_vec(self)?)
    }

    /// A turn begins.
    pub(super) fn begin(&mut self, turn: TurnId, now: BTreeMap<PathBuf, Written>) {
        self.turn = Some(turn);
        self.before = now;
    }

    /// Whose the report is at the end of `turn`; notes it when it is the turn's.
    pub(super) fn judge(&mut self, turn: TurnId, path: &Path, now: Written) -> Freshness {
        let is_known = self.turn == Some(turn);
        let is_as_before = self.before.get(path) == Some(&now);
        // Of a turn that an earlier program began nothing is known.
        if !is_known || !is_as_before {
            self.made.insert(path.to_owned());
            return Freshness::ThisTurn;
        }
        if self.made.contains(path) {
            Freshness::EarlierTurn
        } else {
            Freshness::Before
        }
    }
}

/// Where it is kept for a session.
pub(super) fn place(state_dir: &Path, session: &SessionId) -> PathBuf {
    let name = format!("{session}.reports.json");
    state_dir.join("sessions").join(name)
}

/// Forgets it, with the session.
pub fn forget(state_dir: &Path, session: &SessionId) -> io::Result<()> {
    match std::fs::remove_file(place(state_dir, session)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_of_the_turn_that_has_written_it_last() {
        let dir = tempfile::tempdir().unwrap();
        let (path, kept) = (Path::new("r.md"), dir.path().join("s/kept"));
        let report = dir.path().join(path);
        let written = || Written::of(&report.metadata().unwrap());
        let now = || BTreeMap::from([(path.to_owned(), written())]);
        let turn = |number| TurnId::from_uuid(uuid::Uuid::from_u128(number));
        std::fs::write(&report, "old").unwrap();

        let mut known = Known::default();
        known.begin(turn(1), now());
        assert_eq!(known.judge(turn(1), path, written()), Freshness::Before);
        known.keep(&kept).unwrap();
        let mut known = Known::read(&kept);
        // A new file under the old name is another one, whatever the clock says.
        let other = dir.path().join("other");
        std::fs::write(&other, "old").unwrap();
        std::fs::rename(other, &report).unwrap();
        assert_eq!(known.judge(turn(1), path, written()), Freshness::ThisTurn);
        known.begin(turn(2), now());
        assert_eq!(
            known.judge(turn(2), path, written()),
            Freshness::EarlierTurn
        );
        assert_eq!(known.judge(turn(3), path, written()), Freshness::ThisTurn);
        assert_eq!(Known::read(Path::new("/no/such/file")), Known::default());
    }
}
