//! Letting go of old events: only what the Hub has acknowledged, the oldest first.
//!
//! The events of a turn that is open stay (its next attempt looks at them) unless room is short;
//! the last batch of a session always stays, because it says how far the session is.

use rusqlite::{Connection, params};

use super::JournalError;
use super::store::{seal_session, signed, unsigned};
use crate::ids::SessionId;

/// Rows looked at in one transaction, and so the most that it deletes: 64 MiB, at 256 KiB a row.
const ROWS: u64 = 256;

/// What is to go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goal {
    /// All that is older than this, in milliseconds since the epoch.
    pub(super) before: u64,
    /// So many bytes, however young.
    pub(super) bytes: u64,
    /// Also of open turns.
    pub(super) pressed: bool,
}

/// Deletes some of it; how many bytes, 0 when there is nothing more.
pub(super) fn step(connection: &mut Connection, goal: Goal) -> Result<u64, JournalError> {
    let mut freed = 0;
    for session in super::store::session_ids(connection)? {
        let left = Goal {
            bytes: goal.bytes.saturating_sub(freed),
            ..goal
        };
        let (bytes, cut) = oldest(connection, &session, left)?;
        if let Some(cut) = cut {
            delete(connection, &session, cut)?;
            freed += bytes;
        }
    }
    Ok(freed)
}

/// The bytes that may go, and the last `seq` of them.
fn oldest(
    connection: &Connection,
    session: &SessionId,
    goal: Goal,
) -> Result<(u64, Option<u64>), JournalError> {
    let mut statement = connection.prepare_cached(
        "SELECT last_seq, at, length(body) FROM event_batch AS batch
         JOIN session ON session.id = batch.session_id
         WHERE session_id = ?1 AND last_seq <= acked_seq
           AND first_seq < (SELECT max(first_seq) FROM event_batch WHERE session_id = ?1)
           AND (?2 OR last_seq < coalesce((SELECT min(first_seq) FROM turn
                WHERE session_id = ?1 AND state <> 'ended' AND first_seq IS NOT NULL), last_seq + 1))
         ORDER BY batch.first_seq LIMIT ?3",
    )?;
    let mut rows = statement.query(params![session.as_str(), goal.pressed, signed(ROWS)])?;
    let (mut bytes, mut cut) = (0, None);
    while let Some(row) = rows.next()? {
        let (last, at, length) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if unsigned(at) >= goal.before && bytes >= goal.bytes {
            break;
        }
        bytes += unsigned(length);
        cut = Some(unsigned(last));
    }
    Ok((bytes, cut))
}

fn delete(connection: &mut Connection, session: &SessionId, cut: u64) -> Result<(), JournalError> {
    let transaction = connection.transaction()?;
    let place = params![session.as_str(), signed(cut)];
    transaction.execute(
        "DELETE FROM event_batch WHERE session_id = ?1 AND first_seq <= ?2",
        place,
    )?;
    transaction.execute("UPDATE session SET pruned_seq = ?2 WHERE id = ?1", place)?;
    seal_session(&transaction, session)?;
    crash_point!("prune.before_commit");
    transaction.commit()?;
    crash_point!("prune.committed");
    Ok(())
}

/// Gives deleted pages back to the file system.
pub(super) fn shrink(connection: &Connection) -> Result<(), JournalError> {
    let mut vacuum = connection.prepare("PRAGMA incremental_vacuum")?;
    let mut rows = vacuum.query([])?;
    while rows.next()?.is_some() {}
    drop(rows);
    crash_point!("prune.vacuumed");
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(())
}

/// The bytes that the database's rows take.
pub(super) fn used(connection: &Connection) -> Result<u64, JournalError> {
    let number = |pragma: &str| {
        connection
            .query_row(pragma, [], |row| row.get(0))
            .map(unsigned)
    };
    let pages = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
    Ok(pages * number("PRAGMA page_size")?)
}
