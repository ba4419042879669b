//! A session that is held back: what was accepted waits, and nothing of it is lost.
//!
//! A turn that is paused by it stays open as for the next daemon, and goes on in the same way when
//! the session is let go. An abort ends also what waits so.

use super::driver::Driver;
use crate::ids::TurnId;
use crate::journal::{Change, TurnRow, TurnState};
use crate::turn::{TurnCommand, TurnFault};

/// What a session does not do for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hold {
    /// It does all that it is asked.
    #[default]
    Nothing,
    /// No turn is begun.
    New,
    /// Nor does one go on.
    All,
}

impl Driver {
    /// The next turn, if one may begin now.
    pub(super) fn next_turn(&mut self) -> Option<TurnRow> {
        let cancelled = |turn: &TurnRow| turn.state == TurnState::Cancelling;
        if self.hold == Hold::Nothing || self.queue.front().is_some_and(cancelled) {
            return self.queue.pop_front();
        }
        None
    }

    /// From now on the session is held back so.
    pub(super) async fn hold_back(&mut self, hold: Hold) {
        if self.hold == hold {
            return;
        }
        tracing::info!(session = %self.context.session, ?hold, "the session is held back");
        self.hold = hold;
        if hold == Hold::All {
            self.order(TurnCommand::Pause { at_once: false }).await;
        }
    }

    /// A turn that was paused to be held waits before all others, as the journal has it now.
    pub(super) async fn keep_paused(&mut self, paused: TurnId) -> Result<(), TurnFault> {
        let turns = self.context.journal.turns(&self.context.session).await?;
        let open = |turn: &TurnRow| turn.id == paused && turn.state != TurnState::Ended;
        if let Some(turn) = turns.into_iter().find(open) {
            self.queue.push_front(turn);
        }
        Ok(())
    }

    /// Has the turn that was begun and waits cancelled first of all: it has told its prompt, and
    /// only it can end itself.
    pub(super) async fn cancel_paused(&mut self) -> Result<Option<TurnRow>, TurnFault> {
        let begun = |turn: &TurnRow| turn.attempt > 0;
        let Some(at) = self.queue.iter().position(begun) else {
            return Ok(None);
        };
        let Some(mut turn) = self.queue.remove(at) else {
            return Ok(None);
        };
        let cancel = Change::CancelTurn { turn: turn.id };
        let batch = self.batch().with(cancel);
        self.context.journal.commit(batch).await?;
        turn.state = TurnState::Cancelling;
        Ok(Some(turn))
    }
}
