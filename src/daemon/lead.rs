//! One session's lead: from its settings to a driver that takes prompts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::DropGuard;

use super::actions::HubSide;
use super::agent_version::agent_version;
use super::commands::{self, Commands, Statuses};
use super::ground::Ground;
use super::housekeeping::Housekeeping;
use super::launch::{agent_home, environment, form, notices, turn_spec};
use super::made::Made;
use super::program::{self, Program, RunsAs, runs_as};
use super::renewal::Renewal;
use super::skills::{self, Changes};
use super::source::JournalSource;
use super::{DaemonError, HubAccess, Setup, State, link_news};
use super::{install, publishing, reach, repositories, sandbox, workspace};
use crate::agent::{self, AgentKind};
use crate::config::{Approve, Gate, Push, SandboxKind, Stdio};
use crate::event::NoticeLevel;
use crate::hub::StartError;
use crate::hub::link::{Inbound, Joined, LinkHandle};
use crate::ids::{Seq, SessionId};
use crate::journal::{Batch, Change};
use crate::process::Environment;
use crate::redact::Redactor;
use crate::session::{Prompt, Session};
use crate::spool::{Stdout, User, Window};
use crate::tasks::Tasks;
use crate::turn::approval::Approval;
use crate::turn::briefing::Briefings;
use crate::turn::report::Expected;
use crate::turn::{TurnContext, TurnFault};
use crate::workspace::Handing;

/// A session's agent: which CLI, its program or how that is got, and whom it runs as.
#[derive(Debug)]
pub struct Chosen {
    pub(super) kind: &'static AgentKind,
    program: Program,
    pub(super) runs_as: RunsAs,
    sandbox: SandboxKind,
}

impl Chosen {
    /// Finds the agent's program, or that it can be installed. Makes nothing: everything that the
    /// CLI could be refused for is known before anything is made.
    pub fn check(setup: &Setup<'_>) -> Result<Self, DaemonError> {
        let agent = &setup.config.agent;
        let kind = agent::by_name(agent.name.as_str())
            .map_err(|error| DaemonError::Usage(error.to_string()))?;
        reach::check(setup)?;
        let sandbox = setup.config.sandbox.kind;
        let runs_as = runs_as(agent.user.as_deref(), sandbox)?;
        let spec = turn_spec(setup, kind, &runs_as)?;
        match form(kind, &setup.config.agent, false)? {
            Some(live) => {
                let asks = agent.approval.mode != Approve::Auto;
                (live.plan)(&spec, asks).map(drop)
            }
            None => (kind.plan)(&spec).map(drop),
        }
        .map_err(|error| DaemonError::Usage(error.to_string()))?;
        for report in &setup.config.expected {
            Expected::read(report).map_err(DaemonError::Usage)?;
        }
        let program = match sandbox {
            SandboxKind::Local => program::find(kind, agent, &setup.prefix, setup.env)?,
            SandboxKind::Docker => {
                let command = agent.command.clone();
                Program::InImage(command.unwrap_or_else(|| kind.command.into()))
            }
        };
        Ok(Self {
            kind,
            program,
            runs_as,
            sandbox,
        })
    }

    /// Whom the CLI runs as on this machine; none where it runs in a container, which shows it
    /// its own folders and no way to them.
    pub fn runs_here_as(&self) -> Option<&RunsAs> {
        Some(&self.runs_as).filter(|_| self.sandbox == SandboxKind::Local)
    }

    /// Makes sure that the agent's user can get to what will be theirs below `root`.
    pub(super) fn open_way(&self, root: &Path) -> Result<(), DaemonError> {
        if let Some(RunsAs::Other { user, name, .. }) = self.runs_here_as() {
            program::open_way(root, user, name)?;
        }
        Ok(())
    }

    /// The agent's user, where that is another one.
    pub(super) fn other_user(&self) -> Option<User> {
        match &self.runs_as {
            RunsAs::Other { user, .. } => Some(user.clone()),
            RunsAs::Ourselves | RunsAs::Root => None,
        }
    }

    /// The agent's name.
    pub fn agent(&self) -> &'static str {
        self.kind.name
    }

    /// Begins to join `session`, for at most `patience`; returns at once.
    pub fn connect(
        self,
        state: &State,
        hub: &HubAccess,
        session: SessionId,
        patience: Duration,
        tasks: &Tasks,
    ) -> Lead {
        let source = JournalSource {
            journal: state.journal().clone(),
            agent: self.kind.name,
            state_dir: state.dir().to_owned(),
        };
        let (link, inbound) = hub.link(
            source,
            (session.clone(), Some(state.dir())),
            patience,
            tasks,
        );
        Lead {
            chosen: self,
            state: state.clone(),
            hub: hub.clone(),
            session,
            link: Arc::new(link),
            inbound,
            briefings: Briefings::default(),
            tasks: tasks.clone(),
        }
    }
}

/// A session on its way to being led.
#[derive(Debug)]
pub struct Lead {
    pub(super) chosen: Chosen,
    pub(super) state: State,
    pub(super) hub: HubAccess,
    pub(super) session: SessionId,
    link: Arc<LinkHandle>,
    inbound: mpsc::Receiver<Inbound>,
    briefings: Briefings,
    tasks: Tasks,
}

impl Lead {
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
        !matches!(self.chosen.program, Program::ToInstall(_))
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
        let credentials = match &made.token_host {
            // In memory alone, and that was another daemon's.
            Some(host) => {
                repositories::of_session(&self.hub.rest, &self.session, None, host.clone())
            }
            None => repositories::typed(setup)?.credentials,
        };
        let redactor = self.redactor(setup, &credentials).await?;
        let ground = Ground {
            made,
            credentials: credentials.masked_by(Arc::clone(&redactor)),
            redactor,
            workspace,
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
        let detail = match self.hub.rest.session(&self.session).await {
            Ok(detail) => Some(detail),
            // What to clone is known without it.
            Err(error) if !setup.config.repos.is_empty() => {
                tracing::warn!(%error, "the session is made without what the Hub knows of it");
                None
            }
            Err(error) => return Err(super::hub::rest_error(error)),
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

    async fn drive(
        self,
        setup: &Setup<'_>,
        program: PathBuf,
        ground: Ground,
        task: Option<String>,
    ) -> Result<Led, DaemonError> {
        let workspace = ground.workspace.clone();
        let (context, handing) = self.context(setup, program, ground)?;
        let context = Arc::new(context);
        HubSide::standing(&context, &self.link);
        let redactor = Arc::clone(&context.redactor);
        let sandbox = context.sandbox.clone();
        let agent_version = agent_version(&context.program);
        let (session, driver) = Session::start(Arc::clone(&context), &self.tasks).await?;
        crash_point!("daemon.session_started");
        let stored = self.state.journal().session(&self.session).await?;
        let untaken = stored.is_some_and(|row| !row.task_taken);
        if let Some(text) = task.filter(|_| untaken) {
            let prompt = Prompt {
                text,
                author: None,
                command_id: None,
                is_task: true,
            };
            session.prompt(prompt).await?;
        }
        crash_point!("daemon.task_queued");
        commands::clear(&context).await;
        let statuses = Statuses::default();
        let log = self.setup_log(setup);
        let commands = Commands {
            session: session.clone(),
            link: Arc::clone(&self.link),
            context: Arc::clone(&context),
            statuses: statuses.clone(),
        };
        self.tasks
            .spawn("hub-commands", commands.serve(self.inbound));
        self.tasks
            .spawn("hub-news", link_news::tell(self.link.status(), log));
        if let Some(news) = self.link.news() {
            let hub = HubSide {
                session: session.clone(),
                link: Arc::clone(&self.link),
                approval: approval(setup, &self.hub, &context.workspace),
                context: Arc::clone(&context),
                gate: self.hub.gate,
                is_live: context.live.is_some(),
                statuses,
            };
            self.tasks.spawn("hub-actions", hub.serve(news));
        }
        let housekeeping = Housekeeping {
            journal: self.state.journal().clone(),
            session: Some((self.session.clone(), self.chosen.kind.name)),
            runs: setup.config.state_dir.join("runs"),
            sandbox,
            retain: setup.config.keeping.spool_retain,
        };
        let stop = self.tasks.stopping().child_token();
        if let Some(handing) = handing {
            let stop = stop.clone();
            self.tasks.spawn("git-tokens", async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = handing.serve() => {}
                }
            });
        }
        let keeping = housekeeping.clone().keep(stop.clone());
        self.tasks.spawn("housekeeping", keeping);
        Ok(Led {
            housekeeping,
            session_id: self.session,
            session,
            workspace,
            agent_version,
            redactor,
            state: self.state,
            link: self.link,
            driver,
            keeping: stop.drop_guard(),
        })
    }

    /// The Hub hears what has happened so far before the link ends.
    async fn farewell(&self) -> Result<(), DaemonError> {
        let last = self.state.journal().last_seq(&self.session).await?;
        self.link.close(Seq::new(last)).await;
        Ok(())
    }

    fn context(
        &self,
        setup: &Setup<'_>,
        program: PathBuf,
        ground: Ground,
    ) -> Result<(TurnContext, Option<Handing>), DaemonError> {
        let config = setup.config;
        let environment = environment(setup, self.chosen.kind, &self.chosen.runs_as)?;
        let mut spec = turn_spec(setup, self.chosen.kind, &self.chosen.runs_as)?;
        let sandbox = sandbox::sandbox(setup, &self.session, &ground.workspace, &spec.home)?;
        let git = self.agents_git(setup, &ground);
        git.make_folder()?;
        let places = (ground.workspace.as_path(), spec.home.as_path());
        let reach = reach::reach(setup, &program, places, &git.folder);
        let user = self.chosen.other_user();
        let names = environment.iter().filter_map(|(name, _)| name.to_str());
        spec.variables = names.map(str::to_owned).collect();
        let mut plain = Environment::new();
        for (name, value) in environment {
            plain
                .set(name, value)
                .map_err(|error| DaemonError::Usage(error.to_string()))?;
        }
        let expected = ground.expected(setup)?;
        let hands = config.git.push == Some(Push::Agent);
        let authorship = git.authorship(&mut plain)?;
        let credentials = Some(&ground.credentials).filter(|_| hands);
        let handing = git.tell(&mut plain, credentials)?;
        let Ground {
            made, credentials, ..
        } = &ground;
        let publishing = publishing::by_daemon(setup, &self.session, made, credentials)?;
        let context = TurnContext {
            session: self.session.clone(),
            agent: self.chosen.kind,
            program,
            spec,
            choices: watch::Sender::default(),
            briefings: self.briefings.clone(),
            environment: plain,
            repositories: ground.repositories(),
            live: form(self.chosen.kind, &config.agent, is_gated(&self.hub))?,
            idle_timeout: config.idle_timeout,
            approval: approval(setup, &self.hub, &ground.workspace),
            workspace: ground.workspace.clone(),
            state_dir: config.state_dir.clone(),
            state_root: setup.state_root.to_owned(),
            stdout: match config.agent.stdio {
                Stdio::Pty => Stdout::Pty(Window::default()),
                Stdio::Pipe => Stdout::Pipe,
            },
            user,
            reach,
            in_container: setup.in_container,
            timeout: config.timeout,
            patience: config.patience,
            spool_quota: config.keeping.spool_quota,
            spool_retain: config.keeping.spool_retain,
            checkpoints: config.keeping.checkpoints,
            sandbox,
            expected,
            publishing,
            authorship,
            journal: self.state.journal().clone(),
            redactor: Arc::clone(&ground.redactor),
            clock: setup.clock,
        };
        Ok((context, handing))
    }
}

/// Who consents to what the agent does, the Hub included.
fn approval(setup: &Setup<'_>, hub: &HubAccess, workspace: &Path) -> Approval {
    Approval::new(&setup.config.agent.approval, workspace).gated(is_gated(hub))
}

/// Whether tool calls wait for the Hub's word.
fn is_gated(hub: &HubAccess) -> bool {
    hub.gate.gate == Gate::Ask
}

/// A session that is led.
#[derive(Debug)]
pub struct Led {
    /// Its id.
    pub session_id: SessionId,
    /// What it can be asked.
    pub session: Session,
    /// Where the agent works.
    pub workspace: PathBuf,
    /// The version of its agent's CLI, where that is known.
    pub(super) agent_version: Option<String>,
    /// Masks its secrets.
    pub(super) redactor: Arc<Redactor>,
    /// The state dir is ours until this goes.
    state: State,
    link: Arc<LinkHandle>,
    housekeeping: Housekeeping,
    driver: JoinHandle<Result<(), TurnFault>>,
    /// The housekeeping goes on until this goes.
    keeping: DropGuard,
}

impl Led {
    /// Waits until the driver has given up, which it does only when it cannot go on.
    pub async fn fault(&mut self) -> DaemonError {
        match (&mut self.driver).await {
            Ok(Err(fault)) => fault.into(),
            Ok(Ok(())) => DaemonError::Internal("the session's driver ended by itself".to_owned()),
            Err(error) => DaemonError::Internal(format!("the session's driver died: {error}")),
        }
    }

    /// Ends in order: what the Hub does not have yet is sent, within its time; then farewell.
    pub async fn close(self) {
        // Its process goes, if one is left; a session that was paused has none.
        self.session.pause(false).await;
        crash_point!("daemon.before_close");
        let last = self.state.journal().last_seq(&self.session_id).await;
        self.link.close(last.ok().and_then(Seq::new)).await;
        drop(self.keeping);
        self.housekeeping.look().await;
        crash_point!("daemon.closed");
    }
}
