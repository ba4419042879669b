//! Ends turns that no driver is there for: of sessions that never began, or that were ended.

use crate::clock::Clock;
use crate::daemon::{DaemonError, Hosted};
use crate::event::{ErrorClass, Event, Outcome, TurnError};
use crate::ids::EventId;
use crate::journal::{Batch, Change, Journal, NewEvent, TurnRow, TurnState};

/// Why such a turn is over.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verdict<'a> {
    /// The session was ended.
    Cancelled,
    /// The session cannot be led.
    Failed(&'a DaemonError),
}

/// Stores a turn's end, and its prompt where it never ran.
pub(super) async fn end_turn(
    journal: &Journal,
    hosted: &Hosted,
    turn: TurnRow,
    verdict: Verdict<'_>,
) -> Result<(), DaemonError> {
    let at = Clock.wall();
    let (outcome, error) = match verdict {
        Verdict::Cancelled => (Outcome::Cancelled, None),
        Verdict::Failed(error) => {
            let error = TurnError::new(ErrorClass::Sandbox, error.to_string());
            (Outcome::Failed, Some(error))
        }
    };
    let prompt = (turn.state == TurnState::Queued).then(|| turn.prompt_event());
    let end = Event::End {
        outcome,
        error,
        duration_ms: None,
    };
    let ended = Change::EndTurn {
        turn: turn.id,
        outcome,
        at,
    };
    let mut batch = Batch::new(&hosted.id, hosted.agent).with(ended);
    for (ordinal, event) in prompt.iter().chain([&end]).enumerate() {
        let id = EventId::derive(turn.id.uuid(), ordinal as u64);
        let event = NewEvent::encode(event, id, at, Some((turn.id, turn.attempt)))
            .map_err(|error| DaemonError::Internal(error.to_string()))?;
        batch.events.push(event);
    }
    journal.commit(batch).await?;
    Ok(())
}
