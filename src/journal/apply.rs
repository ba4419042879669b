//! From changes and events to rows, within a transaction that the writer has begun.

use bytes::Bytes;
use rusqlite::{Connection, Transaction, params};

use super::digest::{of_batch, of_progress, of_prompt};
use super::store::{outcome_text, seal_session, signed};
use super::{Batch, Change, JournalError};
use crate::clock::Timestamp;
use crate::event::{Header, Outcome};
use crate::ids::{Seq, SessionId};

/// A batch whose events have their places: it can be stored again and again until it is stored.
#[derive(Debug)]
pub(super) struct Numbered {
    pub(super) session: SessionId,
    pub(super) agent: String,
    pub(super) changes: Vec<Change>,
    pub(super) events: Option<Block>,
    /// The session's last event before this batch.
    pub(super) before: u64,
    pub(super) synced: bool,
}

/// Events as one row.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) first: Seq,
    pub(super) last: Seq,
    pub(super) at: Timestamp,
    pub(super) body: Bytes,
}

impl Numbered {
    /// Gives the events of a batch the places after `before`.
    pub(super) fn new(mut batch: Batch, before: u64) -> Result<Self, JournalError> {
        Ok(Self {
            synced: batch.is_synced(),
            events: number(&mut batch, before)?,
            session: batch.session,
            agent: batch.agent,
            changes: batch.changes,
            before,
        })
    }

    /// The session's last event after this batch.
    pub(super) fn after(&self) -> u64 {
        let events = self.events.as_ref();
        events.map_or(self.before, |events| events.last.get())
    }

    /// Whether a turn ends with it: all that was promised is then synced.
    pub(super) fn ends_turn(&self) -> bool {
        self.changes.iter().any(Change::ends_turn)
    }

    /// Whether nothing of the session is left with it.
    pub(super) fn forgets(&self) -> bool {
        let forgets = |change: &Change| matches!(change, Change::ForgetSession);
        self.changes.iter().any(forgets)
    }

    /// Whether it accepts a prompt.
    pub(super) fn queues_turn(&self) -> bool {
        let queues = |change: &Change| matches!(change, Change::QueueTurn { .. });
        self.changes.iter().any(queues)
    }

    /// Writes its rows.
    pub(super) fn store(&self, transaction: &Transaction<'_>) -> Result<(), JournalError> {
        if let Some(events) = &self.events {
            events.store(transaction, &self.session)?;
        }
        for change in &self.changes {
            self.apply(transaction, change)?;
        }
        let of_session = |change: &Change| {
            !matches!(
                change,
                Change::Progress { .. } | Change::BeginAttempt { .. } | Change::EndAttempt { .. }
            )
        };
        if self.changes.iter().any(of_session) {
            seal_session(transaction, &self.session)?;
        }
        Ok(())
    }
}

fn number(batch: &mut Batch, before: u64) -> Result<Option<Block>, JournalError> {
    let Some(at) = batch.events.last().map(|event| event.at) else {
        return Ok(None);
    };
    let mut body = Vec::with_capacity(batch.size());
    let mut seq = before;
    // an event's own bytes are given back as soon as the body has them: it may hold megabytes
    for event in batch.events.drain(..) {
        seq += 1;
        let header = Header {
            seq: Seq::new(seq).unwrap_or(Seq::FIRST),
            event_id: event.event_id,
            at: event.at,
            session_id: batch.session.clone(),
            turn_id: event.turn_id,
            attempt: event.attempt,
            agent: batch.agent.clone(),
        };
        header
            .write_line(&event.json, &mut body)
            .map_err(|error| JournalError::Corrupt(format!("an event has no JSON: {error}")))?;
        body.push(b'\n');
    }
    Ok(Seq::new(before + 1)
        .zip(Seq::new(seq))
        .map(|(first, last)| Block {
            first,
            last,
            at,
            body: body.into(),
        }))
}

/// Removes all that is stored of a session.
fn forget(transaction: &Transaction<'_>, session: &str) -> Result<usize, JournalError> {
    for table in ["event_batch", "turn"] {
        let delete = format!("DELETE FROM {table} WHERE session_id = ?1");
        transaction.execute(&delete, [session])?;
    }
    Ok(transaction.execute("DELETE FROM session WHERE id = ?1", [session])?)
}

impl Block {
    /// Writes it as a row.
    pub(super) fn store(
        &self,
        connection: &Connection,
        session: &SessionId,
    ) -> Result<(), JournalError> {
        let (first, last) = (self.first.get(), self.last.get());
        connection
            .prepare_cached(
                "INSERT INTO event_batch(session_id, first_seq, last_seq, at, digest, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                session.as_str(),
                signed(first),
                signed(last),
                signed(self.at.millis()),
                of_batch(session.as_str(), first, last, &self.body),
                &self.body[..]
            ])?;
        Ok(())
    }
}

impl Numbered {
    fn apply(&self, transaction: &Transaction<'_>, change: &Change) -> Result<(), JournalError> {
        let session = self.session.as_str();
        let first_seq = self.before + 1;
        crash_point!("journal.before_change");
        match change {
            Change::CreateSession { settings, at } => transaction
                .prepare_cached(
                    "INSERT INTO session(id, agent, workspace, created_at, settings)
                     VALUES (?1, ?2, '', ?3, ?4)
                     ON CONFLICT(id) DO UPDATE SET settings = excluded.settings, closed_at = NULL",
                )?
                .execute(params![session, self.agent, signed(at.millis()), settings])?,
            Change::CloseSession { at } => transaction
                .prepare_cached(
                    "UPDATE session SET closed_at = coalesce(closed_at, ?2) WHERE id = ?1",
                )?
                .execute(params![session, signed(at.millis())])?,
            Change::ForgetSession => forget(transaction, session)?,
        Change::OpenSession { workspace, at } => transaction
            .prepare_cached(
                "INSERT INTO session(id, agent, workspace, created_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT(id) DO UPDATE SET workspace = excluded.workspace",
            )?
            .execute(params![
                session,
                self.agent,
                workspace,
                signed(at.millis())
            ])?,
            Change::QueueTurn { .. } => self.queue(transaction, change)?,
            Change::BeginAttempt { turn, attempt, run, ordinal_next } => transaction
            .prepare_cached(
                "UPDATE turn SET state = 'running', attempt = ?2, run_id = ?3, spool_offset = 0,
                        ordinal_next = ?6, adapter = NULL, progress_digest = ?5,
                        first_seq = coalesce(first_seq, ?4)
                 WHERE id = ?1",
            )?
            .execute(params![
                turn.to_string(),
                attempt,
                run.to_string(),
                signed(first_seq),
                of_progress(&turn.to_string(), 0, *ordinal_next, &[]),
                    signed(*ordinal_next)
            ])?,
            // The event is the change.
            Change::TakePrompt => 0,
            // A verdict before the end: it is asked for.
            Change::CancelTurn { turn } => transaction
                .prepare_cached("UPDATE turn SET outcome = ?2 WHERE id = ?1 AND state = 'running'")?
                .execute(params![turn.to_string(), outcome_text(Outcome::Cancelled)?])?,
        Change::EndAttempt { turn } => transaction
            .prepare_cached(
                "UPDATE turn SET run_id = NULL, adapter = NULL, spool_offset = 0, ordinal_next = 0,
                        progress_digest = ?2
                 WHERE id = ?1",
            )?
            .execute(params![
                turn.to_string(),
                of_progress(&turn.to_string(), 0, 0, &[])
            ])?,
        Change::Progress {
            turn,
            offset,
            ordinal_next,
            adapter,
        } => transaction
            .prepare_cached(
                "UPDATE turn SET spool_offset = ?2, ordinal_next = ?3, adapter = ?4,
                        progress_digest = ?5
                 WHERE id = ?1",
            )?
            .execute(params![
                turn.to_string(),
                signed(offset.get()),
                signed(*ordinal_next),
                adapter,
                of_progress(&turn.to_string(), offset.get(), *ordinal_next, adapter)
            ])?,
        Change::EndTurn { turn, outcome, at } => {
            let turn = turn.to_string();
            self.forget_adapters(transaction, &turn)?;
            transaction
                .prepare_cached(
                    "UPDATE turn SET state = 'ended', outcome = ?2, ended_at = ?3, last_seq = ?5,
                            first_seq = coalesce(first_seq, ?4)
                     WHERE id = ?1 AND state <> 'ended'",
                )?
                .execute(params![
                    turn,
                    outcome_text(*outcome)?,
                    signed(at.millis()),
                    signed(first_seq),
                    signed(self.after())
                ])?
        }
            other => self.learn(transaction, other)?,
    };
        Ok(())
    }

    /// What is learned of a session as it goes.
    fn learn(&self, transaction: &Transaction<'_>, change: &Change) -> Result<usize, JournalError> {
        let session = self.session.as_str();
        Ok(match change {
            Change::AgentSession { id } => transaction
                .prepare_cached("UPDATE session SET agent_session_id = ?2 WHERE id = ?1")?
                .execute(params![session, id])?,
            Change::Choose { choices } => transaction
                .prepare_cached("UPDATE session SET choices = ?2 WHERE id = ?1")?
                .execute(params![session, choices])?,
            Change::RenewConversation => transaction
                .prepare_cached("UPDATE session SET agent_session_id = NULL WHERE id = ?1")?
                .execute([session])?,
            Change::LiveRun { run } => transaction
                .prepare_cached("UPDATE session SET live_run = ?2 WHERE id = ?1")?
                .execute(params![session, run.map(|run| run.to_string())])?,
            Change::Acked { seq } => transaction
                .prepare_cached("UPDATE session SET acked_seq = max(acked_seq, ?2) WHERE id = ?1")?
                .execute(params![session, signed(*seq)])?,
            _ => 0,
        })
    }

    /// Stores a prompt; its command id makes it a no-op the second time.
    fn queue(&self, transaction: &Transaction<'_>, change: &Change) -> Result<usize, JournalError> {
        let Change::QueueTurn {
            turn,
            command_id,
            prompt,
            author,
            is_task,
            at,
        } = change
        else {
            return Ok(0);
        };
        let (session, turn) = (self.session.as_str(), turn.to_string());
        if *is_task {
            transaction.execute("UPDATE session SET task_taken = 1 WHERE id = ?1", [session])?;
        }
        let author = author.as_ref().map(ToString::to_string);
        let command = command_id.as_deref();
        let mut insert = transaction.prepare_cached(
            "INSERT INTO turn(id, session_id, ordinal, command_id, prompt, state, created_at,
                              prompt_digest, progress_digest, author)
             SELECT ?1, ?2, 1 + coalesce(max(ordinal), 0), ?3, ?4, 'queued', ?5, ?6, ?7, ?8
             FROM turn WHERE session_id = ?2
             ON CONFLICT(session_id, command_id) DO NOTHING",
        )?;
        Ok(insert.execute(params![
            turn,
            session,
            command_id,
            prompt,
            signed(at.millis()),
            of_prompt(&turn, session, command, prompt, author.as_deref()),
            of_progress(&turn, 0, 0, &[]),
            author
        ])?)
    }

    /// The next turn follows the newest snapshot; older ones are of no use.
    fn forget_adapters(
        &self,
        transaction: &Transaction<'_>,
        newest: &str,
    ) -> Result<(), JournalError> {
        let mut older = transaction.prepare_cached(
            "SELECT id FROM turn WHERE session_id = ?1 AND id <> ?2 AND adapter IS NOT NULL
               AND (SELECT adapter FROM turn WHERE id = ?2) IS NOT NULL",
        )?;
        let ids = older.query_map(params![self.session.as_str(), newest], |row| {
            row.get::<_, String>(0)
        })?;
        for id in ids.collect::<Result<Vec<_>, _>>()? {
            transaction
                .prepare_cached(
                    "UPDATE turn SET adapter = NULL, spool_offset = 0, ordinal_next = 0,
                            progress_digest = ?2
                     WHERE id = ?1",
                )?
                .execute(params![id, of_progress(&id, 0, 0, &[])])?;
        }
        Ok(())
    }
}
