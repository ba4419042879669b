//! What readers ask of the journal besides events: turns without their work, and what is kept.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::store::{outcome_from, parse, signed, unsigned, whole};
use super::{Journal, JournalError, TurnState};
use crate::clock::Timestamp;
use crate::event::Outcome;
use crate::ids::{RunId, Seq, SessionId, TurnId};

/// Characters of a prompt that an overview shows, as in [`COLUMNS`].
const PROMPT_CHARS: u32 = 500;

/// A turn, without what only its driver needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnSummary {
    /// Its id.
    pub id: TurnId,
    /// The asker's own id for the prompt.
    pub prompt_id: Option<String>,
    /// The start of what is asked, at most 500 characters.
    pub prompt: String,
    /// Whether that is not all of it.
    pub is_prompt_cut: bool,
    /// Where it is in its life.
    pub state: TurnState,
    /// Attempts so far.
    pub attempt: u32,
    /// The newest attempt's run; none between two attempts, or where none was started.
    pub run: Option<RunId>,
    /// Its verdict.
    pub outcome: Option<Outcome>,
    /// Its first event.
    pub first_seq: Option<Seq>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// Where a turn's events begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnSpan {
    /// The turn.
    pub id: TurnId,
    /// Its first event. The last one is before the next turn's first.
    pub first: Seq,
    /// Whether it has ended.
    pub is_ended: bool,
}

const COLUMNS: &str = "id, command_id, substr(prompt, 1, 500), length(prompt), state, attempt, \
                       run_id, outcome, first_seq, created_at, ended_at";

impl Journal {
    /// The workspace of a session in the journal at `path`, which another process may have open and
    /// which stays as it is. None where there is no such journal or session, or no workspace yet.
    pub fn workspace_in(path: &Path, session: &SessionId) -> Result<Option<PathBuf>, JournalError> {
        if !path.exists() {
            return Ok(None);
        }
        let connection = super::store::open_reader(path)?;
        let query = "SELECT workspace FROM session WHERE id = ?1";
        let found = connection.query_row(query, [session.as_str()], |row| row.get(0));
        let found: Option<String> = found.optional()?;
        Ok(found.filter(|path| !path.is_empty()).map(PathBuf::from))
    }

    /// The newest `limit` turns of a session, in order of acceptance.
    pub async fn newest_turns(
        &self,
        session: &SessionId,
        limit: u32,
    ) -> Result<Vec<TurnSummary>, JournalError> {
        let session = session.clone();
        self.read(move |connection| newest_turns(connection, &session, limit))
            .await
    }

    /// How the session's turn went that ended last; none where none has.
    pub async fn last_outcome(&self, session: &SessionId) -> Result<Option<Outcome>, JournalError> {
        let session = session.clone();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT outcome FROM turn WHERE session_id = ?1 AND ended_at IS NOT NULL
                 ORDER BY ordinal DESC LIMIT 1",
            )?;
            let mut rows = statement.query([session.as_str()])?;
            let outcome: Option<String> = rows.next()?.map(|row| row.get(0)).transpose()?;
            outcome.map(|outcome| outcome_from(&outcome)).transpose()
        })
        .await
    }

    /// One turn of a session.
    pub async fn turn(
        &self,
        session: &SessionId,
        turn: TurnId,
    ) -> Result<Option<TurnSummary>, JournalError> {
        let session = session.clone();
        self.read(move |connection| {
            let sql = format!("SELECT {COLUMNS} FROM turn WHERE session_id = ?1 AND id = ?2");
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query(params![session.as_str(), turn.to_string()])?;
            rows.next()?.map(summary).transpose()
        })
        .await
    }

    /// The first event of the session that is still kept; `None` where there is none.
    pub async fn first_seq(&self, session: &SessionId) -> Result<Option<Seq>, JournalError> {
        let session = session.clone();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT first_seq FROM event_batch WHERE session_id = ?1
                 ORDER BY first_seq LIMIT 1",
            )?;
            let first: Option<i64> = statement
                .query_row([session.as_str()], |row| row.get(0))
                .optional()?;
            Ok(first.and_then(|first| Seq::new(unsigned(first))))
        })
        .await
    }

    /// Where the turns after `after` lie that have begun, in order.
    pub async fn turn_spans(
        &self,
        session: &SessionId,
        after: Option<TurnId>,
    ) -> Result<Vec<TurnSpan>, JournalError> {
        let session = session.clone();
        self.read(move |connection| turn_spans(connection, &session, after))
            .await
    }

    /// Goes back over the lines of the events `first..=last` to the first for which `pick` has an
    /// answer. Looks at the batches that hold them, and so at their neighbours too.
    pub async fn search_back<T: Send + 'static>(
        &self,
        session: &SessionId,
        (first, last): (u64, u64),
        mut pick: impl FnMut(&[u8]) -> Option<T> + Send + 'static,
    ) -> Result<Option<T>, JournalError> {
        let session = session.clone();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT first_seq, last_seq, digest, body FROM event_batch
                 WHERE session_id = ?1 AND first_seq <= ?2 AND last_seq >= ?3
                 ORDER BY first_seq DESC",
            )?;
            let mut rows =
                statement.query(params![session.as_str(), signed(last), signed(first)])?;
            while let Some(row) = rows.next()? {
                // What was altered is not shown.
                let Some(whole) = whole(row, &session) else {
                    continue;
                };
                let mut lines = whole.body.rsplit(|byte| *byte == b'\n');
                if let Some(found) = lines.find_map(&mut pick) {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        })
        .await
    }

    /// How many turns have ended in each way, over all sessions.
    pub async fn outcomes(&self) -> Result<Vec<(Outcome, u64)>, JournalError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT outcome, count(*) FROM turn WHERE ended_at IS NOT NULL
                 GROUP BY outcome ORDER BY outcome",
            )?;
            let mut rows = statement.query([])?;
            let mut counts = Vec::new();
            while let Some(row) = rows.next()? {
                let outcome = outcome_from(&row.get::<_, String>(0)?)?;
                counts.push((outcome, unsigned(row.get(1)?)));
            }
            Ok(counts)
        })
        .await
    }

    /// Bytes that the journal's database takes, without its write-ahead log.
    pub async fn bytes(&self) -> Result<u64, JournalError> {
        self.read(|connection| {
            let pragma = |name| connection.pragma_query_value(None, name, |row| row.get(0));
            let (pages, size): (i64, i64) = (pragma("page_count")?, pragma("page_size")?);
            Ok(unsigned(pages) * unsigned(size))
        })
        .await
    }
}

fn newest_turns(
    connection: &Connection,
    session: &SessionId,
    limit: u32,
) -> Result<Vec<TurnSummary>, JournalError> {
    let sql =
        format!("SELECT {COLUMNS} FROM turn WHERE session_id = ?1 ORDER BY ordinal DESC LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![session.as_str(), limit])?;
    let mut turns = Vec::new();
    while let Some(row) = rows.next()? {
        turns.push(summary(row)?);
    }
    turns.reverse();
    Ok(turns)
}

fn turn_spans(
    connection: &Connection,
    session: &SessionId,
    after: Option<TurnId>,
) -> Result<Vec<TurnSpan>, JournalError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, first_seq, state = 'ended' FROM turn
         WHERE session_id = ?1 AND first_seq IS NOT NULL
           AND ordinal > coalesce((SELECT ordinal FROM turn WHERE id = ?2), 0)
         ORDER BY first_seq",
    )?;
    let mut rows = statement.query(params![session.as_str(), after.map(|id| id.to_string())])?;
    let mut spans = Vec::new();
    while let Some(row) = rows.next()? {
        spans.push(TurnSpan {
            id: parse("turn id", &row.get::<_, String>(0)?)?,
            first: Seq::new(unsigned(row.get(1)?)).unwrap_or(Seq::FIRST),
            is_ended: row.get(2)?,
        });
    }
    Ok(spans)
}

fn summary(row: &Row<'_>) -> Result<TurnSummary, JournalError> {
    let state: String = row.get(4)?;
    let run: Option<String> = row.get(6)?;
    let outcome: Option<String> = row.get(7)?;
    let first: Option<i64> = row.get(8)?;
    let ended: Option<i64> = row.get(10)?;
    Ok(TurnSummary {
        id: parse("turn id", &row.get::<_, String>(0)?)?,
        prompt_id: row.get(1)?,
        prompt: row.get(2)?,
        is_prompt_cut: row.get::<_, i64>(3)? > i64::from(PROMPT_CHARS),
        state: match state.as_str() {
            "queued" => TurnState::Queued,
            "running" => TurnState::Running,
            _ => TurnState::Ended,
        },
        attempt: row.get(5)?,
        run: run.map(|run| parse("run id", &run)).transpose()?,
        // A turn that is to be cancelled has its verdict before its end.
        outcome: ended
            .and(outcome.as_deref())
            .map(outcome_from)
            .transpose()?,
        first_seq: first.and_then(|first| Seq::new(unsigned(first))),
        created_at: Timestamp::from_millis(unsigned(row.get(9)?)),
        ended_at: ended.map(|at| Timestamp::from_millis(unsigned(at))),
    })
}
