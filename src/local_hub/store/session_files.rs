//! The session files that leads have written, line by line.

use rusqlite::{Connection, OptionalExtension as _, params};

/// The session file that a lead last wrote.
#[derive(Debug, Clone)]
pub(crate) struct FileResume {
    pub(crate) path: String,
    pub(crate) first_line: String,
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

/// Gives the lines of a session file to `each`, until that has had enough; a line that was sent
/// again comes once.
pub(crate) fn file_lines(
    db: &Connection,
    session: i64,
    path: &str,
    mut each: impl FnMut(&str) -> bool,
) -> rusqlite::Result<()> {
    let mut lines = db.prepare_cached(
        "SELECT line FROM file_line WHERE session = ?1 AND path = ?2
         GROUP BY line ORDER BY min(ordinal)",
    )?;
    let mut rows = lines.query(params![session, path])?;
    while let Some(row) = rows.next()? {
        if !each(row.get_ref(0)?.as_str()?) {
            break;
        }
    }
    Ok(())
}

/// A session file as a whole.
pub(crate) fn file_content(db: &Connection, session: i64, path: &str) -> rusqlite::Result<String> {
    let mut content = String::new();
    file_lines(db, session, path, |line| {
        content.extend([line, "\n"]);
        true
    })?;
    Ok(content)
}
