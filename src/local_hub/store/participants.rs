//! Who takes part in a session, and who has. History has each coming and going as an event.

use rusqlite::{Connection, params};

use super::columns::{count, millis, stamp, time};
use super::events::{Mark, insert_event};
use crate::clock::Timestamp;

/// A participant, present or past.
#[derive(Debug, Clone)]
pub(crate) struct ParticipantRow {
    pub(crate) id: String,
    pub(crate) role: String,
    pub(crate) transport: String,
    pub(crate) connected_at: Timestamp,
    pub(crate) disconnected_at: Option<Timestamp>,
}

/// The events of who comes and goes.
const JOIN: &str = "session_join";
const LEAVE: &str = "session_leave";

/// Notes who came; `told` is what history says of them.
pub(crate) fn insert_participant(
    db: &Connection,
    session: i64,
    participant: &ParticipantRow,
    told: &str,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO participant(id, session, role, transport, connected_at)
         VALUES(?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        participant.id,
        session,
        participant.role,
        participant.transport,
        millis(participant.connected_at)
    ])?;
    let request = format!("join_{}", participant.id);
    let at = participant.connected_at;
    insert_event(db, session, &request, (JOIN, told), Mark::Presence, at)?;
    Ok(())
}

/// Notes who went, if they had come.
pub(crate) fn leave_participant(
    db: &Connection,
    session: i64,
    id: &str,
    told: &str,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let gone = db
        .prepare_cached(
            "UPDATE participant SET disconnected_at = ?2 WHERE id = ?1 AND disconnected_at IS NULL",
        )?
        .execute(params![id, millis(at)])?;
    if gone > 0 {
        let request = format!("leave_{id}");
        insert_event(db, session, &request, (LEAVE, told), Mark::Presence, at)?;
    }
    Ok(())
}

/// Closes what a dead process left open, at the time of its session's last sign.
pub(super) fn close_participants(db: &Connection) -> rusqlite::Result<()> {
    const LAST: &str = "max(connected_at, coalesce((SELECT at FROM event
        WHERE event.session = participant.session ORDER BY event.id DESC LIMIT 1), 0))";
    db.execute(
        &format!(
            "INSERT OR IGNORE INTO event(session, marked, at, request, name, data)
             SELECT session, {mark}, {LAST}, 'leave_' || id, '{LEAVE}',
                 json_object('participant', json_object('id', id, 'transport', transport,
                     'role', CASE role WHEN 'sub_agent' THEN 'lead' ELSE role END))
             FROM participant WHERE disconnected_at IS NULL ORDER BY connected_at, id",
            mark = Mark::Presence as i64
        ),
        [],
    )?;
    db.execute(
        &format!("UPDATE participant SET disconnected_at = {LAST} WHERE disconnected_at IS NULL"),
        [],
    )?;
    Ok(())
}

/// A session's participants, oldest first.
pub(crate) fn participants(
    db: &Connection,
    session: i64,
    gone_too: bool,
    limit: u32,
    offset: u32,
) -> rusqlite::Result<Vec<ParticipantRow>> {
    db.prepare_cached(
        "SELECT * FROM participant WHERE session = ?1 AND (?2 OR disconnected_at IS NULL)
         ORDER BY connected_at, id LIMIT ?3 OFFSET ?4",
    )?
    .query_map(params![session, gone_too, limit, offset], |row| {
        let gone: Option<i64> = row.get("disconnected_at")?;
        Ok(ParticipantRow {
            id: row.get("id")?,
            role: row.get("role")?,
            transport: row.get("transport")?,
            connected_at: stamp(row, "connected_at")?,
            disconnected_at: gone.map(time),
        })
    })?
    .collect()
}

/// How many have ever taken part.
pub(crate) fn participant_count(db: &Connection, session: i64) -> rusqlite::Result<u64> {
    db.prepare_cached("SELECT count(*) FROM participant WHERE session = ?1")?
        .query_row([session], count)
}
