//! One session's lead: from its settings to a driver that takes prompts.

mod apart;
mod chosen;
mod context;
mod drive;
mod led;
mod offer;
mod renewal;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

pub use self::chosen::Chosen;
pub use self::led::Led;
use self::renewal::Renewal;
use crate::daemon::agent::install;
use crate::daemon::agent::launch::{agent_home, notices};
use crate::daemon::agent::program::Program;
use crate::daemon::hub::patiently;
use crate::daemon::workspace::ground::Ground;
use crate::daemon::workspace::made::Made;
use crate::daemon::workspace::repositories;
use crate::daemon::workspace::skills::{self, Changes};
use crate::daemon::{DaemonError, HubAccess, Setup, State, workspace};
use crate::event::NoticeLevel;
use crate::hub::StartError;
use crate::hub::link::{Inbound, Joined, LinkHandle};
use crate::ids::{Seq, SessionId};
use crate::image::Image;
use crate::journal::{Batch, Change};
use crate::tasks::Tasks;
use crate::turn::briefing::Briefings;

/// A session on its way to being led.
#[derive(Debug)]
pub struct Lead {
    pub(super) chosen: Chosen,
    pub(super) state: State,
    pub(super) hub: HubAccess,
    pub(super) session: SessionId,
    link: Arc<LinkHandle>,
    /// None once somebody answers them.
    inbound: Option<mpsc::Receiver<Inbound>>,
    briefings: Briefings,
    /// They go with the session's task.
    images: Vec<Image>,
    tasks: Tasks,
}

impl Lead {
    /// These images go with the session's task.
    #[must_use]
    pub fn with_images(mut self, images: Vec<Image>) -> Self {
        self.images = images;
        self
    }

    /// Waits until the Hub has let us in, or says why it does not.
    pub async fn joined(&self) -> Result<Arc<Joined>, DaemonError> {
        crash_point!("daemon.before_join");
        self.link.ready().await.map_err(|error| match error {
            StartError::Refused(_) => {
                DaemonError::HubRefused(format!("session {}: {error}", self.session))
            }
            StartError::Unreachable { .. } | StartError::Closed => {
                DaemonError::HubUnreachable(format!("{}: {error}", self.hub.address()))
            }
        })
    }

    /// The Hub link.
    pub(super) fn link(&self) -> Arc<LinkHandle> {
        Arc::clone(&self.link)
    }

    /// Whether a session that has its workspace can go on without the Hub's help.
    pub(super) fn can_resume(&self) -> bool {
        self.chosen.can_resume()
    }

    /// Installs the agent where it is missing, makes the workspace, starts the session's driver,
    /// queues the Hub's task. A failure is told to the Hub, as far as it is in the events.
    pub async fn start(self, setup: &Setup<'_>, joined: &Joined) -> Result<Led, DaemonError> {
        let made = self.make(setup).await;
        match made {
            Ok((program, ground)) => {
                let task = joined.init.task.clone();
                let fresh = joined.init.resume.is_none();
                let task = task.filter(|task| fresh && !task.trim().is_empty());
                self.take_over(setup, joined, &ground.workspace).await?;
                self.drive(setup, program, ground, task).await
            }
            Err(error) => {
                self.farewell().await?;
                Err(error)
            }
        }
    }

    /// A session that was led elsewhere goes on in the same conversation of the agent's CLI, where
    /// the CLI has it here; turns look for that.
    async fn take_over(
        &self,
        setup: &Setup<'_>,
        joined: &Joined,
        workspace: &Path,
    ) -> Result<(), DaemonError> {
        let agent = self.chosen.kind.name;
        let earlier = joined
            .driver
            .as_ref()
            .filter(|driver| driver.agent == agent);
        let Some(id) = earlier.and_then(|driver| driver.agent_session.clone()) else {
            return Ok(());
        };
        let journal = self.state.journal();
        let row = journal.session(&self.session).await?;
        if row.is_some_and(|row| row.agent_session_id.is_some()) {
            return Ok(());
        }
        let open = Change::OpenSession {
            workspace: workspace.display().to_string(),
            at: setup.clock.wall(),
        };
        let batch = Batch::new(&self.session, agent).with(open);
        journal
            .commit(batch.with(Change::AgentSession { id }))
            .await?;
        Ok(())
    }

    /// Starts the driver of a session that an earlier daemon has made: the agent may be at work,
    /// and waits for no Hub.
    pub(super) async fn resume(
        self,
        setup: &Setup<'_>,
        workspace: PathBuf,
    ) -> Result<Led, DaemonError> {
        let (Program::Found { path, .. } | Program::InImage(path)) = &self.chosen.program else {
            let message = "the agent CLI is not installed any more".to_owned();
            return Err(DaemonError::Agent { message });
        };
        self.link.go_on_apart();
        let program = path.clone();
        let state_dir = &setup.config.state_dir;
        let mut made = Made::read(state_dir, &self.session)?;
        let (log, owner) = (self.setup_log(setup), self.owner());
        let skills = skills::typed(setup)?;
        let (agent, placed) = (self.chosen.kind.name, &mut made.skills);
        let changes = skills::put(agent, &workspace, &skills, true, placed, owner)?;
        if changes != Changes::default() {
            made.keep(state_dir, &self.session)?;
        }
        for text in changes.words() {
            log.setup("skills", "stdout", text).await?;
        }
        let mut credentials = match &made.token_host {
            // In memory alone, and that was another daemon's.
            Some(host) => {
                repositories::of_session(&self.hub.rest, &self.session, None, host.clone())
            }
            None => repositories::typed(setup)?.credentials,
        };
        let redactor = self.mask(setup, &mut credentials).await?;
        let ground = Ground {
            workspace,
            made,
            credentials,
            redactor,
        };
        let renewal = Renewal {
            link: self.link(),
            rest: self.hub.rest.clone(),
            credentials: ground.credentials.clone(),
            state_dir: state_dir.clone(),
            workspace: ground.workspace.clone(),
            skills,
            owner,
            log,
        };
        self.tasks.spawn("session-renewal", renewal.run());
        self.drive(setup, program, ground, None).await
    }

    /// Where events of the session as a whole go.
    fn setup_log(&self, setup: &Setup<'_>) -> workspace::SetupLog {
        workspace::SetupLog {
            journal: self.state.journal().clone(),
            session: self.session.clone(),
            agent: self.chosen.kind.name,
            clock: setup.clock,
        }
    }

    /// The agent's user, where that is another one.
    fn owner(&self) -> Option<(u32, u32)> {
        let user = self.chosen.other_user();
        user.map(|user| (user.uid, user.gid))
    }

    /// The agent's executable and the workspace.
    async fn make(&self, setup: &Setup<'_>) -> Result<(PathBuf, Ground), DaemonError> {
        let log = self.setup_log(setup);
        crash_point!("daemon.joined");
        let program = match &self.chosen.program {
            Program::Found { path, .. } | Program::InImage(path) => path.clone(),
            Program::ToInstall(release) => install::install(setup, release, &log).await?,
        };
        let runs_as = &self.chosen.runs_as;
        let owner = self.owner();
        let hub = &self.hub;
        // What to clone is known without it where the settings say so.
        let can_do_without = !setup.config.repos.is_empty();
        let patience = if can_do_without {
            Duration::ZERO
        } else {
            hub.wait
        };
        let asked = patiently(setup.clock, patience, || hub.rest.session(&self.session));
        let detail = match asked.await {
            Ok(detail) => Some(detail),
            Err(error) if can_do_without => {
                tracing::warn!(%error, "the session is made without what the Hub knows of it");
                None
            }
            Err(error) => return Err(crate::daemon::hub::rest_error(error)),
        };
        workspace::make_home(setup, &agent_home(setup, runs_as), owner)?;
        let (detail, log) = (detail.as_ref(), &log);
        let ground = self.ground(setup, detail, &program, log, owner).await?;
        if setup.config.keeping.checkpoints {
            self.checkpoint_start(&ground, log).await?;
        }
        crash_point!("daemon.workspace_made");
        for (code, text) in notices(setup, runs_as) {
            log.notice(NoticeLevel::Info, code, text).await?;
        }
        Ok((program, ground))
    }

    /// The Hub hears what has happened so far before the link ends.
    async fn farewell(&self) -> Result<(), DaemonError> {
        let last = self.state.journal().last_seq(&self.session).await?;
        self.link.close(Seq::new(last)).await;
        Ok(())
    }
}
