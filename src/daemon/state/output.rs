//! A turn's events as a file of JSON lines, for whoever would rather read a file than ask.
//!
//! Written from the journal, after the commit: what is in the file is durable elsewhere, redacted,
//! and in order. How far it got is derived from its own last complete line, so that neither a
//! killed daemon nor a full disk leaves an event out or in twice.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::files;
use crate::ids::{SessionId, TurnId};
use crate::journal::{Journal, JournalError, StoredBatch};

/// Pauses after a failed write: the disk may be full, and have room again.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// What is read of a file at once, from its end.
const CHUNK: u64 = 64 * 1_024;

/// The file of a turn's events.
pub fn output_file(state_dir: &Path, turn: TurnId) -> PathBuf {
    state_dir.join("output").join(format!("{turn}.jsonl"))
}

/// Where an event stands, and whether it is its turn's last.
#[derive(Deserialize)]
struct Place {
    seq: u64,
    turn_id: Option<TurnId>,
    #[serde(rename = "type")]
    kind: String,
}

/// Writes the turn's events to its file until the last one is there. To be dropped at any time.
pub(in crate::daemon) async fn write(
    journal: Journal,
    session: SessionId,
    turn: TurnId,
    path: PathBuf,
) {
    let mut pause = RETRY_FIRST;
    loop {
        match follow(&journal, &session, turn, &path).await {
            Ok(()) => return,
            Err(Fault::Journal(error)) => {
                tracing::error!(%error, path = %path.display(), "a turn's events are not written any more");
                return;
            }
            Err(Fault::File(error)) => {
                tracing::warn!(%error, path = %path.display(), "cannot write a turn's events; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_LONGEST);
            }
        }
    }
}

enum Fault {
    File(io::Error),
    Journal(JournalError),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

impl From<JournalError> for Fault {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

async fn follow(
    journal: &Journal,
    session: &SessionId,
    turn: TurnId,
    path: &Path,
) -> Result<(), Fault> {
    let (mut file, last) = open(path)?;
    if last.as_ref().is_some_and(|place| place.kind == "end") {
        return Ok(());
    }
    let mut tail = journal.tail(session, last.map_or(0, |place| place.seq));
    loop {
        let batch = tail.next().await?;
        if append(&mut file, &batch, turn)? {
            file.sync_all()?;
            return Ok(());
        }
    }
}

/// Appends the turn's events of a batch; whether its last one is among them.
fn append(file: &mut File, batch: &StoredBatch, turn: TurnId) -> io::Result<bool> {
    let mut text = Vec::new();
    let mut ended = false;
    for line in batch.lines() {
        let Ok(place) = serde_json::from_slice::<Place>(line) else {
            continue;
        };
        if place.turn_id == Some(turn) {
            text.extend_from_slice(line);
            text.push(b'\n');
            ended |= place.kind == "end";
        }
    }
    file.write_all(&text)?;
    Ok(ended)
}

/// Opens the file at the end of its last complete line, and says what that is.
fn open(path: &Path) -> io::Result<(File, Option<Place>)> {
    if let Some(folder) = path.parent() {
        files::create_private_dir(folder)?;
    }
    drop(files::append_private(path)?);
    let mut file = File::options().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let end = after_newline_before(&file, length)?;
    file.set_len(end)?;
    let begin = after_newline_before(&file, end.saturating_sub(1))?;
    let mut line = Vec::new();
    file.seek(SeekFrom::Start(begin))?;
    file.read_to_end(&mut line)?;
    // A line that is none of ours cannot be gone on from: then the file is written anew.
    let last = serde_json::from_slice(&line).ok();
    if last.is_none() {
        file.set_len(0)?;
    }
    file.seek(SeekFrom::End(0))?;
    Ok((file, last))
}

/// The place after the last newline before `end`; 0 where there is none.
fn after_newline_before(mut file: &File, end: u64) -> io::Result<u64> {
    let mut end = end;
    while end > 0 {
        let begin = end.saturating_sub(CHUNK);
        let mut chunk = Vec::new();
        file.seek(SeekFrom::Start(begin))?;
        Read::take(file, end - begin).read_to_end(&mut chunk)?;
        if let Some(at) = memchr::memrchr(b'\n', &chunk) {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use uuid::Uuid;

    use super::*;
    use crate::clock::Timestamp;
    use crate::event::{Event, Outcome};
    use crate::ids::EventId;
    use crate::journal::{Batch, NewEvent};

    const OWN: TurnId = TurnId::from_uuid(Uuid::from_u128(1));
    const OTHER: TurnId = TurnId::from_uuid(Uuid::from_u128(2));

    async fn store(journal: &Journal, session: &SessionId, turn: TurnId, text: Option<&str>) {
        let event = match text {
            Some(text) => Event::Token {
                text: text.to_owned(),
                message_id: None,
                parent_call_id: None,
            },
            None => Event::End {
                outcome: Outcome::Completed,
                error: None,
                duration_ms: None,
            },
        };
        let id = EventId::from_uuid(Uuid::new_v4());
        let at = Timestamp::from_millis(1);
        let mut batch = Batch::new(session, "claude");
        let event = NewEvent::encode(&event, id, at, Some((turn, 1))).unwrap();
        batch.events.push(event);
        journal.commit(batch).await.unwrap();
    }

    #[tokio::test]
    async fn wherever_a_file_was_cut_it_is_completed_without_a_gap_or_a_repeat() {
        let dir = tempfile::tempdir().unwrap();
        let session: SessionId = "s1".parse().unwrap();
        let journal = Journal::open(&dir.path().join("journal.db")).unwrap();
        for (turn, text) in [
            (OTHER, Some("not this")),
            (OWN, Some("one")),
            (OWN, Some("two\nlines")),
            (OTHER, None),
            (OWN, Some(&"long ".repeat(30_000))),
            (OWN, None),
        ] {
            store(&journal, &session, turn, text).await;
        }
        let path = output_file(dir.path(), OWN);
        write(journal.clone(), session.clone(), OWN, path.clone()).await;
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(memchr::memchr_iter(b'\n', &whole).count(), 4);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        for cut in (0..whole.len()).step_by(997).chain([1, whole.len() - 1]) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            write(journal.clone(), session.clone(), OWN, path.clone()).await;
            assert!(std::fs::read(&path).unwrap() == whole, "cut at {cut}");
        }
    }
}
