//! From a change to rows, within a transaction that the writer has begun.
//!
//! Each change is idempotent or counted on by its state, so that a batch that is stored again after
//! a failure leaves what it would have left the first time.

use rusqlite::{Params, Transaction, params};

use super::digest::{of_progress, of_prompt};
use super::store::{outcome_text, signed};
use super::{Change, JournalError};
use crate::clock::Timestamp;
use crate::event::Outcome;
use crate::ids::{RunId, TurnId};
use crate::image::{self, Image};

/// Where changes of one batch are stored.
pub(super) struct Rows<'a> {
    pub(super) transaction: &'a Transaction<'a>,
    pub(super) session: &'a str,
    pub(super) agent: &'a str,
    /// The places of the batch's events; the first one is behind the last where there are none.
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
}

impl Rows<'_> {
    /// Stores a change.
    pub(super) fn apply(&self, change: &Change) -> Result<(), JournalError> {
        crash_point!("journal.before_change");
        match change {
            Change::CreateSession { settings, at } => self.create_session(settings, *at),
            Change::OpenSession { workspace, at } => self.open_session(workspace, *at),
            Change::CloseSession { at } => self.close_session(*at),
            Change::ForgetSession => self.forget_session(),
            Change::AgentSession { id } => self.set("agent_session_id", Some(id.as_str())),
            Change::RenewConversation => self.set("agent_session_id", None::<&str>),
            Change::Choose { choices } => self.set("choices", choices),
            Change::LiveRun { run } => self.set("live_run", run.map(|run| run.to_string())),
            Change::Acked { seq } => self.acked(*seq),
            Change::QueueTurn { .. } => self.queue_turn(change),
            Change::BeginAttempt {
                turn,
                attempt,
                run,
                ordinal_next,
            } => self.begin_attempt(*turn, *attempt, *run, *ordinal_next),
            // The event is the change; only images are more than it says.
            Change::TakePrompt { turn, images } => self.keep_images(*turn, images),
            Change::Progress {
                turn,
                offset,
                ordinal_next,
                adapter,
            } => self.progress(*turn, offset.get(), *ordinal_next, adapter),
            Change::CancelTurn { turn } => self.cancel_turn(*turn),
            Change::EndAttempt { turn } => self.end_attempt(*turn),
            Change::EndTurn { turn, outcome, at } => self.end_turn(*turn, *outcome, *at),
        }
    }

    fn run(&self, sql: &str, values: impl Params) -> Result<(), JournalError> {
        self.transaction.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    /// Sets what is known of the session.
    fn set(&self, column: &str, value: impl rusqlite::ToSql) -> Result<(), JournalError> {
        let update = format!("UPDATE session SET {column} = ?2 WHERE id = ?1");
        self.run(&update, params![self.session, value])
    }

    fn create_session(&self, settings: &str, at: Timestamp) -> Result<(), JournalError> {
        self.run(
            "INSERT INTO session(id, agent, workspace, created_at, settings)
             VALUES (?1, ?2, '', ?3, ?4)
             ON CONFLICT(id) DO UPDATE SET settings = excluded.settings, closed_at = NULL",
            params![self.session, self.agent, signed(at.millis()), settings],
        )
    }

    fn open_session(&self, workspace: &str, at: Timestamp) -> Result<(), JournalError> {
        self.run(
            "INSERT INTO session(id, agent, workspace, created_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT(id) DO UPDATE SET workspace = excluded.workspace",
            params![self.session, self.agent, workspace, signed(at.millis())],
        )
    }

    fn close_session(&self, at: Timestamp) -> Result<(), JournalError> {
        self.run(
            "UPDATE session SET closed_at = coalesce(closed_at, ?2) WHERE id = ?1",
            params![self.session, signed(at.millis())],
        )
    }

    /// Removes all that is stored of the session.
    fn forget_session(&self) -> Result<(), JournalError> {
        self.run(
            "DELETE FROM image WHERE turn_id IN (SELECT id FROM turn WHERE session_id = ?1)",
            [self.session],
        )?;
        for table in ["event_batch", "turn"] {
            let delete = format!("DELETE FROM {table} WHERE session_id = ?1");
            self.run(&delete, [self.session])?;
        }
        self.run("DELETE FROM session WHERE id = ?1", [self.session])
    }

    fn acked(&self, seq: u64) -> Result<(), JournalError> {
        self.run(
            "UPDATE session SET acked_seq = max(acked_seq, ?2) WHERE id = ?1",
            params![self.session, signed(seq)],
        )
    }

    /// Stores a prompt; its command id makes it a no-op the second time.
    fn queue_turn(&self, change: &Change) -> Result<(), JournalError> {
        let Change::QueueTurn {
            turn,
            command_id,
            prompt,
            author,
            images,
            is_task,
            at,
        } = change
        else {
            return Ok(());
        };
        let id = *turn;
        let turn = id.to_string();
        if *is_task {
            self.set("task_taken", 1)?;
        }
        let author = author.as_ref().map(ToString::to_string);
        let command = command_id.as_deref();
        let notes = noted(images)?;
        self.run(
            "INSERT INTO turn(id, session_id, ordinal, command_id, prompt, state, created_at,
                              prompt_digest, progress_digest, author, images)
             SELECT ?1, ?2, 1 + coalesce(max(ordinal), 0), ?3, ?4, 'queued', ?5, ?6, ?7, ?8, ?9
             FROM turn WHERE session_id = ?2
             ON CONFLICT(session_id, command_id) DO NOTHING",
            params![
                turn,
                self.session,
                command_id,
                prompt,
                signed(at.millis()),
                of_prompt(
                    (&turn, self.session),
                    command,
                    prompt,
                    author.as_deref(),
                    notes.as_deref()
                ),
                of_progress(&turn, 0, 0, &[]),
                author,
                notes
            ],
        )?;
        self.keep_images(id, images)
    }

    /// Keeps the images of a turn that is there: a prompt that came again has made none.
    fn keep_images(&self, turn: TurnId, images: &[Image]) -> Result<(), JournalError> {
        for image in images {
            self.run(
                "INSERT INTO image(turn_id, sha256, body) SELECT id, ?2, ?3 FROM turn WHERE id = ?1
                 ON CONFLICT(turn_id, sha256) DO NOTHING",
                params![turn.to_string(), image.note().sha256, image.data()],
            )?;
        }
        Ok(())
    }

    fn begin_attempt(
        &self,
        turn: TurnId,
        attempt: u32,
        run: RunId,
        ordinal_next: u64,
    ) -> Result<(), JournalError> {
        let turn = turn.to_string();
        self.run(
            "UPDATE turn SET state = 'running', attempt = ?2, run_id = ?3, spool_offset = 0,
                    ordinal_next = ?6, adapter = NULL, progress_digest = ?5,
                    first_seq = coalesce(first_seq, ?4)
             WHERE id = ?1",
            params![
                turn,
                attempt,
                run.to_string(),
                signed(self.first_seq),
                of_progress(&turn, 0, ordinal_next, &[]),
                signed(ordinal_next)
            ],
        )
    }

    fn progress(
        &self,
        turn: TurnId,
        offset: u64,
        ordinal_next: u64,
        adapter: &[u8],
    ) -> Result<(), JournalError> {
        let turn = turn.to_string();
        self.run(
            "UPDATE turn SET spool_offset = ?2, ordinal_next = ?3, adapter = ?4,
                    progress_digest = ?5
             WHERE id = ?1",
            params![
                turn,
                signed(offset),
                signed(ordinal_next),
                adapter,
                of_progress(&turn, offset, ordinal_next, adapter)
            ],
        )
    }

    /// A verdict before the end: it is asked for.
    fn cancel_turn(&self, turn: TurnId) -> Result<(), JournalError> {
        self.run(
            "UPDATE turn SET outcome = ?2 WHERE id = ?1 AND state = 'running'",
            params![turn.to_string(), outcome_text(Outcome::Cancelled)?],
        )
    }

    fn end_attempt(&self, turn: TurnId) -> Result<(), JournalError> {
        let turn = turn.to_string();
        self.run(
            "UPDATE turn SET run_id = NULL, adapter = NULL, spool_offset = 0, ordinal_next = 0,
                    progress_digest = ?2
             WHERE id = ?1",
            params![turn, of_progress(&turn, 0, 0, &[])],
        )
    }

    fn end_turn(&self, turn: TurnId, outcome: Outcome, at: Timestamp) -> Result<(), JournalError> {
        let turn = turn.to_string();
        self.forget_adapters(&turn)?;
        // Nobody is told of them any more.
        self.run("DELETE FROM image WHERE turn_id = ?1", [&turn])?;
        self.run(
            "UPDATE turn SET state = 'ended', outcome = ?2, ended_at = ?3, last_seq = ?5,
                    first_seq = coalesce(first_seq, ?4)
             WHERE id = ?1 AND state <> 'ended'",
            params![
                turn,
                outcome_text(outcome)?,
                signed(at.millis()),
                signed(self.first_seq),
                signed(self.last_seq)
            ],
        )
    }

    /// The next turn follows the newest snapshot; older ones are of no use.
    fn forget_adapters(&self, newest: &str) -> Result<(), JournalError> {
        let mut older = self.transaction.prepare_cached(
            "SELECT id FROM turn WHERE session_id = ?1 AND id <> ?2 AND adapter IS NOT NULL
               AND (SELECT adapter FROM turn WHERE id = ?2) IS NOT NULL",
        )?;
        let ids = older.query_map(params![self.session, newest], |row| row.get::<_, String>(0))?;
        for id in ids.collect::<Result<Vec<_>, _>>()? {
            self.run(
                "UPDATE turn SET adapter = NULL, spool_offset = 0, ordinal_next = 0,
                        progress_digest = ?2
                 WHERE id = ?1",
                params![id, of_progress(&id, 0, 0, &[])],
            )?;
        }
        Ok(())
    }
}

/// Which images go with a prompt, as a row says it; nothing where none do.
fn noted(images: &[Image]) -> Result<Option<String>, JournalError> {
    if images.is_empty() {
        return Ok(None);
    }
    let notes = serde_json::to_string(&image::notes(images));
    notes
        .map(Some)
        .map_err(|error| JournalError::Corrupt(format!("a prompt's images have no JSON: {error}")))
}
