//! The events of sessions.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::columns::{count, millis, stamp};
use crate::clock::Timestamp;

/// A stored event.
#[derive(Debug, Clone)]
pub(crate) struct EventRow {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) data: String,
    pub(crate) at: Timestamp,
}

/// Which events of a session to read, by id, oldest first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventPage {
    /// Ids greater than this.
    pub(crate) after: i64,
    /// Ids up to this.
    pub(crate) upto: i64,
    pub(crate) limit: u32,
    pub(crate) offset: u32,
    /// Take the page from the newest end.
    pub(crate) newest: bool,
    pub(crate) of: Of,
}

/// Which kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// All that history has.
    All,
    /// Those that viewers get as events.
    Published,
}

/// What an event is to whoever looks for it later; the table's `marked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Neither makes the conversation nor the session's state, such as a delta.
    Passing = 0,
    /// Makes the conversation or the session's state.
    Kept = 1,
    /// Somebody has come or gone. Viewers are told at once, by a presence frame; this is the record.
    Presence = 2,
}

/// Stores an event; `None` when the session already has that request, or was deleted.
pub(crate) fn insert_event(
    db: &Connection,
    session: i64,
    request: &str,
    event: (&str, &str),
    mark: Mark,
    at: Timestamp,
) -> rusqlite::Result<Option<i64>> {
    let (name, data) = event;
    let mut insert = db.prepare_cached(
        "INSERT INTO event(session, marked, at, request, name, data)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE EXISTS(SELECT 1 FROM session WHERE key = ?1)
         ON CONFLICT(session, request) DO NOTHING",
    )?;
    let stored = insert.execute(params![
        session,
        mark as i64,
        millis(at),
        request,
        name,
        data
    ])?;
    Ok((stored == 1).then(|| db.last_insert_rowid()))
}

fn event_of(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    Ok(EventRow {
        id: row.get("id")?,
        name: row.get("name")?,
        data: row.get("data")?,
        at: stamp(row, "at")?,
    })
}

/// A page of a session's events, oldest first.
pub(crate) fn events(
    db: &Connection,
    session: i64,
    page: EventPage,
) -> rusqlite::Result<Vec<EventRow>> {
    let order = if page.newest { "DESC" } else { "ASC" };
    let presence = match page.of {
        Of::All => "",
        Of::Published => "AND marked <> 2",
    };
    let mut rows: Vec<EventRow> = db
        .prepare_cached(&format!(
            "SELECT id, name, data, at FROM event INDEXED BY event_session
             WHERE session = ?1 AND id > ?2 AND id <= ?3 {presence}
             ORDER BY id {order} LIMIT ?4 OFFSET ?5"
        ))?
        .query_map(
            params![session, page.after, page.upto, page.limit, page.offset],
            event_of,
        )?
        .collect::<Result<_, _>>()?;
    if page.newest {
        rows.reverse();
    }
    Ok(rows)
}

/// Calls `each` with every marked event up to `upto`, oldest first.
pub(crate) fn marked_events(
    db: &Connection,
    session: i64,
    upto: i64,
    mut each: impl FnMut(EventRow),
) -> rusqlite::Result<()> {
    let mut select = db.prepare_cached(
        "SELECT id, name, data, at FROM event
         WHERE session = ?1 AND marked = 1 AND id <= ?2 ORDER BY id",
    )?;
    let mut rows = select.query(params![session, upto])?;
    while let Some(row) = rows.next()? {
        each(event_of(row)?);
    }
    Ok(())
}

/// How many events a session has. Walks its index: for those who ask for history.
pub(crate) fn event_count(db: &Connection, session: i64) -> rusqlite::Result<u64> {
    db.prepare_cached("SELECT count(*) FROM event WHERE session = ?1")?
        .query_row([session], count)
}

/// The newest event's id and time, whoever has come or gone since.
pub(crate) fn newest_event(
    db: &Connection,
    session: i64,
) -> rusqlite::Result<Option<(i64, Timestamp)>> {
    db.prepare_cached(
        "SELECT id, at FROM event INDEXED BY event_session
         WHERE session = ?1 AND marked <> 2 ORDER BY id DESC LIMIT 1",
    )?
    .query_row([session], |row| Ok((row.get(0)?, stamp(row, "at")?)))
    .optional()
}
