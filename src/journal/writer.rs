//! The writer thread: the only code that writes the journal.
//!
//! Group commit without a timer: it takes what waits, commits it in one transaction, and while
//! that runs the next group grows by itself. A lone batch waits for nothing; a flood is cheap.
//!
//! A failed write poisons the journal: after a failed fsync nobody knows what is on the disk, so
//! retrying could lose data silently. The daemon restarts and reads the spools again.

use std::collections::HashMap;

use rusqlite::{Connection, Transaction, params};
use tokio::sync::{mpsc, oneshot};

use super::store::{outcome_text, signed};
use super::{Batch, Change, Feeds, JournalError, StoredBatch, feed_of, store};
use crate::event::{Header, Outcome};
use crate::ids::{Seq, SessionId};

/// Batches joined in one transaction at most.
const GROUP_BATCHES: usize = 64;
/// Bytes of events joined in one transaction, about.
const GROUP_BYTES: usize = 1 << 20;

const BEGIN_ATTEMPT: &str = "UPDATE turn SET state = 'running', attempt = ?2, run_id = ?3,
        spool_offset = 0, ordinal_next = ?5, adapter = NULL, first_seq = coalesce(first_seq, ?4)
     WHERE id = ?1";

/// A verdict before the end: it is asked for.
const CANCEL_TURN: &str = "UPDATE turn SET outcome = ?2 WHERE id = ?1 AND state = 'running'";

/// A batch and whoever waits for it.
pub(super) struct Commit {
    pub(super) batch: Batch,
    pub(super) done: oneshot::Sender<Result<Option<Seq>, JournalError>>,
}

/// Owns the writing connection.
pub(super) struct Writer {
    connection: Connection,
    feeds: Feeds,
    /// The last `seq` of each session seen since the start.
    last: HashMap<SessionId, u64>,
    full_sync: bool,
    poisoned: bool,
}

impl Writer {
    pub(super) fn new(connection: Connection, feeds: Feeds) -> Self {
        Self {
            connection,
            feeds,
            last: HashMap::new(),
            full_sync: false,
            poisoned: false,
        }
    }

    /// Serves until every handle to the journal is gone.
    pub(super) fn run(mut self, mut commits: mpsc::Receiver<Commit>) {
        while let Some(first) = commits.blocking_recv() {
            let mut bytes = first.batch.size();
            let mut group = vec![first];
            while group.len() < GROUP_BATCHES && bytes < GROUP_BYTES {
                let Ok(next) = commits.try_recv() else { break };
                bytes += next.batch.size();
                group.push(next);
            }
            self.commit_group(group);
        }
        crash_point!("journal.before_checkpoint");
        // Leave one file behind where that costs nothing; a reader may still hold the log open.
        drop(
            self.connection
                .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)"),
        );
        crash_point!("journal.checkpointed");
    }

    fn commit_group(&mut self, group: Vec<Commit>) {
        if self.poisoned {
            return answer_all(group, &JournalError::Poisoned);
        }
        let (mut batches, waiting): (Vec<_>, Vec<_>) = group
            .into_iter()
            .map(|commit| (commit.batch, commit.done))
            .unzip();
        match self.store(&mut batches) {
            Ok(stored) => {
                for ((batch, done), stored) in batches.iter().zip(waiting).zip(stored) {
                    let last = stored.as_ref().map(|stored| stored.last);
                    if let Some(stored) = stored {
                        self.last.insert(batch.session.clone(), stored.last.get());
                        let feed = feed_of(&self.feeds, &batch.session);
                        feed.publish(stored);
                        if batch.changes.iter().any(Change::ends_turn) {
                            feed.settle();
                        }
                    }
                    crash_point!("journal.before_answer");
                    // Whoever asked may have gone; the commit stands.
                    drop(done.send(Ok(last)));
                }
            }
            Err(error) => {
                tracing::error!(%error, "a journal write failed; nothing more is accepted");
                self.poisoned = true;
                for done in waiting {
                    drop(done.send(Err(error.clone())));
                }
            }
        }
    }

    fn store(&mut self, batches: &mut [Batch]) -> Result<Vec<Option<StoredBatch>>, JournalError> {
        let promised = batches
            .iter()
            .any(|batch| batch.changes.iter().any(Change::is_promise));
        if promised != self.full_sync {
            let level = if promised { "FULL" } else { "NORMAL" };
            self.connection.pragma_update(None, "synchronous", level)?;
            self.full_sync = promised;
        }
        let transaction = self
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let mut last: HashMap<SessionId, u64> = HashMap::new();
        let mut stored = Vec::with_capacity(batches.len());
        for batch in batches {
            let known = last.get(&batch.session);
            let before = match known.or_else(|| self.last.get(&batch.session)) {
                Some(seq) => *seq,
                None => store::last_seq(&transaction, &batch.session)?,
            };
            let events = store_events(&transaction, batch, before)?;
            for change in &batch.changes {
                apply(&transaction, batch, change, before + 1)?;
            }
            let after = events.as_ref().map_or(before, |events| events.last.get());
            last.insert(batch.session.clone(), after);
            stored.push(events);
        }
        crash_point!("journal.before_commit");
        transaction.commit()?;
        crash_point!("journal.committed");
        Ok(stored)
    }
}

impl Batch {
    fn size(&self) -> usize {
        self.events.iter().map(|event| event.json.len() + 256).sum()
    }
}

fn store_events(
    transaction: &Transaction<'_>,
    batch: &mut Batch,
    before: u64,
) -> Result<Option<StoredBatch>, JournalError> {
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
    let (Some(first), Some(last)) = (Seq::new(before + 1), Seq::new(seq)) else {
        return Ok(None);
    };
    if last < first {
        return Ok(None);
    }
    transaction
        .prepare_cached(
            "INSERT INTO event_batch(session_id, first_seq, last_seq, body)
             VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            batch.session.as_str(),
            signed(first.get()),
            signed(seq),
            body
        ])?;
    Ok(Some(StoredBatch {
        first,
        last,
        body: body.into(),
    }))
}

fn apply(
    transaction: &Transaction<'_>,
    batch: &Batch,
    change: &Change,
    first_seq: u64,
) -> Result<(), JournalError> {
    let session = batch.session.as_str();
    crash_point!("journal.before_change");
    match change {
        Change::CreateSession { .. } | Change::CloseSession { .. } | Change::OpenSession { .. } => {
            return apply_to_session(transaction, batch, change);
        }
        Change::QueueTurn {
            turn,
            command_id,
            prompt,
            is_task,
            at,
        } => {
            if *is_task {
                transaction
                    .execute("UPDATE session SET task_taken = 1 WHERE id = ?1", [session])?;
            }
            transaction
                .prepare_cached(
                    "INSERT INTO turn(id, session_id, ordinal, command_id, prompt, state, created_at)
                     SELECT ?1, ?2, 1 + coalesce(max(ordinal), 0), ?3, ?4, 'queued', ?5
                     FROM turn WHERE session_id = ?2
                     ON CONFLICT(session_id, command_id) DO NOTHING",
                )?
                .execute(params![
                    turn.to_string(),
                    session,
                    command_id,
                    prompt,
                    signed(at.millis())
                ])?
        }
        Change::BeginAttempt {
            turn,
            attempt,
            run,
            ordinal_next,
        } => transaction.prepare_cached(BEGIN_ATTEMPT)?.execute(params![
            turn.to_string(),
            attempt,
            run.to_string(),
            signed(first_seq),
            signed(*ordinal_next)
        ])?,
        // The event is the change.
        Change::TakePrompt => 0,
        Change::CancelTurn { turn } => transaction
            .prepare_cached(CANCEL_TURN)?
            .execute(params![turn.to_string(), outcome_text(Outcome::Cancelled)?])?,
        Change::EndAttempt { turn } => transaction
            .prepare_cached("UPDATE turn SET run_id = NULL, adapter = NULL WHERE id = ?1")?
            .execute([turn.to_string()])?,
        Change::Progress {
            turn,
            offset,
            ordinal_next,
            adapter,
        } => transaction
            .prepare_cached(
                "UPDATE turn SET spool_offset = ?2, ordinal_next = ?3, adapter = ?4 WHERE id = ?1",
            )?
            .execute(params![
                turn.to_string(),
                signed(offset.get()),
                signed(*ordinal_next),
                adapter
            ])?,
        Change::EndTurn { turn, outcome, at } => {
            // the next turn follows the newest snapshot; older ones are of no use
            transaction
                .prepare_cached(
                    "UPDATE turn SET adapter = NULL
                     WHERE session_id = ?1 AND id <> ?2 AND adapter IS NOT NULL
                       AND (SELECT adapter FROM turn WHERE id = ?2) IS NOT NULL",
                )?
                .execute(params![session, turn.to_string()])?;
            transaction
                .prepare_cached(
                    "UPDATE turn SET state = 'ended', outcome = ?2, ended_at = ?3,
                            first_seq = coalesce(first_seq, ?4)
                     WHERE id = ?1 AND state <> 'ended'",
                )?
                .execute(params![
                    turn.to_string(),
                    outcome_text(*outcome)?,
                    signed(at.millis()),
                    signed(first_seq)
                ])?
        }
        Change::AgentSession { id } => transaction
            .prepare_cached("UPDATE session SET agent_session_id = ?2 WHERE id = ?1")?
            .execute(params![session, id])?,
        Change::Acked { seq } => transaction
            .prepare_cached("UPDATE session SET acked_seq = max(acked_seq, ?2) WHERE id = ?1")?
            .execute(params![session, signed(*seq)])?,
    };
    Ok(())
}

fn apply_to_session(
    transaction: &Transaction<'_>,
    batch: &Batch,
    change: &Change,
) -> Result<(), JournalError> {
    let session = batch.session.as_str();
    match change {
        Change::CreateSession { settings, at } => transaction
            .prepare_cached(
                "INSERT INTO session(id, agent, workspace, created_at, settings)
                 VALUES (?1, ?2, '', ?3, ?4)
                 ON CONFLICT(id) DO UPDATE SET settings = excluded.settings, closed_at = NULL",
            )?
            .execute(params![session, batch.agent, signed(at.millis()), settings])?,
        Change::CloseSession { at } => transaction
            .prepare_cached("UPDATE session SET closed_at = ?2 WHERE id = ?1")?
            .execute(params![session, signed(at.millis())])?,
        Change::OpenSession { workspace, at } => transaction
            .prepare_cached(
                "INSERT INTO session(id, agent, workspace, created_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT(id) DO UPDATE SET workspace = excluded.workspace",
            )?
            .execute(params![
                session,
                batch.agent,
                workspace,
                signed(at.millis())
            ])?,
        _ => 0,
    };
    Ok(())
}

fn answer_all(group: Vec<Commit>, error: &JournalError) {
    for commit in group {
        // Whoever asked may have gone.
        drop(commit.done.send(Err(error.clone())));
    }
}
