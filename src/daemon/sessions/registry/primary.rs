//! The session that a `daemon` command is for: made or joined before anything else is done, and gone
//! on with where an earlier daemon was started by the same words.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Chosen, DaemonError, Hosted, OwnedSetup, Registry, hub};
use crate::config::SessionSettings;
use crate::daemon::sessions::hosted::{Begin, FOR_EVER};
use crate::daemon::sessions::record::{Asker, Record};
use crate::hub::Phase;
use crate::ids::SessionId;
use crate::journal::{Batch, Change, SessionRow, Tail};

/// A Hub that answers at all does so within this time, most of the time; a session that was made
/// waits no longer.
const AWHILE: Duration = Duration::from_secs(2);

/// The session that a `daemon` command is for.
#[derive(Debug)]
pub struct Named {
    /// Which one of the Hub's; without it, one with this task is made, or gone on with where an
    /// earlier daemon has made it.
    pub session: Option<SessionId>,
    /// What it is to do.
    pub task: Option<String>,
    /// What was asked for it, for the next daemon.
    pub settings: SessionSettings,
}

/// The session of a `daemon` command, joined.
#[derive(Debug)]
pub struct Primary {
    /// Where it stands.
    pub hosted: Arc<Hosted>,
    /// Its events after those that earlier daemons have shown.
    pub tail: Tail,
    /// It was made by an earlier daemon for the same task.
    pub is_continued: bool,
}

impl Registry {
    /// Joins the session of a `daemon` command, and leads it from then on.
    pub async fn lead(
        &self,
        setup: OwnedSetup,
        chosen: Chosen,
        named: Named,
    ) -> Result<Primary, DaemonError> {
        let inner = &self.inner;
        let (journal, hub) = (inner.state.journal(), &inner.hub);
        let asker = match named.session {
            Some(_) => Asker::Named,
            None => Asker::Daemon {
                task: named.task.clone(),
            },
        };
        let record = Record {
            asker,
            cwd: setup.cwd.clone(),
            settings: named.settings,
            turn: None,
        };
        let known = match named.session {
            Some(_) => None,
            None => self.same_task(&record).await?,
        };
        let is_continued = known.is_some();
        let view = setup.view();
        let id = match named.session.or(known) {
            Some(session) => session,
            None => hub::create_session(&view, hub, named.task.as_deref()).await?,
        };
        let agent = chosen.agent();
        let workspace = self.worked_in(&id).await?;
        let workspace = workspace.filter(|folder| chosen.can_resume() && folder.is_dir());
        let begin = self.join(chosen, &id, workspace.is_some()).await?;
        let at = inner.around.clock.wall();
        let settings = record.to_json()?;
        let create = Change::CreateSession { settings, at };
        journal.commit(Batch::new(&id, agent).with(create)).await?;
        let tail = journal.tail(&id, journal.last_seq(&id).await?);
        let hosted = Arc::new(Hosted::new(id, agent, setup.cwd.clone(), at));
        let workspace = workspace.filter(|_| matches!(begin, Begin::Apart(_)));
        self.hold(&hosted, begin, setup, workspace);
        Ok(Primary {
            hosted,
            tail,
            is_continued,
        })
    }

    /// Joins the Hub's session. Where an earlier daemon has worked in it, its agent may be at work, or
    /// ask for consent: that does not wait for a Hub which says nothing.
    async fn join(
        &self,
        chosen: Chosen,
        id: &SessionId,
        goes_on: bool,
    ) -> Result<Begin, DaemonError> {
        let inner = &self.inner;
        let patience = if goes_on { FOR_EVER } else { inner.hub.wait };
        let lead = chosen.connect(&inner.state, &inner.hub, id.clone(), patience, &inner.tasks);
        let lead = Box::new(lead);
        let joined = tokio::select! {
            biased;
            joined = lead.joined() => Some(joined?),
            () = tokio::time::sleep(AWHILE), if goes_on => None,
        };
        if let Some(joined) = joined {
            return Ok(Begin::Joined(lead, joined));
        }
        let status = lead.link().status();
        lead.link().go_on_apart();
        if status.borrow().phase == Phase::Closed {
            // It was refused at that very moment.
            let joined = lead.joined().await?;
            return Ok(Begin::Joined(lead, joined));
        }
        if status.borrow().phase == Phase::Fenced {
            // Its work may go on there: done here as well, it would be done twice.
            let joined = tokio::time::timeout(inner.hub.wait, lead.joined()).await;
            let fenced = |_| {
                let why = status.borrow().last_error.clone().unwrap_or_default();
                DaemonError::HubUnreachable(format!("session {id}: {why}"))
            };
            return Ok(Begin::Joined(lead, joined.map_err(fenced)??));
        }
        tracing::warn!(session = %id, "the session goes on without its Hub, which does not answer");
        Ok(Begin::Apart(lead))
    }

    /// The workspace of a session that has had a turn: its task was taken then.
    async fn worked_in(&self, id: &SessionId) -> Result<Option<PathBuf>, DaemonError> {
        let journal = self.inner.state.journal();
        let has_worked = !journal.turns(id).await?.is_empty();
        let row = journal.session(id).await?.filter(|_| has_worked);
        let workspace = row.map(|row| row.workspace);
        Ok(workspace.filter(|path| !path.is_empty()).map(PathBuf::from))
    }

    /// The session that an earlier daemon was started for by the same words: a supervisor that
    /// starts the daemon again must not have its task done twice.
    async fn same_task(&self, record: &Record) -> Result<Option<SessionId>, DaemonError> {
        let rows = self.inner.state.journal().sessions().await?;
        let same = |row: &SessionRow| {
            let stored = row.settings.as_deref().map(Record::from_json);
            matches!(stored, Some(Ok(stored)) if stored == *record)
        };
        let mut open = rows.into_iter().filter(|row| row.closed_at.is_none());
        Ok(open.find(same).map(|row| row.id))
    }
}
