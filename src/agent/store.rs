//! What a CLI keeps of its conversations in a database of its own: a second witness of how a turn
//! ended, for CLIs whose output has no terminal record. Said as plain data, read by whoever may
//! read the disk.

use std::path::PathBuf;

use super::{Evidence, Homes};
use crate::event::{ErrorClass, TurnError};

/// The database of a CLI, and what to ask it.
#[derive(Debug)]
pub struct Store {
    /// The SQLite file; none where it is not kept on the disk.
    pub file: fn(&Homes<'_>) -> Option<PathBuf>,
    /// Gives the conversation's last message as one text; its only parameter is the CLI's own
    /// session id.
    pub last_message: &'static str,
    /// What such a message says.
    pub read: fn(&str) -> Stored,
}

/// What the database says of the conversation's last message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// It is the agent's, and it ended as an answer does.
    Completed,
    /// It is the agent's, and it ended with an error.
    Failed(TurnError),
    /// It is no answer, or one that did not end.
    Unfinished,
    /// Nothing that is understood: no database, no such conversation, another version's words.
    Unknown,
}

impl Evidence {
    /// What is left of the evidence of an output that said success, when the database is heard: a
    /// success that it denies is none, and one that only the process's end spoke against (it
    /// stayed, and a signal ended it) is one if the database says so too. Of a failure that was told
    /// without what it is classed by, the database may know that.
    #[must_use]
    pub fn checked(self, stored: Stored) -> Self {
        match (self, stored) {
            (Self::Completed, Stored::Failed(error)) => Self::Failed(error),
            (Self::Completed, Stored::Unfinished) => Self::None,
            (Self::None, Stored::Completed) => Self::Completed,
            (Self::Failed(told), Stored::Failed(known)) if told.class == ErrorClass::Unknown => {
                Self::Failed(known)
            }
            (evidence, _) => evidence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_takes_a_success_back_and_vouches_for_one() {
        let error = TurnError::new(ErrorClass::Auth, "no");
        let failed = || Evidence::Failed(error.clone());
        let completed = |stored| Evidence::Completed.checked(stored);
        assert_eq!(completed(Stored::Unfinished), Evidence::None);
        assert_eq!(completed(Stored::Failed(error.clone())), failed());
        assert_eq!(completed(Stored::Unknown), Evidence::Completed);
        assert_eq!(failed().checked(Stored::Completed), failed());
        let vague = Evidence::Failed(TurnError::new(ErrorClass::Unknown, "no"));
        assert_eq!(vague.checked(Stored::Failed(error.clone())), failed());
        let other = TurnError::new(ErrorClass::Network, "other");
        assert_eq!(failed().checked(Stored::Failed(other)), failed());
        assert_eq!(
            Evidence::None.checked(Stored::Completed),
            Evidence::Completed
        );
        assert_eq!(Evidence::None.checked(Stored::Unknown), Evidence::None);
    }
}
