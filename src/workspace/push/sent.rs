//! What is on its way to the other side, noted before it goes.
//!
//! A daemon that dies after the other side has taken it, and before the turn's end is stored, has told
//! nobody. The turn's end is tried again then and finds nothing to push: the note says what there was.
//! It holds no secret, and counts for the turn that it names alone.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::content::Uploaded;
use super::{Brought, Pushed, beside};
use crate::files;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Sent {
    /// Of this turn.
    pub(super) turn: String,
    pub(super) commits: u64,
    /// Where the branch leads when all is well.
    pub(super) head: String,
    /// What went along; nothing as long as the other side has not answered.
    pub(super) contents: Option<Brought>,
}

impl Sent {
    /// Before it goes.
    pub(super) fn new(turn: &str, commits: u64, head: &str) -> Self {
        Self {
            turn: turn.to_owned(),
            commits,
            head: head.to_owned(),
            contents: None,
        }
    }

    pub(super) fn read(note: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(note).ok()?).ok()
    }

    /// Notes it. Without the note the push is as good: only a death right now would leave it untold.
    pub(super) fn keep(&self, note: &Path) {
        let kept = serde_json::to_vec(self).map_err(std::io::Error::from);
        if let Err(error) = kept.and_then(|bytes| files::replace_durably(note, &bytes)) {
            tracing::warn!(%error, note = %note.display(), "what is pushed cannot be noted");
        }
    }
}

impl From<Sent> for Pushed {
    fn from(sent: Sent) -> Self {
        let nothing = Brought::All(Uploaded::default());
        Self::Done {
            commits: sent.commits,
            head: sent.head,
            contents: sent.contents.unwrap_or(nothing),
        }
    }
}

/// The note's file.
pub(super) fn note(rescue: &Path) -> PathBuf {
    beside(rescue, ".sent")
}
