//! The tables and the only SQL.
//!
//! `session.spec` is the create request as it came, with later changes merged in: what the Hub
//! does not understand is kept for those who do. `event.marked` is 1 for the events that make the
//! conversation or the session's state, so that neither replay nor start-up reads the deltas.
//! `session.home` is the folder that the last lead said it lives in.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{StoreError, library};
use crate::clock::Timestamp;

const VERSION: i64 = 3;

const SCHEMA: &str = "
CREATE TABLE session(
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    label TEXT NOT NULL,
    task TEXT NOT NULL,
    archived INTEGER NOT NULL DEFAULT 0,
    lead_seen INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    spec TEXT NOT NULL
) STRICT;
CREATE TABLE event(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session INTEGER NOT NULL,
    marked INTEGER NOT NULL,
    at INTEGER NOT NULL,
    request TEXT NOT NULL,
    name TEXT NOT NULL,
    data TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX event_request ON event(session, request);
CREATE INDEX event_session ON event(session, id);
CREATE INDEX event_marked ON event(session, id) WHERE marked = 1;
CREATE TABLE driver(
    session INTEGER NOT NULL,
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    UNIQUE(session, id)
) STRICT;
CREATE TABLE participant(
    id TEXT PRIMARY KEY,
    session INTEGER NOT NULL,
    role TEXT NOT NULL,
    transport TEXT NOT NULL,
    connected_at INTEGER NOT NULL,
    disconnected_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX participant_session ON participant(session, connected_at);
CREATE TABLE file_line(
    session INTEGER NOT NULL,
    path TEXT NOT NULL,
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    line TEXT NOT NULL
) STRICT;
CREATE INDEX file_line_path ON file_line(session, path, ordinal);
";

/// What version 3 has added.
const HOMES: &str = "ALTER TABLE session ADD COLUMN home BLOB;";

/// Sets the connection up and brings the schema to this version.
pub(super) fn prepare(db: &Connection, path: &Path) -> Result<(), StoreError> {
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "trusted_schema", "OFF")?;
    db.pragma_update(None, "cell_size_check", "ON")?;
    db.pragma_update(None, "journal_size_limit", 16 * 1_024 * 1_024)?;
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > VERSION {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known: VERSION,
        });
    }
    let missing = match found {
        0 => [SCHEMA, library::SCHEMA, HOMES].concat(),
        1 => [library::SCHEMA, HOMES].concat(),
        2 => HOMES.to_owned(),
        _ => String::new(),
    };
    if !missing.is_empty() {
        db.execute_batch(&format!(
            "BEGIN IMMEDIATE;{missing}PRAGMA user_version = {VERSION};COMMIT;"
        ))?;
    }
    // Whoever was connected when the last process ended is connected no more.
    close_participants(db)?;
    Ok(())
}

/// One session.
#[derive(Debug, Clone)]
pub(crate) struct SessionRow {
    pub(crate) key: i64,
    pub(crate) id: String,
    pub(crate) label: String,
    pub(crate) task: String,
    pub(crate) archived: bool,
    pub(crate) lead_seen: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    /// A JSON object.
    pub(crate) spec: String,
    /// Where the last lead keeps its state, if it has said so.
    pub(crate) home: Option<PathBuf>,
}

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
}

/// A participant, present or past.
#[derive(Debug, Clone)]
pub(crate) struct ParticipantRow {
    pub(crate) id: String,
    pub(crate) role: String,
    pub(crate) transport: String,
    pub(crate) connected_at: Timestamp,
    pub(crate) disconnected_at: Option<Timestamp>,
}

/// The session file that a lead last wrote.
#[derive(Debug, Clone)]
pub(crate) struct FileResume {
    pub(crate) path: String,
    pub(crate) first_line: String,
}

pub(super) fn stamp(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    row.get(column).map(time)
}

/// SQLite has signed integers only; ours are never negative.
fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis.unsigned_abs())
}

fn count(row: &Row<'_>) -> rusqlite::Result<u64> {
    row.get(0).map(i64::unsigned_abs)
}

pub(super) fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.millis()).unwrap_or(i64::MAX)
}

fn session_of(row: &Row<'_>) -> rusqlite::Result<SessionRow> {
    Ok(SessionRow {
        key: row.get("key")?,
        id: row.get("id")?,
        label: row.get("label")?,
        task: row.get("task")?,
        archived: row.get("archived")?,
        lead_seen: row.get("lead_seen")?,
        created_at: stamp(row, "created_at")?,
        updated_at: stamp(row, "updated_at")?,
        spec: row.get("spec")?,
        home: row
            .get::<_, Option<Vec<u8>>>("home")?
            .map(|bytes| OsString::from_vec(bytes).into()),
    })
}

/// Adds a session; its key is the store's to give.
pub(crate) fn insert_session(db: &Connection, session: &SessionRow) -> rusqlite::Result<i64> {
    db.prepare_cached(
        "INSERT INTO session(id, label, task, created_at, updated_at, spec)
         VALUES(?1, ?2, ?3, ?4, ?4, ?5)",
    )?
    .insert(params![
        session.id,
        session.label,
        session.task,
        millis(session.created_at),
        session.spec
    ])
}

/// Writes what may change of a session.
pub(crate) fn update_session(db: &Connection, session: &SessionRow) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE session SET label = ?2, updated_at = ?3, spec = ?4 WHERE key = ?1")?
        .execute(params![
            session.key,
            session.label,
            millis(session.updated_at),
            session.spec
        ])?;
    Ok(())
}

/// Makes a session one for reading only.
pub(crate) fn archive_session(db: &Connection, key: i64, at: Timestamp) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE session SET archived = 1, updated_at = ?2 WHERE key = ?1")?
        .execute(params![key, millis(at)])?;
    Ok(())
}

/// Notes that the session has a lead, which lives there.
pub(crate) fn mark_lead_seen(
    db: &Connection,
    key: i64,
    home: Option<&Path>,
) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE session SET lead_seen = 1, home = ?2 WHERE key = ?1")?
        .execute(params![key, home.map(|home| home.as_os_str().as_bytes())])?;
    Ok(())
}

/// The session of this id.
pub(crate) fn find_session(db: &Connection, id: &str) -> rusqlite::Result<Option<SessionRow>> {
    db.prepare_cached("SELECT * FROM session WHERE id = ?1")?
        .query_row([id], session_of)
        .optional()
}

/// Sessions, newest first, and how many there are in all.
pub(crate) fn list_sessions(
    db: &Connection,
    search: &str,
    archived: bool,
    limit: u32,
    offset: u32,
) -> rusqlite::Result<(Vec<SessionRow>, u64)> {
    const CHOSEN: &str = "FROM session WHERE (?2 OR NOT archived)
        AND (?1 = '' OR instr(lower(label || char(10) || task || char(10) || id), lower(?1)) > 0)";
    let total = db.query_row(
        &format!("SELECT count(*) {CHOSEN}"),
        params![search, archived],
        count,
    )?;
    let sessions = db
        .prepare_cached(&format!(
            "SELECT * {CHOSEN} ORDER BY key DESC LIMIT ?3 OFFSET ?4"
        ))?
        .query_map(params![search, archived, limit, offset], session_of)?
        .collect::<Result<_, _>>()?;
    Ok((sessions, total))
}

/// Removes a session and all that belongs to it.
pub(crate) fn delete_session(db: &Connection, key: i64) -> rusqlite::Result<()> {
    for table in ["event", "driver", "participant", "file_line"] {
        db.execute(&format!("DELETE FROM {table} WHERE session = ?1"), [key])?;
    }
    db.execute("DELETE FROM session WHERE key = ?1", [key])?;
    Ok(())
}

/// Stores an event; `None` when the session already has that request, or was deleted.
pub(crate) fn insert_event(
    db: &Connection,
    session: i64,
    request: &str,
    event: (&str, &str),
    marked: bool,
    at: Timestamp,
) -> rusqlite::Result<Option<i64>> {
    let (name, data) = event;
    let mut insert = db.prepare_cached(
        "INSERT INTO event(session, marked, at, request, name, data)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE EXISTS(SELECT 1 FROM session WHERE key = ?1)
         ON CONFLICT(session, request) DO NOTHING",
    )?;
    let stored = insert.execute(params![session, marked, millis(at), request, name, data])?;
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
    let mut rows: Vec<EventRow> = db
        .prepare_cached(&format!(
            "SELECT id, name, data, at FROM event INDEXED BY event_session
             WHERE session = ?1 AND id > ?2 AND id <= ?3 ORDER BY id {order} LIMIT ?4 OFFSET ?5"
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

/// The newest event's id and time.
pub(crate) fn newest_event(
    db: &Connection,
    session: i64,
) -> rusqlite::Result<Option<(i64, Timestamp)>> {
    db.prepare_cached(
        "SELECT id, at FROM event INDEXED BY event_session
         WHERE session = ?1 ORDER BY id DESC LIMIT 1",
    )?
    .query_row([session], |row| Ok((row.get(0)?, stamp(row, "at")?)))
    .optional()
}

/// Notes a driver as the session's newest.
pub(crate) fn insert_driver(db: &Connection, session: i64, id: &str) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR IGNORE INTO driver(session, id) VALUES(?1, ?2)")?
        .execute(params![session, id])?;
    Ok(())
}

/// Whether this driver has ever led the session.
pub(crate) fn driver_known(db: &Connection, session: i64, id: &str) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM driver WHERE session = ?1 AND id = ?2")?
        .exists(params![session, id])
}

/// Whether this driver is the newest that has led the session.
pub(crate) fn last_driver_is(db: &Connection, session: i64, id: &str) -> rusqlite::Result<bool> {
    let last: Option<String> = db
        .prepare_cached("SELECT id FROM driver WHERE session = ?1 ORDER BY ordinal DESC LIMIT 1")?
        .query_row([session], |row| row.get(0))
        .optional()?;
    Ok(last.as_deref() == Some(id))
}

/// Notes who came.
pub(crate) fn insert_participant(
    db: &Connection,
    session: i64,
    participant: &ParticipantRow,
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
    Ok(())
}

/// Notes who went.
pub(crate) fn leave_participant(db: &Connection, id: &str, at: Timestamp) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE participant SET disconnected_at = ?2 WHERE id = ?1")?
        .execute(params![id, millis(at)])?;
    Ok(())
}

/// Closes what a dead process left open, at the time of its last sign.
pub(crate) fn close_participants(db: &Connection) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE participant SET disconnected_at = connected_at WHERE disconnected_at IS NULL",
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

/// Replaces a session file's content.
pub(crate) fn replace_file(
    db: &Connection,
    session: i64,
    path: &str,
    content: &str,
) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM file_line WHERE session = ?1 AND path = ?2")?
        .execute(params![session, path])?;
    for line in content.lines() {
        append_file_line(db, session, path, line)?;
    }
    Ok(())
}

/// Appends one line to a session file.
pub(crate) fn append_file_line(
    db: &Connection,
    session: i64,
    path: &str,
    line: &str,
) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT INTO file_line(session, path, line) VALUES(?1, ?2, ?3)")?
        .execute(params![session, path, line])?;
    Ok(())
}

/// The session file that was written to last, with its first line.
pub(crate) fn file_resume(db: &Connection, session: i64) -> rusqlite::Result<Option<FileResume>> {
    db.prepare_cached(
        "SELECT path, (SELECT line FROM file_line AS first
                       WHERE first.session = last.session AND first.path = last.path
                       ORDER BY ordinal LIMIT 1) AS first_line
         FROM file_line AS last WHERE session = ?1 ORDER BY ordinal DESC LIMIT 1",
    )?
    .query_row([session], |row| {
        Ok(FileResume {
            path: row.get("path")?,
            first_line: row.get("first_line")?,
        })
    })
    .optional()
}

/// The lines of a session file; a line that was sent again stands once.
pub(crate) fn file_content(db: &Connection, session: i64, path: &str) -> rusqlite::Result<String> {
    let mut lines = db.prepare_cached(
        "SELECT line FROM file_line WHERE session = ?1 AND path = ?2
         GROUP BY line ORDER BY min(ordinal)",
    )?;
    let mut content = String::new();
    let mut rows = lines.query(params![session, path])?;
    while let Some(row) = rows.next()? {
        content.push_str(row.get_ref(0)?.as_str()?);
        content.push('\n');
    }
    Ok(content)
}
