//! What the CLI itself stored of a turn that is over, read from its database or from the file of
//! the conversation.
//!
//! Reads alone, as the user that the CLI ran as, in bounded time; what cannot be read says nothing
//! and is no fault. What is there is the CLI's, so it is trusted no more than its output.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use uuid::Uuid;

use super::context::TurnContext;
use super::history::files_of;
use crate::agent::{AgentSession, ConversationFile, Homes, Stored};
use crate::clock::{Clock, Timestamp};
use crate::ids::RunId;
use crate::process::as_user;

/// Far more than the look at an index takes, for a disk that is busy. A database that takes longer
/// is made to.
const LIMIT: Duration = Duration::from_secs(2);
/// How many of SQLite's instructions pass between two looks at the clock.
const PACE: i32 = 10_000;
/// The longest message that is read, in bytes: OpenCode's say less than 4 KiB.
const LONGEST: i32 = 4 * 1024 * 1024;
/// How much of the end of a conversation's file is read: room for the longest prompt twice, which
/// stands before what is looked for.
const END: u64 = 4 * 1024 * 1024;

/// What the CLI's database says of the last message in its conversation `session`.
pub(super) async fn last_message(
    context: &TurnContext,
    run: RunId,
    session: Option<&str>,
) -> Stored {
    let (Some(store), Some(session)) = (&context.agent.store, session) else {
        return Stored::Unknown;
    };
    let Some(Some(file)) = homes(context, run, |homes| (store.file)(homes)) else {
        return Stored::Unknown;
    };
    let (session, clock) = (session.to_owned(), context.clock);
    let reading = move || read(&file, store.last_message, &session, clock);
    match look(context, reading).await.flatten() {
        Some(message) => (store.read)(&message),
        None => Stored::Unknown,
    }
}

/// Whether the file of the conversation `session` shows that the agent has answered in a turn that
/// began at `since` or later. False where nothing says so.
pub(super) async fn has_answered(
    context: &TurnContext,
    run: RunId,
    session: Option<&str>,
    since: Timestamp,
) -> bool {
    let agent = context.agent;
    let (Some(conversation), Some(has_answered), Some(session)) =
        (agent.conversation, agent.has_answered, session)
    else {
        return false;
    };
    let Some(file) = homes(context, run, |homes| conversation(homes, session)) else {
        return false;
    };
    let end = look(context, move || end_of(&file)).await;
    end.is_some_and(|end| has_answered(&end, since))
}

/// When the user said the last that the CLI's conversation `session` still has, as its own record of
/// that shows it; none where nothing says so.
pub(super) async fn last_said(context: &TurnContext, run: RunId, session: &str) -> Option<String> {
    let forgets = context.agent.forgets.as_ref()?;
    let file = homes(context, run, |homes| (forgets.file)(homes, session))??;
    let records = look(context, move || ends_of(&file)).await?;
    let said = records
        .iter()
        .filter_map(|record| (forgets.last_said)(record));
    said.max()
}

/// Reads what is the CLI's, as its user.
async fn look<T: Send + 'static>(
    context: &TurnContext,
    reading: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Option<T> {
    let owner = context.user.as_ref().map(|user| (user.uid, user.gid));
    let reading = tokio::task::spawn_blocking(move || match owner {
        Some(owner) => as_user(owner, reading),
        None => reading(),
    });
    match tokio::time::timeout(LIMIT, reading).await {
        Ok(Ok(Ok(found))) => Some(found),
        Ok(Ok(Err(error))) => {
            tracing::debug!(%error, "what the agent has stored itself cannot be read");
            None
        }
        Ok(Err(_)) | Err(_) => None,
    }
}

/// Where the CLI keeps its files.
fn homes<T>(context: &TurnContext, run: RunId, place: impl FnOnce(&Homes<'_>) -> T) -> Option<T> {
    // any plan tells that
    let start = context.start(AgentSession::New(Uuid::nil()), run).ok()?;
    let variable = |name: &str| context.variable(start.launch(), name);
    Some(place(&Homes {
        home: &context.spec.home,
        variable: &variable,
    }))
}

/// The end of the file that a conversation is in.
fn end_of(conversation: &ConversationFile) -> io::Result<Vec<u8>> {
    let files = files_of(conversation)?;
    read_end(files.last().ok_or(io::ErrorKind::NotFound)?)
}

/// The ends of the files of which one is the conversation's.
fn ends_of(conversation: &ConversationFile) -> io::Result<Vec<Vec<u8>>> {
    let files = files_of(conversation)?;
    files.iter().map(|file| read_end(file)).collect()
}

fn read_end(file: &Path) -> io::Result<Vec<u8>> {
    is_file(file)?;
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(END)))?;
    let mut end = Vec::new();
    file.take(END).read_to_end(&mut end)?;
    Ok(end)
}

/// Opening anything else (a FIFO) may never end.
fn is_file(path: &Path) -> io::Result<()> {
    if path.metadata()?.is_file() {
        return Ok(());
    }
    Err(io::ErrorKind::InvalidInput.into())
}

fn read(file: &Path, query: &str, session: &str, clock: Clock) -> io::Result<Option<String>> {
    is_file(file)?;
    row(file, query, session, clock).map_err(io::Error::other)
}

fn row(file: &Path, query: &str, session: &str, clock: Clock) -> rusqlite::Result<Option<String>> {
    let deadline = clock.now() + LIMIT;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(LIMIT / 4)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LONGEST)?;
    connection.progress_handler(PACE, Some(move || clock.now() > deadline))?;
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;")?;
    let mut statement = connection.prepare(query)?;
    statement.query_row([session], |row| row.get(0)).optional()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_writer_that_was_killed_left_in_the_log_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.db");
        let read = |query| read(&file, query, "s", Clock);
        assert!(read("SELECT 1").is_err(), "there is none, and none is made");
        assert!(!file.exists());
        let writer = Connection::open(&file).unwrap();
        writer
            .execute_batch(
                "PRAGMA journal_mode = WAL; CREATE TABLE message (id, data);
                 INSERT INTO message VALUES ('s', 'said');",
            )
            .unwrap();
        // as if it were killed: its end would tidy up
        std::mem::forget(writer);
        let query = "SELECT data FROM message WHERE id = ?1";
        assert_eq!(read(query).unwrap().as_deref(), Some("said"));
        assert!(read("SELECT data FROM other WHERE id = ?1").is_err());
        let none = "SELECT data FROM message WHERE id = ?1 || 'x'";
        assert_eq!(read(none).unwrap(), None);
    }

    #[test]
    fn the_end_of_a_conversations_file_is_read_and_nothing_that_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let conversation = ConversationFile {
            folder: dir.path().to_owned(),
            depth: 0,
            name_end: "-a.jsonl".to_owned(),
        };
        assert!(end_of(&conversation).is_err(), "there is none");
        let file = dir.path().join("rollout-a.jsonl");
        let mut content = vec![b'x'; usize::try_from(END).unwrap()];
        content.extend(b"the end");
        std::fs::write(&file, &content).unwrap();
        let end = end_of(&conversation).unwrap();
        assert_eq!((end.len() as u64, end.ends_with(b"the end")), (END, true));
        std::fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(end_of(&conversation).is_err(), "it would never end");
    }

    #[test]
    fn a_database_that_never_answers_is_made_to() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.db");
        Connection::open(&file)
            .unwrap()
            .execute_batch("CREATE TABLE t (x)")
            .unwrap();
        let endless = "WITH RECURSIVE n(x) AS (SELECT ?1 UNION ALL SELECT x FROM n)
            SELECT count(*) FROM n";
        assert!(read(&file, endless, "s", Clock).is_err());
    }
}
