//! What a turn did to the workspace, kept when it ends.
//!
//! The checkpoint has the turn's id as its name: a turn whose end is tried again, after a death in
//! between, replaces it, and only the `end` that is stored has the event before it. It is never
//! the turn's failure. Of several repositories each has its own, under the same name; the event
//! counts them all.

use super::context::TurnContext;
use crate::event::{Event, NoticeLevel};
use crate::journal::TurnRow;
use crate::sandbox::Sandbox;
use crate::workspace::{Checkpoint, CheckpointRequest, checkpoint_apart};

/// The code of the notice that says why there is none.
pub const CHECKPOINT_FAILED: &str = "checkpoint_failed";

/// Takes the turn's checkpoint, and what is to be said of that; nothing where the workspace is no
/// repository.
pub(super) async fn of_turn(context: &TurnContext, turn: &TurnRow) -> Vec<Event> {
    let mut told = Vec::new();
    if !context.checkpoints {
        return told;
    }
    let mut sum: Option<Event> = None;
    let is_confined = context.reach.is_some() || matches!(context.sandbox, Sandbox::Docker(_));
    for repository in &context.repositories {
        let request = CheckpointRequest {
            workspace: repository.clone(),
            session: context.session.to_string(),
            name: turn.id.to_string(),
            author: context.authorship.of(turn.author.as_ref()),
        };
        match checkpoint_apart(&request, is_confined).await {
            Ok(None) => {}
            Ok(Some(taken)) => add(&mut sum, taken),
            Err(error) => told.push(Event::Notice {
                level: NoticeLevel::Warning,
                code: CHECKPOINT_FAILED.to_owned(),
                text: error.to_string(),
            }),
        }
    }
    told.extend(sum);
    told
}

fn add(sum: &mut Option<Event>, taken: Checkpoint) {
    match sum {
        Some(Event::Checkpoint {
            files,
            insertions,
            deletions,
            ..
        }) => {
            *files += taken.files;
            *insertions += taken.insertions;
            *deletions += taken.deletions;
        }
        _ => {
            *sum = Some(Event::Checkpoint {
                r#ref: taken.reference,
                files: taken.files,
                insertions: taken.insertions,
                deletions: taken.deletions,
            });
        }
    }
}
