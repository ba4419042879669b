//! The tables, and how a file of an earlier version becomes one of this.
//!
//! `session.spec` is the create request as it came, with later changes merged in: what the Hub
//! does not understand is kept for those who do. `event.marked` is a [`super::Mark`]: neither replay
//! nor start-up reads the deltas. `session.home` is the folder that the last lead said it lives in.

use std::path::Path;

use rusqlite::Connection;

use super::participants::close_participants;
use super::{StoreError, library};

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
