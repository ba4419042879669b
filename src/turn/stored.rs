//! What the CLI itself stored of a turn that is over, read from its database.
//!
//! Reads alone, as the user that the CLI ran as, in bounded time; what cannot be read says nothing
//! and is no fault. The database is the CLI's, so its content is trusted no more than its output.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use uuid::Uuid;

use super::context::TurnContext;
use crate::agent::{AgentSession, Homes, Store, Stored};
use crate::clock::Clock;
use crate::ids::RunId;
use crate::process::as_user;

/// Far more than the look at an index takes, for a disk that is busy. A database that takes longer
/// is made to.
const LIMIT: Duration = Duration::from_secs(2);
/// How many of SQLite's instructions pass between two looks at the clock.
const PACE: i32 = 10_000;
/// The longest message that is read, in bytes: OpenCode's say less than 4 KiB.
const LONGEST: i32 = 4 * 1024 * 1024;

/// What the CLI's database says of the last message in its conversation `session`.
pub(super) async fn last_message(
    context: &TurnContext,
    run: RunId,
    session: Option<&str>,
) -> Stored {
    let (Some(store), Some(session)) = (&context.agent.store, session) else {
        return Stored::Unknown;
    };
    let Some(file) = place(context, store, run) else {
        return Stored::Unknown;
    };
    let (session, clock) = (session.to_owned(), context.clock);
    let owner = context.user.as_ref().map(|user| (user.uid, user.gid));
    let reading = tokio::task::spawn_blocking(move || {
        let read = || read(&file, store.last_message, &session, clock);
        match owner {
            Some(owner) => as_user(owner, read),
            None => read(),
        }
    });
    match tokio::time::timeout(LIMIT, reading).await {
        Ok(Ok(Ok(Some(message)))) => (store.read)(&message),
        Ok(Ok(Err(error))) => {
            tracing::debug!(%error, "the agent's own database cannot be read");
            Stored::Unknown
        }
        Ok(Ok(Ok(None)) | Err(_)) | Err(_) => Stored::Unknown,
    }
}

fn place(context: &TurnContext, store: &Store, run: RunId) -> Option<PathBuf> {
    // any plan tells where the CLI keeps its files
    let start = context.start(AgentSession::New(Uuid::nil()), run).ok()?;
    let variable = |name: &str| context.variable(start.launch(), name);
    (store.file)(&Homes {
        home: &context.spec.home,
        variable: &variable,
    })
}

fn read(file: &Path, query: &str, session: &str, clock: Clock) -> io::Result<Option<String>> {
    // opening anything else (a FIFO) may never end
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
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
