//! SQLite: connections and queries. Only the writer thread writes.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};

use super::digest::{Digest, of_batch, of_progress, of_prompt};
use super::{JournalError, SessionRow, TurnRow, TurnState};
use crate::clock::Timestamp;
use crate::event::Outcome;
use crate::ids::{RunId, Seq, SessionId, SpoolOffset, TurnId};

/// Opens for writing.
pub(super) fn open_writer(path: &Path) -> Result<Connection, JournalError> {
    let connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
         PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;
         PRAGMA journal_size_limit = 16777216; PRAGMA cache_size = -1024;",
    )?;
    Ok(connection)
}

/// Opens for reading.
pub(super) fn open_reader(path: &Path) -> Result<Connection, JournalError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.execute_batch(
        "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA cache_size = -1024;",
    )?;
    Ok(connection)
}

const SESSION_COLUMNS: &str = "id, agent, agent_session_id, workspace, task_taken, acked_seq, created_at, settings, closed_at,
     live_run, choices";

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
        closed_at: row
            .get::<_, Option<i64>>(8)?
            .map(|at| Timestamp::from_millis(unsigned(at))),
        live_run: row
            .get::<_, Option<String>>(9)?
            .map(|run| parse("run id", &run))
            .transpose()?,
        choices: row.get(10)?,
    })
}

/// A turn's row, in the order that [`turn`] reads; the conditions follow.
macro_rules! select_turn {
    ($conditions:literal) => {
        concat!(
            "SELECT id, command_id, prompt, state, attempt, run_id, spool_offset, ordinal_next,
                    adapter, outcome, created_at, author, images
             FROM turn WHERE session_id = ?1 ",
            $conditions
        )
    };
}

pub(super) fn turns(
    connection: &Connection,
    session: &SessionId,
) -> Result<Vec<TurnRow>, JournalError> {
    let mut statement = connection.prepare_cached(select_turn!("ORDER BY ordinal"))?;
    let mut rows = statement.query([session.as_str()])?;
    let mut turns = Vec::new();
    while let Some(row) = rows.next()? {
        turns.push(turn(row)?);
    }
    Ok(turns)
}

pub(super) fn accepted_turn(
    connection: &Connection,
    session: &SessionId,
    id: TurnId,
    command_id: Option<&str>,
) -> Result<Option<TurnRow>, JournalError> {
    let mut statement = connection.prepare_cached(select_turn!(
        "AND (id = ?2 OR command_id = ?3) ORDER BY ordinal DESC LIMIT 1"
    ))?;
    let mut rows = statement.query(params![session.as_str(), id.to_string(), command_id])?;
    rows.next()?.map(turn).transpose()
}

/// The bytes of an image of a turn that is not over.
pub(super) fn image(
    connection: &Connection,
    turn: TurnId,
    sha256: &str,
) -> Result<Option<Vec<u8>>, JournalError> {
    let mut statement =
        connection.prepare_cached("SELECT body FROM image WHERE turn_id = ?1 AND sha256 = ?2")?;
    let mut rows = statement.query(params![turn.to_string(), sha256])?;
    Ok(rows.next()?.map(|row| row.get(0)).transpose()?)
}

pub(super) fn newest_adapter(
    connection: &Connection,
    session: &SessionId,
) -> Result<Option<Vec<u8>>, JournalError> {
    let mut statement = connection.prepare_cached(
        "SELECT adapter FROM turn WHERE session_id = ?1 AND adapter IS NOT NULL
         ORDER BY ordinal DESC LIMIT 1",
    )?;
    let mut rows = statement.query([session.as_str()])?;
    let row = rows.next()?;
    Ok(row.map(|row| row.get(0)).transpose()?)
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
        author: row
            .get::<_, Option<String>>(11)?
            .map(|author| parse("author", &author))
            .transpose()?,
        images: match row.get::<_, Option<String>>(12)? {
            None => Vec::new(),
            Some(notes) => serde_json::from_str(&notes).map_err(|error| {
                JournalError::Corrupt(format!("a turn's images are no notes of images: {error}"))
            })?,
        },
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

/// A stored batch whose digest is right.
pub(super) struct Whole {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) body: Vec<u8>,
}

/// The first batch that reaches `seq` or lies behind it, of those that are as they were stored.
pub(super) fn whole_batch(
    connection: &Connection,
    session: &SessionId,
    seq: u64,
) -> Result<Option<Whole>, JournalError> {
    let mut statement = connection.prepare_cached(
        "SELECT first_seq, last_seq, digest, body FROM event_batch
         WHERE session_id = ?1 AND first_seq >=
           coalesce((SELECT max(first_seq) FROM event_batch
                     WHERE session_id = ?1 AND first_seq <= ?2), 0)
         ORDER BY first_seq",
    )?;
    let mut rows = statement.query(params![session.as_str(), signed(seq)])?;
    while let Some(row) = rows.next()? {
        if let Some(whole) = whole(row, session)
            && whole.last >= seq
        {
            return Ok(Some(whole));
        }
    }
    Ok(None)
}

/// The last batch that is as it was stored.
pub(super) fn last_whole(
    connection: &Connection,
    session: &SessionId,
) -> Result<Option<Whole>, JournalError> {
    let mut statement = connection.prepare_cached(
        "SELECT first_seq, last_seq, digest, body FROM event_batch
         WHERE session_id = ?1 ORDER BY first_seq DESC",
    )?;
    let mut rows = statement.query([session.as_str()])?;
    while let Some(row) = rows.next()? {
        if let Some(whole) = whole(row, session) {
            return Ok(Some(whole));
        }
    }
    Ok(None)
}

/// A row that cannot be read as what it should be was altered as surely as one with another digest.
pub(super) fn whole(row: &Row<'_>, session: &SessionId) -> Option<Whole> {
    let first = u64::try_from(row.get::<_, i64>(0).ok()?).ok()?;
    let last = u64::try_from(row.get::<_, i64>(1).ok()?).ok()?;
    let body: Vec<u8> = row.get(3).ok()?;
    let digest = of_batch(session.as_str(), first, last, &body);
    (row.get::<_, i64>(2).ok()? == digest).then_some(Whole { first, last, body })
}

/// The session's agent, and up to where its events are no longer kept.
pub(super) fn pruned(
    connection: &Connection,
    session: &SessionId,
) -> Result<Option<(String, u64)>, JournalError> {
    let mut statement =
        connection.prepare_cached("SELECT agent, pruned_seq FROM session WHERE id = ?1")?;
    let row = statement.query_row([session.as_str()], |row| {
        Ok((row.get(0)?, unsigned(row.get(1)?)))
    });
    Ok(row.optional()?)
}

/// Every session.
pub(super) fn session_ids(connection: &Connection) -> Result<Vec<SessionId>, JournalError> {
    let mut statement = connection.prepare("SELECT id FROM session")?;
    let ids = statement.query_map([], |row| row.get::<_, String>(0))?;
    ids.map(|id| parse("session id", &id?)).collect()
}

/// The runs whose raw output may still be needed: of turns that are open, or whose end the Hub has
/// not acknowledged.
pub(super) fn needed_runs(connection: &Connection) -> Result<Vec<RunId>, JournalError> {
    let mut statement = connection.prepare_cached(
        "SELECT run_id FROM turn JOIN session ON session.id = turn.session_id
         WHERE run_id IS NOT NULL AND (state <> 'ended' OR coalesce(last_seq, 0) > acked_seq)
         UNION SELECT live_run FROM session WHERE live_run IS NOT NULL AND closed_at IS NULL",
    )?;
    let runs = statement.query_map([], |row| row.get::<_, String>(0))?;
    runs.map(|run| parse("run id", &run?)).collect()
}

/// Writes the digest of a session's row, whatever has changed in it.
pub(super) fn seal_session(
    connection: &Connection,
    session: &SessionId,
) -> Result<(), JournalError> {
    if let Some((_, digest)) = session_digests(connection, session)? {
        connection
            .prepare_cached("UPDATE session SET digest = ?2 WHERE id = ?1")?
            .execute(params![session.as_str(), digest])?;
    }
    Ok(())
}

/// The digest in a session's row, and the one that it should be.
fn session_digests(
    connection: &Connection,
    session: &SessionId,
) -> Result<Option<(i64, i64)>, JournalError> {
    let mut statement = connection.prepare_cached(
        "SELECT digest, agent, agent_session_id, workspace, task_taken, acked_seq, reserved_seq,
                pruned_seq
         FROM session WHERE id = ?1",
    )?;
    let row = statement.query_row([session.as_str()], |row| {
        let mut digest = Digest::new(b'S').bytes(session.as_str().as_bytes());
        for text in 1..=3 {
            digest = digest.text(row.get::<_, Option<String>>(text)?.as_deref());
        }
        for number in 4..=7 {
            digest = digest.number(row.get::<_, i64>(number)?.cast_unsigned());
        }
        Ok((row.get(0)?, digest.value()))
    });
    Ok(row.optional()?)
}

/// Whether the rows of sessions and turns are as they were stored.
pub(super) fn verify_rows(connection: &Connection) -> Result<(), JournalError> {
    let altered = |what: &str| JournalError::Corrupt(format!("the row of {what} was altered"));
    for session in session_ids(connection)? {
        if session_digests(connection, &session)?.is_none_or(|(is, should)| is != should) {
            return Err(altered(&format!("session {session}")));
        }
    }
    let mut turns = connection.prepare(
        "SELECT id, session_id, command_id, prompt, spool_offset, ordinal_next, adapter,
                prompt_digest, progress_digest, author, images FROM turn",
    )?;
    let mut rows = turns.query([])?;
    while let Some(row) = rows.next()? {
        let (id, session): (String, String) = (row.get(0)?, row.get(1)?);
        let (command, prompt): (Option<String>, String) = (row.get(2)?, row.get(3)?);
        let adapter: Option<Vec<u8>> = row.get(6)?;
        let (offset, ordinal) = (unsigned(row.get(4)?), unsigned(row.get(5)?));
        let progress = of_progress(&id, offset, ordinal, &adapter.unwrap_or_default());
        let author: Option<String> = row.get(9)?;
        let images: Option<String> = row.get(10)?;
        let prompt = of_prompt(
            (&id, &session),
            command.as_deref(),
            &prompt,
            author.as_deref(),
            images.as_deref(),
        );
        if (row.get::<_, i64>(7)?, row.get::<_, i64>(8)?) != (prompt, progress) {
            return Err(altered(&format!("turn {id}")));
        }
    }
    Ok(())
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
