//! What is on the disk of earlier work: events in the journal, and the CLI's own conversations.

use std::io;
use std::path::{Path, PathBuf};

use super::context::{TurnContext, TurnFault};
use super::recap::Recap;
use super::seen::Seen;
use crate::agent::{ConversationFile, Homes, LaunchPlan};
use crate::clock::iso;
use crate::event::{Envelope, Event, NEW_CONVERSATION};
use crate::hub::file;
use crate::ids::{Seq, TurnId};
use crate::image::ImageNote;

/// The most turns that a recap goes back: what lies further back no longer fits into one.
const RECAP_TURNS: usize = 32;

/// What earlier attempts of a turn have shown, as an earlier daemon stored it.
pub(super) async fn seen(context: &TurnContext, turn: TurnId) -> Result<Seen, TurnFault> {
    let mut seen = Seen::default();
    let mut attempt = None;
    let first = turn_start(context, turn).await?;
    read(context, first, |envelope| {
        if envelope.header.turn_id != Some(turn) {
            return;
        }
        if attempt.is_some() && attempt != envelope.header.attempt {
            seen.begin_attempt();
        }
        attempt = envelope.header.attempt;
        seen.event(&envelope.event);
    })
    .await?;
    Ok(seen)
}

/// The session's latest turns.
pub(super) async fn recap(context: &TurnContext) -> Result<Recap, TurnFault> {
    let mut first = None;
    let mut cursor = last(context).await?;
    for _ in 0..RECAP_TURNS {
        let Some(at) = cursor else { break };
        // Notices about the program stand before the first turn, and begin none.
        let Some(start) = context.journal.turn_start(&context.session, at).await? else {
            break;
        };
        first = Some(start);
        cursor = before(start);
    }
    let mut recap = Recap::default();
    earlier(context, |event| recap.event(event))?;
    read(context, first, |envelope| match &envelope.event {
        // What was before is over, and nobody wants to hear of it.
        Event::Notice { code, .. } if code == NEW_CONVERSATION => recap = Recap::default(),
        event => recap.event(event),
    })
    .await?;
    Ok(recap)
}

/// What happened from the first prompt on that was accepted after `said` (ISO 8601 text), and the
/// images of such prompts of the turn `turn`. Prompts of it that are among `next` are what the agent
/// is told now.
pub(super) async fn recap_since(
    context: &TurnContext,
    said: &str,
    (turn, next): (TurnId, &[&str]),
) -> Result<(Recap, Vec<ImageNote>), TurnFault> {
    let mut first = None;
    let mut cursor = last(context).await?;
    for _ in 0..RECAP_TURNS {
        let Some(at) = cursor else { break };
        let Some(start) = context.journal.turn_start(&context.session, at).await? else {
            break;
        };
        first = Some(start);
        let began = first_of(context, start).await?;
        if began.is_none_or(|event| *iso(event.header.at) <= *said) {
            break;
        }
        cursor = before(start);
    }
    let (mut recap, mut images, mut is_missing) = (Recap::default(), Vec::new(), false);
    read(context, first, |envelope| {
        if let Event::Prompt {
            text,
            images: notes,
            ..
        } = &envelope.event
        {
            let is_the_turns = envelope.header.turn_id == Some(turn);
            if is_the_turns && next.contains(&text.as_str()) {
                return;
            }
            is_missing |= *iso(envelope.header.at) > *said;
            if is_missing && is_the_turns {
                images.extend(notes.iter().cloned());
            }
        }
        if is_missing {
            recap.event(&envelope.event);
        }
    })
    .await?;
    Ok((recap, images))
}

/// Whether the session has a past that was not led from this state dir.
pub(super) fn is_from_elsewhere(context: &TurnContext) -> Result<bool, TurnFault> {
    let mut any = false;
    earlier(context, |_| any = true)?;
    Ok(any)
}

fn earlier(context: &TurnContext, visit: impl FnMut(&Event)) -> Result<(), TurnFault> {
    Ok(file::earlier(&context.state_dir, &context.session, visit)?)
}

/// The first event of a turn. Prompts that were cancelled while it ran lie within it.
async fn turn_start(context: &TurnContext, turn: TurnId) -> Result<Option<Seq>, TurnFault> {
    let mut cursor = last(context).await?;
    while let Some(at) = cursor {
        let Some(first) = context.journal.turn_start(&context.session, at).await? else {
            break;
        };
        let event = first_of(context, first).await?;
        if event.is_some_and(|event| event.header.turn_id == Some(turn)) {
            return Ok(Some(first));
        }
        cursor = before(first);
    }
    Ok(None)
}

/// The event that stands there.
async fn first_of(context: &TurnContext, first: Seq) -> Result<Option<Envelope>, TurnFault> {
    let after = first.get().saturating_sub(1);
    let mut tail = context.journal.tail(&context.session, after);
    let batch = tail.try_next().await?;
    let line = batch.as_ref().and_then(|batch| batch.lines().next());
    line.map(parse).transpose()
}

async fn last(context: &TurnContext) -> Result<Option<Seq>, TurnFault> {
    let last = context.journal.last_seq(&context.session).await?;
    Ok(Seq::new(last))
}

fn before(seq: Seq) -> Option<Seq> {
    Seq::new(seq.get() - 1)
}

/// Gives the events from `first` on to `visit`, as far as they are stored now.
async fn read(
    context: &TurnContext,
    first: Option<Seq>,
    mut visit: impl FnMut(&Envelope),
) -> Result<(), TurnFault> {
    let Some(first) = first else {
        return Ok(());
    };
    let after = first.get().saturating_sub(1);
    let mut tail = context.journal.tail(&context.session, after);
    while let Some(batch) = tail.try_next().await? {
        for line in batch.lines() {
            visit(&parse(line)?);
        }
    }
    Ok(())
}

fn parse(line: &[u8]) -> Result<Envelope, TurnFault> {
    Envelope::parse(line).map_err(|error| TurnFault::Internal(format!("in the journal: {error}")))
}

/// Whether the CLI, started by that plan, will find the conversation. True where nobody can tell.
pub(super) fn has_conversation(context: &TurnContext, plan: &LaunchPlan, id: &str) -> bool {
    let Some(conversation) = context.agent.conversation else {
        return true;
    };
    let variable = |name: &str| context.variable(plan, name);
    let homes = Homes {
        home: &context.spec.home,
        variable: &variable,
    };
    let file = conversation(&homes, id);
    // What cannot be read may be there: the CLI may see more than we do.
    files_of(&file).map_or(true, |files| !files.is_empty())
}

/// The files that a conversation may be in, by their names.
pub(super) fn files_of(file: &ConversationFile) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    find(&file.folder, file, file.depth, &mut found)?;
    found.sort_unstable();
    Ok(found)
}

fn find(
    folder: &Path,
    file: &ConversationFile,
    depth: usize,
    found: &mut Vec<PathBuf>,
) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if depth > 0 {
            if entry.path().is_dir() {
                find(&entry.path(), file, depth - 1, found)?;
            }
        } else if entry
            .file_name()
            .to_string_lossy()
            .ends_with(&file.name_end)
        {
            found.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_found_at_its_depth_by_the_end_of_its_name() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("sessions");
        let file = |depth, name_end: &str| ConversationFile {
            folder: folder.clone(),
            depth,
            name_end: name_end.to_owned(),
        };
        let found = |file: &ConversationFile| !files_of(file).unwrap().is_empty();
        assert!(!found(&file(1, "abc.jsonl")));
        std::fs::create_dir_all(folder.join("2026/11")).unwrap();
        std::fs::write(folder.join("stray"), "").unwrap();
        std::fs::write(folder.join("2026/11/rollout-abc.jsonl"), "").unwrap();
        assert!(found(&file(2, "-abc.jsonl")));
        assert!(!found(&file(2, "-abd.jsonl")));
        assert!(!found(&file(1, "-abc.jsonl")));
    }
}
