//! Values as SQLite has them.

use rusqlite::Row;

use crate::clock::Timestamp;

pub(super) fn stamp(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    row.get(column).map(time)
}

/// SQLite has signed integers only; ours are never negative.
pub(super) fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis.unsigned_abs())
}

pub(super) fn count(row: &Row<'_>) -> rusqlite::Result<u64> {
    row.get(0).map(i64::unsigned_abs)
}

pub(super) fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.millis()).unwrap_or(i64::MAX)
}
