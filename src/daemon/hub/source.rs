//! The journal as the Hub link's source of events.

use std::path::PathBuf;

use crate::hub::outbox::{Batch, EventSource, EventTail, SourceError};
use crate::ids::{Seq, SessionId};
use crate::journal::{self, Change, Journal, Tail};

/// Reads a journal for the Hub link, and keeps how far the Hub is.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct JournalSource {
    pub(in crate::daemon) journal: Journal,
    pub(in crate::daemon) agent: &'static str,
    /// The daemon's own folder.
    pub(in crate::daemon) state_dir: PathBuf,
}

impl EventSource for JournalSource {
    type Tail = Tail;

    async fn acked(&self, session: &SessionId) -> Result<Option<Seq>, SourceError> {
        let row = self.journal.session(session).await?;
        Ok(row.and_then(|row| Seq::new(row.acked_seq)))
    }

    async fn set_acked(&self, session: &SessionId, seq: Seq) -> Result<(), SourceError> {
        crash_point!("hub.before_acked_stored");
        let acked = Change::Acked { seq: seq.get() };
        self.journal
            .commit(journal::Batch::new(session, self.agent).with(acked))
            .await?;
        crash_point!("hub.acked_stored");
        Ok(())
    }

    async fn turn_start(&self, session: &SessionId, seq: Seq) -> Result<Seq, SourceError> {
        Ok(self.journal.turn_start(session, seq).await?.unwrap_or(seq))
    }

    async fn workspace(&self, session: &SessionId) -> Result<String, SourceError> {
        let row = self.journal.session(session).await?;
        Ok(row.map(|row| row.workspace).unwrap_or_default())
    }

    fn tail(&self, session: &SessionId, after: Option<Seq>) -> Tail {
        self.journal.tail(session, after.map_or(0, Seq::get))
    }
}

impl EventTail for Tail {
    async fn next(&mut self) -> Result<Batch, SourceError> {
        let batch = Tail::next(self).await?;
        Ok(Batch {
            first: batch.first,
            last: batch.last,
            body: batch.body,
        })
    }
}
