//! What a turn did to the workspace, kept when it ends.
//!
//! The checkpoint has the turn's id as its name: a turn whose end is tried again, after a death in
//! between, replaces it, and only the `end` that is stored has the event before it. It is never
//! the turn's failure.

use super::context::TurnContext;
use crate::event::{Event, NoticeLevel};
use crate::ids::TurnId;
use crate::workspace::{CheckpointRequest, checkpoint_apart};

/// The code of the notice that says why there is none.
pub const CHECKPOINT_FAILED: &str = "checkpoint_failed";

/// Takes the turn's checkpoint, and what is to be said of that; nothing where the workspace is no
/// repository.
pub(super) async fn of_turn(context: &TurnContext, turn: TurnId) -> Option<Event> {
    if !context.checkpoints {
        return None;
    }
    let request = CheckpointRequest {
        workspace: context.workspace.clone(),
        session: context.session.to_string(),
        name: turn.to_string(),
    };
    match checkpoint_apart(&request).await {
        Ok(taken) => taken.map(|taken| Event::Checkpoint {
            r#ref: taken.reference,
            files: taken.files,
            insertions: taken.insertions,
            deletions: taken.deletions,
        }),
        Err(error) => Some(Event::Notice {
            level: NoticeLevel::Warning,
            code: CHECKPOINT_FAILED.to_owned(),
            text: error.to_string(),
        }),
    }
}
