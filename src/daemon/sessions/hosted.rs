//! One of a daemon's sessions, from its setup to its end, on a task of its own.
//!
//! Its failure is its own: it stands in [`Standing`] with the reason, and only a journal that
//! takes no more concerns the others.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::verdict::{self, Verdict};
use crate::api::{HostedSession, LedSession, LogSource, Standing};
use crate::clock::Timestamp;
use crate::daemon::{Chosen, DaemonError, HubAccess, Lead, Led, OwnedSetup, State};
use crate::hub::link::{Joined, LinkHandle};
use crate::ids::{Seq, SessionId};
use crate::journal::{Journal, TurnState};
use crate::tasks::Tasks;

/// A session that was made never gives its Hub up: as good as for ever, and safe to add to a time.
pub(super) const FOR_EVER: Duration = Duration::from_hours(24 * 3_650);

/// How a daemon leaves its sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Leaving {
    /// Not yet.
    Not,
    /// The CLI is interrupted so that its own session is whole.
    Pausing,
    /// The CLI is given no time.
    AtOnce,
}

/// A session of this daemon.
#[derive(Debug)]
pub struct Hosted {
    /// Its id.
    pub id: SessionId,
    /// Its agent's name.
    pub agent: &'static str,
    /// The folder that it was asked for in.
    pub cwd: PathBuf,
    /// When it was made.
    pub created_at: Timestamp,
    standing: watch::Sender<Standing>,
    /// How its Hub link stands, once there is one.
    link: OnceLock<Arc<LinkHandle>>,
    /// Why it cannot be led.
    failure: OnceLock<DaemonError>,
    /// It is to end for good.
    ending: CancellationToken,
    /// Its task is over, while the daemon goes on.
    over: CancellationToken,
}

/// Where a session's own task begins.
pub(in crate::daemon) enum Begin {
    /// With nothing: agent and Hub have to be found.
    Anew(Result<Chosen, DaemonError>),
    /// In the Hub's session already.
    Joined(Box<Lead>, Arc<Joined>),
    /// With a workspace that is there, while the Hub does not answer.
    Apart(Box<Lead>),
}

/// What a session's task works with.
pub(in crate::daemon) struct Work {
    /// Given back once the session is led, as is all that only its start needs.
    pub(in crate::daemon) setup: OwnedSetup,
    pub(in crate::daemon) state: State,
    pub(in crate::daemon) hub: HubAccess,
    pub(in crate::daemon) tasks: Tasks,
    pub(super) leaving: watch::Receiver<Leaving>,
    /// The workspace that an earlier daemon has made.
    pub(in crate::daemon) workspace: Option<PathBuf>,
}

impl Hosted {
    pub(in crate::daemon) fn new(
        id: SessionId,
        agent: &'static str,
        cwd: PathBuf,
        created_at: Timestamp,
    ) -> Self {
        let step = "joining the Hub".to_owned();
        Self {
            id,
            agent,
            cwd,
            created_at,
            standing: watch::Sender::new(Standing::SettingUp { step }),
            link: OnceLock::new(),
            failure: OnceLock::new(),
            ending: CancellationToken::new(),
            over: CancellationToken::new(),
        }
    }

    /// Where the session stands, and news of it.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Why it cannot be led, where that is how it stands.
    pub fn failure(&self) -> Option<&DaemonError> {
        self.failure.get()
    }

    /// One that was ended, which nothing is done for any more.
    pub(in crate::daemon) fn ended(
        id: SessionId,
        agent: &'static str,
        cwd: PathBuf,
        created_at: Timestamp,
        at: Timestamp,
    ) -> Self {
        let hosted = Self::new(id, agent, cwd, created_at);
        hosted.over.cancel();
        hosted.has_ended(at);
        hosted
    }

    /// Whether it was ended for good.
    pub(super) fn is_ended(&self) -> bool {
        matches!(*self.standing.borrow(), Standing::Ended { .. })
    }

    /// From now on it was ended for good.
    pub(super) fn has_ended(&self, at: Timestamp) {
        self.standing.send_replace(Standing::Ended { at });
    }

    /// Has it cancel what runs in it and part from its Hub; until that is done.
    pub(super) async fn wind_up(&self, journal: &Journal) {
        self.ending.cancel();
        self.over.cancelled().await;
        if let Some(link) = self.link.get() {
            let last = journal.last_seq(&self.id).await;
            link.close(last.ok().and_then(Seq::new)).await;
        }
    }

    /// Up to where its Hub has its events, as far as this daemon's link has heard.
    pub(in crate::daemon) fn acked(&self) -> u64 {
        let acked = self
            .link
            .get()
            .and_then(|link| link.status().borrow().acked);
        acked.map_or(0, Seq::get)
    }

    /// As the API shows it.
    pub(super) fn show(&self, journal: &Journal) -> HostedSession {
        HostedSession {
            id: self.id.clone(),
            agent: self.agent.to_owned(),
            cwd: self.cwd.clone(),
            created_at: self.created_at,
            standing: self.standing(),
            journal: journal.clone(),
            link: self.link.get().map(|link| link.status()),
        }
    }

    /// Leads the session until the daemon leaves; whether a turn is left open.
    pub(in crate::daemon) async fn run(self: Arc<Self>, begin: Begin, work: Work) -> bool {
        let (state, mut leaving) = (work.state.clone(), work.leaving.clone());
        // On the heap for as long as it takes: the rest of a session's life needs a fraction of it.
        let starting = Box::pin(self.start_or_fail(begin, work));
        let started = tokio::select! {
            biased;
            _ = leaving.wait_for(|how| *how != Leaving::Not) => None,
            () = self.ending.cancelled() => Some(None),
            started = starting => Some(started),
        };
        let open = match started {
            None => has_open_turn(&state, &self.id).await,
            Some(Some(led)) => self.lead(led, leaving).await,
            Some(None) => false,
        };
        self.over.cancel();
        open
    }

    async fn start_or_fail(&self, begin: Begin, work: Work) -> Option<Led> {
        match Box::pin(self.start(begin, &work)).await {
            Ok(led) => Some(led),
            Err(error) => {
                if work.workspace.is_none() {
                    self.end_what_waits(&work, &error).await;
                }
                self.fail(error);
                None
            }
        }
    }

    /// Marks a session that cannot even be tried.
    pub(super) fn fail(&self, error: DaemonError) {
        tracing::error!(session = %self.id, %error, "the session cannot be led");
        let reason = error.to_string();
        // The first reason stands: nothing comes after it.
        drop(self.failure.set(error));
        self.standing.send_replace(Standing::Failed { reason });
    }

    async fn start(&self, begin: Begin, work: &Work) -> Result<Led, DaemonError> {
        let setup = work.setup.view();
        let (joining, joined) = match begin {
            Begin::Joined(joining, joined) => (*joining, Some(joined)),
            Begin::Apart(joining) => (*joining, None),
            Begin::Anew(chosen) => {
                let id = self.id.clone();
                let (state, hub, tasks) = (&work.state, &work.hub, &work.tasks);
                let joining = chosen?.connect(state, hub, id, FOR_EVER, tasks);
                (joining, None)
            }
        };
        // One link a session.
        drop(self.link.set(joining.link()));
        let led = match (joined, &work.workspace) {
            (None, Some(workspace)) if joining.can_resume() && workspace.is_dir() => {
                joining.resume(&setup, workspace.clone()).await?
            }
            (Some(joined), _) => joining.start(&setup, &joined).await?,
            (None, _) => {
                let joined = joining.joined().await?;
                joining.start(&setup, &joined).await?
            }
        };
        let standing = LedSession {
            session: led.session.clone(),
            workspace: led.workspace.clone(),
            agent_version: led.agent_version.clone(),
            model: setup.config.agent.model.clone(),
            logs: LogSource {
                runs: setup.config.state_dir.join("runs"),
                redactor: Arc::clone(&led.redactor),
            },
        };
        self.standing.send_replace(Standing::Led(standing));
        Ok(led)
    }

    async fn lead(&self, mut led: Led, mut leaving: watch::Receiver<Leaving>) -> bool {
        let fault = tokio::select! {
            biased;
            _ = leaving.wait_for(|how| *how != Leaving::Not) => None,
            () = self.ending.cancelled() => None,
            error = led.fault() => Some(error),
        };
        match fault {
            None if self.ending.is_cancelled() => {
                wind_up(led).await;
                false
            }
            None => pause(led, &mut leaving).await,
            Some(error) => {
                led.close().await;
                self.fail(error);
                false
            }
        }
    }

    /// Whoever waits for a turn of a session that never began hears why there is none.
    async fn end_what_waits(&self, work: &Work, error: &DaemonError) {
        let journal = work.state.journal().clone();
        let Ok(turns) = journal.turns(&self.id).await else {
            return;
        };
        for turn in turns {
            let failed = Verdict::Failed(error);
            if turn.state == TurnState::Queued
                && let Err(error) = verdict::end_turn(&journal, self, turn, failed).await
            {
                tracing::error!(%error, "the end of a turn could not be stored");
            }
        }
    }
}

/// Cancels what runs and what waits, and parts from the Hub.
async fn wind_up(led: Led) {
    if let Err(error) = led.session.abort().await {
        tracing::warn!(%error, "the session's driver has gone before the end");
    }
    // Nothing runs: the driver ends.
    led.session.pause(true).await;
    led.close().await;
}

/// Leaves the running turn to the next daemon; whether one is left open.
async fn pause(led: Led, leaving: &mut watch::Receiver<Leaving>) -> bool {
    let at_once = *leaving.borrow_and_update() == Leaving::AtOnce;
    let paused = tokio::select! {
        open = led.session.pause(at_once) => Some(open),
        _ = leaving.wait_for(|how| *how == Leaving::AtOnce), if !at_once => None,
    };
    let open = match paused {
        Some(open) => open,
        None => led.session.pause(true).await,
    };
    led.close().await;
    open
}

async fn has_open_turn(state: &State, session: &SessionId) -> bool {
    let turns = state.journal().turns(session).await.unwrap_or_default();
    turns.iter().any(|turn| turn.state != TurnState::Ended)
}
