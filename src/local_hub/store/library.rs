//! What people keep at the Hub beside sessions: workspaces, skills, buckets of skills, agents.
//!
//! Each is one JSON object. What the Hub does not understand of it is kept for those who do.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::{Map, Value};

use super::columns::{millis, stamp};
use crate::clock::Timestamp;

pub(super) const SCHEMA: &str = "
CREATE TABLE library(
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE(kind, id),
    UNIQUE(kind, name)
) STRICT;
";

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Repositories, skills and a setup that sessions share.
    Workspace,
    /// A skill.
    Skill,
    /// Skills under one name.
    Bucket,
    /// An agent that somebody wrote.
    Agent,
    /// An agent as it was when it was published.
    AgentVersion,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Workspace => "workspace",
            Self::Skill => "skill",
            Self::Bucket => "bucket",
            Self::Agent => "agent",
            Self::AgentVersion => "agent_version",
        }
    }
}

/// One record.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) id: String,
    /// By which people know it; one record of a kind has it.
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) body: Map<String, Value>,
}

fn record_of(row: &Row<'_>) -> rusqlite::Result<Record> {
    let body: String = row.get("body")?;
    Ok(Record {
        id: row.get("id")?,
        name: row.get("name")?,
        created_at: stamp(row, "created_at")?,
        updated_at: stamp(row, "updated_at")?,
        body: serde_json::from_str(&body).unwrap_or_default(),
    })
}

/// Stores a record, or what has become of it. False when another of its kind has its name.
pub(crate) fn put_record(db: &Connection, kind: Kind, record: &Record) -> rusqlite::Result<bool> {
    let mut taken =
        db.prepare_cached("SELECT 1 FROM library WHERE kind = ?1 AND name = ?2 AND id <> ?3")?;
    if taken.exists(params![kind.name(), record.name, record.id])? {
        return Ok(false);
    }
    db.prepare_cached(
        "INSERT INTO library(kind, id, name, created_at, updated_at, body)
         VALUES(?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT(kind, id) DO UPDATE
         SET name = excluded.name, updated_at = excluded.updated_at, body = excluded.body",
    )?
    .execute(params![
        kind.name(),
        record.id,
        record.name,
        millis(record.created_at),
        millis(record.updated_at),
        Value::Object(record.body.clone()).to_string()
    ])?;
    Ok(true)
}

/// The record with this id, or this name.
pub(crate) fn find_record(
    db: &Connection,
    kind: Kind,
    id_or_name: &str,
) -> rusqlite::Result<Option<Record>> {
    db.prepare_cached(
        "SELECT * FROM library WHERE kind = ?1 AND (id = ?2 OR name = ?2)
         ORDER BY id = ?2 DESC LIMIT 1",
    )?
    .query_row(params![kind.name(), id_or_name], record_of)
    .optional()
}

/// All records of a kind, oldest first.
pub(crate) fn list_records(db: &Connection, kind: Kind) -> rusqlite::Result<Vec<Record>> {
    db.prepare_cached("SELECT * FROM library WHERE kind = ?1 ORDER BY ordinal")?
        .query_map([kind.name()], record_of)?
        .collect()
}

/// Removes a record; whether there was one.
pub(crate) fn delete_record(db: &Connection, kind: Kind, id: &str) -> rusqlite::Result<bool> {
    let mut delete = db.prepare_cached("DELETE FROM library WHERE kind = ?1 AND id = ?2")?;
    Ok(delete.execute(params![kind.name(), id])? > 0)
}
