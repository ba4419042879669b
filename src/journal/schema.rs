//! Making the tables, and bringing those of an earlier version up to date. Forward only.

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::JournalError;
use super::digest::{of_batch, of_progress, of_prompt};
use super::store::{seal_session, signed, unsigned};
use crate::ids::SessionId;

type Step = fn(&Transaction<'_>) -> Result<(), JournalError>;

/// Each makes a version from the one before; the first from nothing.
const STEPS: &[Step] = &[
    |transaction| Ok(transaction.execute_batch(include_str!("schema.sql"))?),
    // What a session was made with, without secrets, for the next daemon to open it again; no
    // settings: whoever leads the session gives them each time. Closed: no daemon opens it again.
    |transaction| {
        Ok(transaction.execute_batch(
            "ALTER TABLE session ADD COLUMN settings TEXT;
             ALTER TABLE session ADD COLUMN closed_at INTEGER;",
        )?)
    },
    bounds,
    // The session's long-lived process, which may run while no turn does.
    |transaction| Ok(transaction.execute_batch("ALTER TABLE session ADD COLUMN live_run TEXT;")?),
    // What the session's participants have chosen over its settings.
    |transaction| Ok(transaction.execute_batch("ALTER TABLE session ADD COLUMN choices TEXT;")?),
    // On whose behalf a prompt is.
    |transaction| Ok(transaction.execute_batch("ALTER TABLE turn ADD COLUMN author TEXT;")?),
    // Which images go with a prompt, and the images of turns that are not over.
    |transaction| {
        Ok(transaction.execute_batch(
            "ALTER TABLE turn ADD COLUMN images TEXT;
             CREATE TABLE image(
               turn_id TEXT NOT NULL REFERENCES turn(id),
               sha256  TEXT NOT NULL,
               body    BLOB NOT NULL,
               PRIMARY KEY(turn_id, sha256)
             ) STRICT;",
        )?)
    },
];

/// What the file is, before it is brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing was in it.
    Empty,
    /// A journal.
    Journal,
}

/// Brings the tables up to date.
pub(super) fn migrate(connection: &mut Connection) -> Result<Found, JournalError> {
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let known = signed(STEPS.len() as u64);
    let steps = usize::try_from(version)
        .ok()
        .and_then(|done| STEPS.get(done..));
    let Some(steps) = steps else {
        // A newer program says it twice; a turned bit does not.
        return Err(match noted_version(connection)? {
            Some(noted) if noted == version.to_string() => JournalError::Newer { version, known },
            _ => JournalError::Corrupt(format!("its version is {version}")),
        });
    };
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in steps {
        step(&transaction)?;
    }
    if !steps.is_empty() {
        transaction.pragma_update(None, "user_version", known)?;
        transaction.execute(
            "INSERT OR REPLACE INTO meta(key, value) VALUES ('version', ?1)",
            [known.to_string()],
        )?;
    }
    crash_point!("journal.before_migration");
    transaction.commit()?;
    crash_point!("journal.migrated");
    Ok(if version == 0 {
        Found::Empty
    } else {
        Found::Journal
    })
}

fn noted_version(connection: &Connection) -> Result<Option<String>, JournalError> {
    meta(connection, "version")
}

/// A fact about the journal itself.
pub(super) fn meta(connection: &Connection, key: &str) -> Result<Option<String>, JournalError> {
    let query = "SELECT value FROM meta WHERE key = ?1";
    Ok(connection
        .query_row(query, [key], |row| row.get(0))
        .optional()?)
}

/// Digests for what the first version stored without.
fn bounds(transaction: &Transaction<'_>) -> Result<(), JournalError> {
    transaction.execute_batch(include_str!("bounds.sql"))?;
    let mut add = transaction.prepare(
        "INSERT INTO event_batch(session_id, first_seq, last_seq, at, digest, body)
         VALUES (?1, ?2, ?3, (SELECT created_at FROM session WHERE id = ?1 UNION SELECT 0), ?4, ?5)",
    )?;
    let mut old =
        transaction.prepare("SELECT session_id, first_seq, last_seq, body FROM event_batch_1")?;
    let mut rows = old.query([])?;
    while let Some(row) = rows.next()? {
        let (session, body): (String, Vec<u8>) = (row.get(0)?, row.get(3)?);
        let (first, last): (i64, i64) = (row.get(1)?, row.get(2)?);
        let digest = of_batch(&session, unsigned(first), unsigned(last), &body);
        add.execute(params![session, first, last, digest, body])?;
    }
    transaction.execute_batch("DROP TABLE event_batch_1")?;
    seal_turns(transaction)?;
    let mut sessions = transaction.prepare("SELECT id FROM session")?;
    let ids = sessions.query_map([], |row| row.get::<_, String>(0))?;
    for id in ids.collect::<Result<Vec<_>, _>>()? {
        let id: SessionId = id
            .parse()
            .map_err(|_| JournalError::Corrupt(format!("`{id}` is no session id")))?;
        seal_session(transaction, &id)?;
    }
    Ok(())
}

fn seal_turns(transaction: &Transaction<'_>) -> Result<(), JournalError> {
    let mut turns = transaction.prepare(
        "SELECT id, session_id, command_id, prompt, spool_offset, ordinal_next, adapter FROM turn",
    )?;
    let mut rows = turns.query([])?;
    while let Some(row) = rows.next()? {
        let (id, session, prompt): (String, String, String) =
            (row.get(0)?, row.get(1)?, row.get(3)?);
        let command: Option<String> = row.get(2)?;
        let adapter: Option<Vec<u8>> = row.get(6)?;
        let (offset, ordinal) = (unsigned(row.get(4)?), unsigned(row.get(5)?));
        let progress = of_progress(&id, offset, ordinal, &adapter.unwrap_or_default());
        let prompt = of_prompt((&id, &session), command.as_deref(), &prompt, None, None);
        transaction.execute(
            "UPDATE turn SET prompt_digest = ?2, progress_digest = ?3 WHERE id = ?1",
            params![id, prompt, progress],
        )?;
    }
    Ok(())
}
