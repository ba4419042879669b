//! One of a daemon's sessions, from its setup to its end, on a task of its own.
//!
//! Its failure is its own: it stands in [`Standing`] with the reason, and only a journal that
//! takes no more concerns the others.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use super::{Chosen, DaemonError, HubAccess, Lead, Led, OwnedSetup, State};
use crate::api::{HostedSession, LedSession, LogSource, Standing};
use crate::clock::Timestamp;
use crate::event::{ErrorClass, Event, Outcome, TurnError};
use crate::hub::link::{Joined, LinkStatus};
use crate::ids::{EventId, SessionId, TurnId};
use crate::journal::{Batch, Change, Journal, NewEvent, TurnState};
use crate::tasks::Tasks;

/// A session that was made never gives its Hub up: as good as for ever, and safe to add to a time.
const FOR_EVER: Duration = Duration::from_hours(24 * 3_650);

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
    link: OnceLock<watch::Receiver<LinkStatus>>,
    /// Why it cannot be led.
    failure: OnceLock<DaemonError>,
}

/// Where a session's own task begins.
pub(super) enum Begin {
    /// With nothing: agent and Hub have to be found.
    Anew(Result<Chosen, DaemonError>),
    /// In the Hub's session already.
    Joined(Box<Lead>, Arc<Joined>),
}

/// What a session's task works with.
pub(super) struct Work {
    /// Given back once the session is led, as is all that only its start needs.
    pub(super) setup: OwnedSetup,
    pub(super) state: State,
    pub(super) hub: HubAccess,
    pub(super) tasks: Tasks,
    pub(super) leaving: watch::Receiver<Leaving>,
    /// The workspace that an earlier daemon has made.
    pub(super) workspace: Option<PathBuf>,
}

impl Hosted {
    pub(super) fn new(
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

    /// As the API shows it.
    pub(super) fn show(&self, journal: &Journal) -> HostedSession {
        HostedSession {
            id: self.id.clone(),
            agent: self.agent.to_owned(),
            cwd: self.cwd.clone(),
            created_at: self.created_at,
            standing: self.standing(),
            journal: journal.clone(),
            link: self.link.get().cloned(),
        }
    }

    /// Leads the session until the daemon leaves; whether a turn is left open.
    pub(super) async fn run(self: Arc<Self>, begin: Begin, work: Work) -> bool {
        let (state, mut leaving) = (work.state.clone(), work.leaving.clone());
        // On the heap for as long as it takes: the rest of a session's life needs a fraction of it.
        let starting = Box::pin(self.start_or_fail(begin, work));
        let started = tokio::select! {
            biased;
            _ = leaving.wait_for(|how| *how != Leaving::Not) => None,
            started = starting => Some(started),
        };
        match started {
            None => has_open_turn(&state, &self.id).await,
            Some(Some(led)) => self.lead(led, leaving).await,
            Some(None) => false,
        }
    }

    async fn start_or_fail(&self, begin: Begin, work: Work) -> Option<Led> {
        match self.start(begin, &work).await {
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
            Begin::Anew(chosen) => {
                let id = self.id.clone();
                let (state, hub, tasks) = (&work.state, &work.hub, &work.tasks);
                let joining = chosen?.connect(&setup, state, hub, id, FOR_EVER, tasks);
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
            agent_version: None,
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
            error = led.fault() => Some(error),
        };
        let Some(error) = fault else {
            return pause(led, &mut leaving).await;
        };
        led.close().await;
        self.fail(error);
        false
    }

    /// Whoever waits for a turn of a session that never began hears why there is none.
    async fn end_what_waits(&self, work: &Work, error: &DaemonError) {
        let Ok(turns) = work.state.journal().turns(&self.id).await else {
            return;
        };
        for turn in turns {
            if turn.state == TurnState::Queued
                && let Err(error) = self.end_turn(work, turn.id, turn.prompt, error).await
            {
                tracing::error!(%error, "the end of a turn could not be stored");
            }
        }
    }

    async fn end_turn(
        &self,
        work: &Work,
        turn: TurnId,
        text: String,
        error: &DaemonError,
    ) -> Result<(), DaemonError> {
        let (outcome, at) = (Outcome::Failed, work.setup.around.clock.wall());
        let error = TurnError {
            class: ErrorClass::Sandbox,
            message: error.to_string(),
            retry_after_ms: None,
        };
        let prompt = Event::Prompt {
            text,
            prompt_id: None,
        };
        let end = Event::End {
            outcome,
            error: Some(error),
            duration_ms: None,
        };
        let mut batch =
            Batch::new(&self.id, self.agent).with(Change::EndTurn { turn, outcome, at });
        for (ordinal, event) in [prompt, end].iter().enumerate() {
            let id = EventId::derive(turn.uuid(), ordinal as u64);
            let event = NewEvent::encode(event, id, at, Some((turn, 0)))
                .map_err(|error| DaemonError::Internal(error.to_string()))?;
            batch.events.push(event);
        }
        work.state.journal().commit(batch).await?;
        Ok(())
    }
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
