//! The end of a session, for good: nothing of it runs, no daemon opens it again.
//!
//! First all that runs is cancelled and the Hub is told, then the end is stored: a daemon that dies
//! in between opens the session once more, and whoever asked for the end asks again. What the Hub
//! has not acknowledged by then is sent all the same, by this daemon or the next.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::hosted::{FOR_EVER, Hosted};
use super::record::Record;
use super::verdict::{self, Verdict};
use crate::api::EndError;
use crate::clock::Timestamp;
use crate::daemon::hub::source::JournalSource;
use crate::daemon::state::housekeeping::Housekeeping;
use crate::daemon::{DaemonError, Registry};
use crate::ids::{Seq, SessionId};
use crate::journal::{JournalError, SessionRow, TurnState};
use crate::sandbox::{LocalSandbox, Sandbox};

/// Between two farewells to a Hub that did not acknowledge everything within its time.
const AGAIN: Duration = Duration::from_mins(1);

impl Registry {
    /// Ends a session; once it has ended, that is so.
    pub(in crate::daemon) async fn end(&self, hosted: &Arc<Hosted>) -> Result<(), EndError> {
        if hosted.is_ended() {
            return Ok(());
        }
        if self.is_leaving() {
            return Err(EndError::Stopping);
        }
        hosted.wind_up(self.state().journal()).await;
        if self.is_leaving() {
            return Err(EndError::Stopping);
        }
        self.end_what_is_open(hosted).await?;
        let last = self.state().journal().last_seq(&hosted.id).await?;
        self.close(hosted).await.map_err(journal_error)?;
        if hosted.acked() < last {
            self.deliver(hosted.id.clone(), hosted.agent);
        }
        Ok(())
    }

    /// Turns that no driver was there to cancel, and the runs of those that an earlier daemon left.
    async fn end_what_is_open(&self, hosted: &Hosted) -> Result<(), EndError> {
        let journal = self.state().journal();
        let turns = journal.turns(&hosted.id).await?;
        for turn in turns
            .into_iter()
            .filter(|turn| turn.state != TurnState::Ended)
        {
            if let Some(run) = turn.run {
                self.housekeeping().stop_run(run).await;
            }
            verdict::end_turn(journal, hosted, turn, Verdict::Cancelled)
                .await
                .map_err(journal_error)?;
        }
        Ok(())
    }

    /// Shows a session that an earlier daemon has ended, and finishes what that left.
    pub(super) fn show_ended(&self, row: &SessionRow, settings: &str, at: Timestamp) {
        let agent = crate::agent::by_name(&row.agent).map_or("unknown", |kind| kind.name);
        let cwd = Record::from_json(settings).map_or_else(|_| PathBuf::new(), |record| record.cwd);
        let hosted = Hosted::ended(row.id.clone(), agent, cwd, row.created_at, at);
        self.remember(Arc::new(hosted));
        self.deliver(row.id.clone(), agent);
    }

    /// Has the Hub get what it has not acknowledged of a session that was ended.
    fn deliver(&self, session: SessionId, agent: &'static str) {
        let (registry, stop) = (self.clone(), self.farewells().stopping().clone());
        self.farewells().spawn("deliver-ended", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = registry.deliver_all(&session, agent) => {}
            }
        });
    }

    async fn deliver_all(&self, session: &SessionId, agent: &'static str) {
        let journal = self.state().journal();
        loop {
            match self.is_delivered(session).await {
                Ok(false) => {}
                Ok(true) => return,
                Err(error) => return tracing::warn!(%error, "cannot see what the Hub has"),
            }
            let source = JournalSource {
                journal: journal.clone(),
                agent,
                state_dir: self.state().dir().to_owned(),
            };
            let (hub, tasks) = (self.hub(), self.farewells());
            let (link, _no_commands) = hub.link(source, (session.clone(), None), FOR_EVER, tasks);
            if let Err(error) = link.ready().await {
                return tracing::warn!(%session, %error, "the Hub does not take the rest");
            }
            let last = journal.last_seq(session).await.ok().and_then(Seq::new);
            link.close(last).await;
            if link.status().borrow().acked >= last {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Whether the Hub has acknowledged all of a session.
    pub(super) async fn is_delivered(&self, session: &SessionId) -> Result<bool, JournalError> {
        let journal = self.state().journal();
        let last = journal.last_seq(session).await?;
        let row = journal.session(session).await?;
        Ok(row.is_none_or(|row| row.acked_seq >= last))
    }

    pub(in crate::daemon) fn housekeeping(&self) -> Housekeeping {
        Housekeeping {
            journal: self.state().journal().clone(),
            session: None,
            runs: self.state().dir().join("runs"),
            sandbox: Sandbox::Local(LocalSandbox::of_this_program()),
            retain: false,
        }
    }
}

fn journal_error(error: DaemonError) -> EndError {
    match error {
        DaemonError::Journal(error) => EndError::Journal(error),
        error => EndError::Journal(JournalError::Corrupt(error.to_string())),
    }
}
