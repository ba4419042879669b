//! SQLite: opening, migrating, and the queries. Only the writer thread writes.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};

use super::{JournalError, SessionRow, TurnRow, TurnState};
use crate::clock::Timestamp;
use crate::event::Outcome;
use crate::ids::{Seq, SessionId, SpoolOffset};

/// What leads from each version to the next, the empty file being version 0. Only ever added to.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    // What a session was made with, without secrets, for the next daemon to open it again; no
    // settings: whoever leads the session gives them each time. Closed: no daemon opens it again.
    "ALTER TABLE session ADD COLUMN settings TEXT;
     ALTER TABLE session ADD COLUMN closed_at INTEGER;",
];

/// Opens for writing; creates and migrates as needed.
pub(super) fn open(path: &Path) -> Result<Connection, JournalError> {
    // SQLite creates its files with the process's umask; the journal must be private from its
    // first byte, so the file is made before SQLite sees it (the -wal and -shm copy its mode).
    if !path.exists() {
        crate::files::create_private(path)
            .map_err(|error| JournalError::Corrupt(format!("{}: {error}", path.display())))?;
        crash_point!("journal.file_made");
    }
    let mut connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;
         PRAGMA journal_size_limit = 16777216; PRAGMA cache_size = -1024;",
    )?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// Opens for reading.
pub(super) fn open_reader(path: &Path) -> Result<Connection, JournalError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cache_size = -1024;")?;
    Ok(connection)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), JournalError> {
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let missing = usize::try_from(version)
        .ok()
        .and_then(|version| MIGRATIONS.get(version..));
    let Some(missing) = missing else {
        return Err(JournalError::Corrupt(format!(
            "{} has version {version}, this program knows {}: use the newer program, or another \
             --state-dir",
            path.display(),
            MIGRATIONS.len()
        )));
    };
    if missing.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    for step in missing {
        transaction.execute_batch(step)?;
    }
    let reached = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    transaction.pragma_update(None, "user_version", reached)?;
    crash_point!("journal.before_migration");
    transaction.commit()?;
    crash_point!("journal.migrated");
    Ok(())
}

const SESSION_COLUMNS: &str = "id, agent, agent_session_id, workspace, task_taken, acked_seq, created_at, settings, closed_at";

pub(super) fn session(
    connection: &Connection,
    id: &SessionId,
) -> Result<Option<SessionRow>, JournalError> {
    let query = format!("SELECT {SESSION_COLUMNS} FROM session WHERE id = ?1");
    let mut statement = connection.prepare_cached(&query)?;
    let mut rows = statement.query([id.as_str()])?;
    rows.next()?.map(session_row).transpose()
}

/// Every session, the newest first.
pub(super) fn sessions(connection: &Connection) -> Result<Vec<SessionRow>, JournalError> {
    let query =
        format!("SELECT {SESSION_COLUMNS} FROM session ORDER BY created_at DESC, rowid DESC");
    let mut statement = connection.prepare_cached(&query)?;
    let mut rows = statement.query([])?;
    let mut sessions = Vec::new();
    while let Some(row) = rows.next()? {
        sessions.push(session_row(row)?);
    }
    Ok(sessions)
}

fn session_row(row: &Row<'_>) -> Result<SessionRow, JournalError> {
    Ok(SessionRow {
        id: parse("session id", &row.get::<_, String>(0)?)?,
        agent: row.get(1)?,
        agent_session_id: row.get(2)?,
        workspace: row.get(3)?,
        task_taken: row.get(4)?,
        acked_seq: unsigned(row.get(5)?),
        created_at: Timestamp::from_millis(unsigned(row.get(6)?)),
        settings: row.get(7)?,
        is_closed: row.get::<_, Option<i64>>(8)?.is_some(),
    })
}

pub(super) fn turns(
    connection: &Connection,
    session: &SessionId,
) -> Result<Vec<TurnRow>, JournalError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, command_id, prompt, state, attempt, run_id, spool_offset, ordinal_next,
                adapter, outcome, created_at
         FROM turn WHERE session_id = ?1 ORDER BY ordinal",
    )?;
    let mut rows = statement.query([session.as_str()])?;
    let mut turns = Vec::new();
    while let Some(row) = rows.next()? {
        turns.push(turn(row)?);
    }
    Ok(turns)
}

fn turn(row: &Row<'_>) -> Result<TurnRow, JournalError> {
    let state: String = row.get(3)?;
    let run: Option<String> = row.get(5)?;
    let outcome: Option<String> = row.get(9)?;
    Ok(TurnRow {
        id: parse("turn id", &row.get::<_, String>(0)?)?,
        command_id: row.get(1)?,
        prompt: row.get(2)?,
        state: match state.as_str() {
            "queued" => TurnState::Queued,
            // A verdict before the end is one that was asked for.
            "running" if outcome.is_some() => TurnState::Cancelling,
            "running" => TurnState::Running,
            _ => TurnState::Ended,
        },
        attempt: row.get(4)?,
        run: run.map(|run| parse("run id", &run)).transpose()?,
        offset: SpoolOffset::new(unsigned(row.get(6)?)),
        ordinal_next: unsigned(row.get(7)?),
        adapter: row.get(8)?,
        outcome: outcome.map(|outcome| outcome_from(&outcome)).transpose()?,
        created_at: Timestamp::from_millis(unsigned(row.get(10)?)),
    })
}

pub(super) fn turn_start(
    connection: &Connection,
    session: &SessionId,
    seq: Seq,
) -> Result<Option<Seq>, JournalError> {
    let mut statement = connection.prepare_cached(
        "SELECT max(first_seq) FROM turn WHERE session_id = ?1 AND first_seq <= ?2",
    )?;
    let first: Option<i64> = statement
        .query_row(params![session.as_str(), signed(seq.get())], |row| {
            row.get(0)
        })?;
    Ok(first.and_then(|first| Seq::new(unsigned(first))))
}

/// The batch that holds `seq`, or the first one after it.
pub(super) fn batch_at(
    connection: &Connection,
    session: &SessionId,
    seq: u64,
) -> Result<Option<(u64, u64, Vec<u8>)>, JournalError> {
    let mut statement = connection.prepare_cached(
        "SELECT first_seq, last_seq, body FROM event_batch
         WHERE session_id = ?1 AND first_seq >=
           coalesce((SELECT max(first_seq) FROM event_batch
                     WHERE session_id = ?1 AND first_seq <= ?2), 0)
           AND last_seq >= ?2
         ORDER BY first_seq LIMIT 1",
    )?;
    let batch = statement
        .query_row(params![session.as_str(), signed(seq)], |row| {
            Ok((unsigned(row.get(0)?), unsigned(row.get(1)?), row.get(2)?))
        })
        .optional()?;
    Ok(batch)
}

pub(super) fn last_seq(connection: &Connection, session: &SessionId) -> Result<u64, JournalError> {
    let mut statement = connection.prepare_cached(
        "SELECT last_seq FROM event_batch WHERE session_id = ?1
         ORDER BY first_seq DESC LIMIT 1",
    )?;
    let last: Option<i64> = statement
        .query_row([session.as_str()], |row| row.get(0))
        .optional()?;
    Ok(last.map_or(0, unsigned))
}

/// Whether no session was ever stored.
pub(super) fn is_empty(connection: &Connection) -> Result<bool, JournalError> {
    let query =
        "SELECT NOT EXISTS(SELECT 1 FROM session) AND NOT EXISTS(SELECT 1 FROM event_batch)";
    Ok(connection.query_row(query, [], |row| row.get(0))?)
}

/// The contract's own word for an outcome.
pub(super) fn outcome_text(outcome: Outcome) -> Result<String, JournalError> {
    match serde_json::to_value(outcome) {
        Ok(serde_json::Value::String(text)) => Ok(text),
        _ => Err(JournalError::Corrupt(format!(
            "outcome {outcome:?} has no name"
        ))),
    }
}

pub(super) fn outcome_from(text: &str) -> Result<Outcome, JournalError> {
    serde_json::from_value(serde_json::Value::from(text))
        .map_err(|_| JournalError::Corrupt(format!("unknown outcome `{text}`")))
}

pub(super) fn parse<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, JournalError> {
    text.parse()
        .map_err(|_| JournalError::Corrupt(format!("`{text}` is no {what}")))
}

/// SQLite's integers are signed; ours count bytes and events and stay far below the sign bit.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
