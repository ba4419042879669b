//! A batch whose events have their places: stored whole, within a transaction that the writer has
//! begun.

use bytes::Bytes;
use rusqlite::{Connection, Transaction, params};

use super::change::Rows;
use super::digest::of_batch;
use super::store::{seal_session, signed};
use super::{Batch, Change, JournalError};
use crate::clock::Timestamp;
use crate::event::Header;
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
        let rows = Rows {
            transaction,
            session: self.session.as_str(),
            agent: &self.agent,
            first_seq: self.before + 1,
            last_seq: self.after(),
        };
        for change in &self.changes {
            rows.apply(change)?;
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
