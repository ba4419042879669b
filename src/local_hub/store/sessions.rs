//! Sessions, and who has led them.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::columns::{count, millis, stamp};
use crate::clock::Timestamp;

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
        AND (?1 = '' OR instr(lower(concat_ws(char(10), label, task, id,
            spec ->> '$.tags', spec ->> '$.metadata')), lower(?1)) > 0)";
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
