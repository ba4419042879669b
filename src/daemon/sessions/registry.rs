//! The sessions of one daemon: opened, made while it runs, opened again after a restart, left
//! together.

mod primary;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::primary::{Named, Primary};
use super::hosted::{Begin, Hosted, Leaving, Work};
use super::record::{Asker, Record};
use crate::agent::AGENTS;
use crate::api::{CreateError, Created, NewSession};
use crate::clock::Timestamp;
use crate::config::{EnvMap, Place, SessionSettings};
use crate::daemon::state::output;
use crate::daemon::{
    Chosen, DaemonError, HubAccess, OwnedSetup, State, Surroundings, hub, take_images, workspace,
};
use crate::ids::{SessionId, TurnId};
use crate::image::Image;
use crate::journal::{Batch, Change, SessionRow, TurnRow};
use crate::tasks::Tasks;

/// The setting that names a session of the Hub; the others are the session's own.
const SESSION: &str = "session";

/// The same settings, in a form that takes these images.
fn fit_for(
    images: &[Image],
    settings: SessionSettings,
    mut setup: OwnedSetup,
) -> Result<(SessionSettings, OwnedSetup), DaemonError> {
    if images.is_empty() {
        return Ok((settings, setup));
    }
    take_images(&mut setup.config.agent)?;
    // For every daemon that opens the session.
    Ok((settings.in_live_form(), setup))
}

/// The sessions of this daemon. Clones share them.
#[derive(Debug, Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    around: Surroundings,
    state: State,
    hub: HubAccess,
    env: EnvMap,
    tasks: Tasks,
    /// What still goes to the Hub of sessions that were ended; over before the daemon leaves its Hub.
    farewells: Tasks,
    started_at: Timestamp,
    leaving: watch::Sender<Leaving>,
    held: Mutex<Held>,
    /// Set when the journal takes no more.
    fatal: watch::Sender<Option<String>>,
}

#[derive(Debug, Default)]
struct Held {
    sessions: HashMap<SessionId, Arc<Hosted>>,
    /// Each tells whether it left a turn open.
    running: Vec<JoinHandle<bool>>,
    /// Whether one of those that are over did.
    left_open: bool,
}

impl Held {
    /// Lets go of the tasks that are over: they would keep their memory as long as the daemon lives.
    fn reap(&mut self) {
        let left_open = &mut self.left_open;
        self.running
            .retain_mut(|running| match running.now_or_never() {
                Some(open) => {
                    // One that died leaves its turn open as well.
                    *left_open |= open.unwrap_or(true);
                    false
                }
                None => true,
            });
    }
}

impl Registry {
    /// A daemon without sessions. `env` serves those sessions whose asker brought none, or is gone.
    pub fn new(
        around: Surroundings,
        state: State,
        hub: HubAccess,
        env: EnvMap,
        tasks: Tasks,
    ) -> Self {
        let inner = Inner {
            started_at: around.clock.wall(),
            around,
            state,
            hub,
            env,
            farewells: tasks.child(),
            tasks,
            leaving: watch::Sender::new(Leaving::Not),
            held: Mutex::default(),
            fatal: watch::Sender::new(None),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Opens every session again that an earlier daemon has left, each as it was made. One that
    /// cannot be led stands in its status with the reason.
    pub async fn reopen(&self) -> Result<(), DaemonError> {
        let rows = self.inner.state.journal().sessions().await?;
        for row in rows {
            let Some(settings) = row.settings.as_deref() else {
                continue;
            };
            if self.find(&row.id).is_some() {
                continue;
            }
            match row.closed_at {
                None => self.reopen_one(&row, settings),
                Some(at) => self.show_ended(&row, settings, at),
            }
        }
        self.keep_retention();
        Ok(())
    }

    fn reopen_one(&self, row: &SessionRow, settings: &str) {
        let agent = crate::agent::by_name(&row.agent).map_or("unknown", |kind| kind.name);
        let hosted = |cwd| Arc::new(Hosted::new(row.id.clone(), agent, cwd, row.created_at));
        let opened = Record::from_json(settings).and_then(|record| {
            let (asker, env) = (&record.asker, self.inner.env.clone());
            let setup = self.setup(asker, &record.settings, env, record.cwd.clone())?;
            Ok((record, setup))
        });
        match opened {
            Ok((record, setup)) => {
                let chosen = Chosen::check(&setup.view());
                let workspace = Some(row.workspace.as_str()).filter(|path| !path.is_empty());
                let workspace = workspace.map(PathBuf::from);
                let hosted = hosted(record.cwd);
                if let Some(turn) = record.turn {
                    self.write_output(&row.id, turn);
                }
                self.hold(&hosted, Begin::Anew(chosen), setup, workspace);
            }
            Err(error) => {
                let hosted = hosted(PathBuf::new());
                hosted.fail(error);
                self.remember(hosted);
            }
        }
    }

    /// Makes a session and accepts its task; both are durable when this returns.
    pub(in crate::daemon) async fn create(&self, new: NewSession) -> Result<Created, CreateError> {
        let inner = &self.inner;
        if *inner.leaving.borrow() != Leaving::Not {
            return Err(CreateError::Stopping);
        }
        let NewSession {
            mut settings,
            env,
            cwd,
            task,
            images,
        } = new;
        if task.trim().is_empty() {
            let message = "there is no task: say what the agent is to do";
            return Err(CreateError::Invalid(message.to_owned()));
        }
        let named = self.named(settings.remove(SESSION))?;
        let settings: SessionSettings = settings.into_iter().collect();
        let env = self.environment(&env);
        let setup = self.setup(&Asker::Client, &settings, env, cwd.clone())?;
        let (settings, setup) = fit_for(&images, settings, setup)?;
        let view = setup.view();
        let chosen = Chosen::check(&view)?;
        workspace::check_repo(&view)?;
        chosen.open_way(&inner.around.state_root)?;
        let id = match named {
            Some(session) => session,
            None => hub::create_session(&view, &inner.hub, Some(&task)).await?,
        };
        let turn = TurnId::from_uuid(inner.around.clock.new_uuid());
        let record = Record {
            asker: Asker::Client,
            cwd: cwd.clone(),
            settings,
            turn: Some(turn),
        };
        let at = inner.around.clock.wall();
        let settings = record.to_json()?;
        let made = Batch::new(&id, chosen.agent())
            .with(Change::CreateSession { settings, at })
            .with(Change::QueueTurn {
                turn,
                command_id: None,
                prompt: task,
                author: None,
                images,
                is_task: true,
                at,
            });
        let stored = inner.state.journal().commit(made).await;
        stored.map_err(DaemonError::from)?;
        let hosted = Arc::new(Hosted::new(id.clone(), chosen.agent(), cwd, at));
        self.write_output(&id, turn);
        self.hold(&hosted, Begin::Anew(Ok(chosen)), setup, None);
        Ok(Created {
            session: id,
            turn,
            output_file: output::output_file(inner.state.dir(), turn),
        })
    }

    /// The Hub's session that was asked for, where one was; it must not be led here already.
    fn named(&self, values: Option<Vec<String>>) -> Result<Option<SessionId>, CreateError> {
        let Some(text) = values.and_then(|values| values.into_iter().next()) else {
            return Ok(None);
        };
        let id: SessionId = text
            .parse()
            .map_err(|error| CreateError::Invalid(format!("{SESSION}: {error}")))?;
        if self.find(&id).is_none_or(|hosted| hosted.is_ended()) {
            return Ok(Some(id));
        }
        Err(CreateError::Invalid(format!(
            "{SESSION}: this daemon leads {id} already; give it a prompt instead"
        )))
    }

    /// The asker's environment; where they brought none, ours. What every program needs to be
    /// found at all is ours where the asker has none.
    fn environment(&self, asked: &EnvMap) -> EnvMap {
        const NEEDED: [&str; 2] = ["HOME", "PATH"];
        let own = &self.inner.env;
        if asked.iter().next().is_none() {
            return own.clone();
        }
        let missing = own.variables().filter(|(name, _)| {
            let name = name.to_str();
            name.is_some_and(|name| NEEDED.contains(&name) && asked.value(name).is_none())
        });
        missing.chain(asked.variables()).collect()
    }

    fn setup(
        &self,
        asker: &Asker,
        settings: &SessionSettings,
        env: EnvMap,
        cwd: PathBuf,
    ) -> Result<OwnedSetup, DaemonError> {
        let inner = &self.inner;
        let place = Place {
            command: asker.command(),
            cwd: cwd.clone(),
            container: inner.around.in_container,
            agents: AGENTS.iter().map(|agent| agent.name).collect(),
        };
        let mut config = settings
            .resolve(&env, &place)
            .map_err(|error| DaemonError::Usage(error.to_string()))?;
        inner.state.dir().clone_into(&mut config.state_dir);
        Ok(OwnedSetup {
            around: inner.around.clone(),
            config,
            command: asker.command(),
            env,
            cwd,
        })
    }

    fn write_output(&self, session: &SessionId, turn: TurnId) {
        let inner = &self.inner;
        let path = output::output_file(inner.state.dir(), turn);
        let journal = inner.state.journal().clone();
        let (session, stop) = (session.clone(), inner.tasks.stopping().clone());
        inner.tasks.spawn("turn-output", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = output::write(journal, session, turn, path) => {}
            }
        });
    }

    fn hold(
        &self,
        hosted: &Arc<Hosted>,
        begin: Begin,
        setup: OwnedSetup,
        workspace: Option<PathBuf>,
    ) {
        let inner = &self.inner;
        let work = Work {
            setup,
            state: inner.state.clone(),
            hub: inner.hub.clone(),
            tasks: inner.tasks.clone(),
            leaving: inner.leaving.subscribe(),
            workspace,
        };
        let (session, fatal) = (Arc::clone(hosted), inner.fatal.clone());
        let running = inner.tasks.spawn("session", async move {
            let open = Arc::clone(&session).run(begin, work).await;
            if let Some(error) = session.failure().filter(|error| error.is_fatal()) {
                fatal.send_replace(Some(error.to_string()));
            }
            open
        });
        let mut held = self.held();
        held.reap();
        held.sessions.insert(hosted.id.clone(), Arc::clone(hosted));
        held.running.push(running);
    }

    /// The turns of a session, in order of acceptance.
    pub async fn turns(&self, session: &SessionId) -> Result<Vec<TurnRow>, DaemonError> {
        Ok(self.inner.state.journal().turns(session).await?)
    }

    /// No daemon opens the session again.
    pub async fn close(&self, hosted: &Hosted) -> Result<(), DaemonError> {
        let at = self.inner.around.clock.wall();
        let close = Batch::new(&hosted.id, hosted.agent).with(Change::CloseSession { at });
        self.inner.state.journal().commit(close).await?;
        hosted.has_ended(at);
        Ok(())
    }

    /// Waits until nothing can be stored any more, and says why.
    pub async fn fatal(&self) -> DaemonError {
        let mut fatal = self.inner.fatal.subscribe();
        match fatal.wait_for(Option::is_some).await {
            Ok(why) => DaemonError::Internal(why.clone().unwrap_or_default()),
            Err(_) => std::future::pending().await,
        }
    }

    /// Has all sessions pause, each by itself; `at_once`: without giving the CLIs time. No session
    /// is made from now on.
    pub fn leave(&self, at_once: bool) {
        let how = if at_once {
            Leaving::AtOnce
        } else {
            Leaving::Pausing
        };
        self.inner.leaving.send_if_modified(|leaving| {
            let more = how > *leaving;
            *leaving = how.max(*leaving);
            more
        });
    }

    /// Waits until all sessions are left; whether a turn is open in any.
    pub async fn left(&self) -> bool {
        let (running, mut open) = {
            let mut held = self.held();
            (std::mem::take(&mut held.running), held.left_open)
        };
        for session in running {
            open |= session.await.unwrap_or(true);
        }
        self.inner.farewells.stop().await;
        open
    }

    /// This daemon's end was in order: nobody need be told that it is gone.
    pub fn ended_in_order(&self) {
        if let Err(error) = self.inner.state.lock().clear() {
            tracing::debug!(%error, "the lock's file still names this daemon");
        }
    }

    /// The state dir.
    pub fn state_dir(&self) -> &Path {
        self.inner.state.dir()
    }

    pub(in crate::daemon) fn find(&self, id: &SessionId) -> Option<Arc<Hosted>> {
        self.held().sessions.get(id).cloned()
    }

    /// The newest first.
    pub(in crate::daemon) fn all(&self) -> Vec<Arc<Hosted>> {
        let mut all: Vec<_> = self.held().sessions.values().cloned().collect();
        all.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
        all
    }

    /// Whether the daemon is going.
    pub(super) fn is_leaving(&self) -> bool {
        *self.inner.leaving.borrow() != Leaving::Not
    }

    /// Holds a session that no task is for.
    pub(in crate::daemon) fn remember(&self, hosted: Arc<Hosted>) {
        self.held().sessions.insert(hosted.id.clone(), hosted);
    }

    /// Lets go of a session that was ended and that nothing is left of.
    pub(in crate::daemon) fn forget(&self, id: &SessionId) {
        self.held().sessions.remove(id);
    }

    pub(in crate::daemon) fn state(&self) -> &State {
        &self.inner.state
    }

    pub(in crate::daemon) fn hub(&self) -> &HubAccess {
        &self.inner.hub
    }

    pub(in crate::daemon) fn tasks(&self) -> &Tasks {
        &self.inner.tasks
    }

    pub(super) fn farewells(&self) -> &Tasks {
        &self.inner.farewells
    }

    pub(super) fn started_at(&self) -> Timestamp {
        self.inner.started_at
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.inner
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
