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
use super::housekeeping::Housekeeping;
use super::launch::{agent_home, environment, form, keys_in, notices, turn_spec};
use super::program::{self, Program, RunsAs, runs_as};
use super::source::JournalSource;
use super::{DaemonError, HubAccess, Setup, State, install, workspace};
use crate::agent::{self, AgentKind};
use crate::config::{Approve, Gate, Stdio};
use crate::event::NoticeLevel;
use crate::hub::StartError;
use crate::hub::link::{Inbound, Joined, LinkHandle};
use crate::ids::{Seq, SessionId};
use crate::process::Environment;
use crate::redact::Redactor;
use crate::sandbox::LocalSandbox;
use crate::session::{Prompt, Session};
use crate::spool::{Stdout, Window};
use crate::tasks::Tasks;
use crate::turn::approval::Approval;
use crate::turn::briefing::Briefings;
use crate::turn::{CHECKPOINT_FAILED, TurnContext, TurnFault};
use crate::workspace::{CheckpointRequest, START, checkpoint_apart};

/// A session's agent: which CLI, its program or how that is got, and whom it runs as.
#[derive(Debug)]
pub struct Chosen {
    kind: &'static AgentKind,
    program: Program,
    runs_as: RunsAs,
}

impl Chosen {
    /// Finds the agent's program, or that it can be installed. Makes nothing: everything that the
    /// CLI could be refused for is known before anything is made.
    pub fn check(setup: &Setup<'_>) -> Result<Self, DaemonError> {
        let agent = &setup.config.agent;
        let kind = agent::by_name(agent.name.as_str())
            .map_err(|error| DaemonError::Usage(error.to_string()))?;
        let runs_as = runs_as(agent.user.as_deref())?;
        let spec = turn_spec(setup, kind, &runs_as)?;
        match form(kind, &setup.config.agent, false)? {
            Some(live) => {
                let asks = agent.approval.mode != Approve::Auto;
                (live.plan)(&spec, asks).map(drop)
            }
            None => (kind.plan)(&spec).map(drop),
        }
        .map_err(|error| DaemonError::Usage(error.to_string()))?;
        let program = program::find(kind, agent, &setup.prefix, setup.env)?;
        Ok(Self {
            kind,
            program,
            runs_as,
        })
    }

    /// Whom the CLI runs as.
    pub fn runs_as(&self) -> &RunsAs {
        &self.runs_as
    }

    /// Makes sure that the agent's user can get to what will be theirs below `root`.
    pub(super) fn open_way(&self, root: &Path) -> Result<(), DaemonError> {
        if let RunsAs::Other { user, name, .. } = &self.runs_as {
            program::open_way(root, user, name)?;
        }
        Ok(())
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
        };
        let (link, inbound) = hub.link(source, session.clone(), patience, tasks);
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
    chosen: Chosen,
    state: State,
    hub: HubAccess,
    session: SessionId,
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
        matches!(self.chosen.program, Program::Found { .. })
    }

    /// Installs the agent where it is missing, makes the workspace, starts the session's driver,
    /// queues the Hub's task. A failure is told to the Hub, as far as it is in the events.
    pub async fn start(self, setup: &Setup<'_>, joined: &Joined) -> Result<Led, DaemonError> {
        let made = self.make(setup).await;
        match made {
            Ok((program, workspace)) => {
                let task = joined.init.task.clone();
                let fresh = joined.init.resume.is_none();
                let task = task.filter(|task| fresh && !task.trim().is_empty());
                self.drive(setup, program, workspace, task).await
            }
            Err(error) => {
                self.farewell().await?;
                Err(error)
            }
        }
    }

    /// Starts the driver of a session that an earlier daemon has made: the agent may be at work,
    /// and waits for no Hub.
    pub(super) async fn resume(
        self,
        setup: &Setup<'_>,
        workspace: PathBuf,
    ) -> Result<Led, DaemonError> {
        let Program::Found { path, .. } = &self.chosen.program else {
            let message = "the agent CLI is not installed any more".to_owned();
            return Err(DaemonError::Agent { message });
        };
        let program = path.clone();
        self.drive(setup, program, workspace, None).await
    }

    /// The agent's executable and the workspace.
    async fn make(&self, setup: &Setup<'_>) -> Result<(PathBuf, PathBuf), DaemonError> {
        let log = workspace::SetupLog {
            journal: self.state.journal().clone(),
            session: self.session.clone(),
            agent: self.chosen.kind.name,
            clock: setup.clock,
        };
        crash_point!("daemon.joined");
        let program = match &self.chosen.program {
            Program::Found { path, .. } => path.clone(),
            Program::ToInstall(release) => install::install(setup, release, &log).await?,
        };
        let runs_as = &self.chosen.runs_as;
        let owner = match runs_as {
            RunsAs::Other { user, .. } => Some((user.uid, user.gid)),
            RunsAs::Ourselves | RunsAs::Root => None,
        };
        let detail = if setup.config.repo.is_some() {
            None
        } else {
            let asked = self.hub.rest.session(&self.session).await;
            Some(asked.map_err(super::hub::rest_error)?)
        };
        let trusted = self.hub.address().is_loopback();
        workspace::make_home(setup, &agent_home(setup, runs_as), owner)?;
        let workspace = workspace::make(setup, detail.as_ref(), trusted, &log, owner).await?;
        if setup.config.keeping.checkpoints {
            self.checkpoint_start(&workspace, &log).await?;
        }
        crash_point!("daemon.workspace_made");
        for (code, text) in notices(setup, runs_as) {
            log.notice(NoticeLevel::Info, code, text).await?;
        }
        Ok((program, workspace))
    }

    /// The checkpoint before the first turn; once there are turns, those have their own.
    async fn checkpoint_start(
        &self,
        workspace: &Path,
        log: &workspace::SetupLog,
    ) -> Result<(), DaemonError> {
        let turns = self.state.journal().turns(&self.session).await?;
        if turns.iter().any(|turn| turn.attempt > 0) {
            return Ok(());
        }
        let request = CheckpointRequest {
            workspace: workspace.to_owned(),
            session: self.session.to_string(),
            name: START.to_owned(),
        };
        match checkpoint_apart(&request).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let text = error.to_string();
                log.notice(NoticeLevel::Warning, CHECKPOINT_FAILED, text)
                    .await
            }
        }
    }

    async fn drive(
        self,
        setup: &Setup<'_>,
        program: PathBuf,
        workspace: PathBuf,
        task: Option<String>,
    ) -> Result<Led, DaemonError> {
        let context = Arc::new(self.context(setup, program, workspace.clone())?);
        HubSide::standing(&context, &self.link);
        let redactor = Arc::clone(&context.redactor);
        let agent_version = agent_version(&context.program);
        let (session, driver) = Session::start(Arc::clone(&context), &self.tasks).await?;
        crash_point!("daemon.session_started");
        let stored = self.state.journal().session(&self.session).await?;
        let untaken = stored.is_some_and(|row| !row.task_taken);
        if let Some(text) = task.filter(|_| untaken) {
            let prompt = Prompt {
                text,
                command_id: None,
                is_task: true,
            };
            session.prompt(prompt).await?;
        }
        crash_point!("daemon.task_queued");
        commands::clear(&context).await;
        let statuses = Statuses::default();
        let commands = Commands {
            session: session.clone(),
            link: Arc::clone(&self.link),
            context: Arc::clone(&context),
            statuses: statuses.clone(),
        };
        self.tasks
            .spawn("hub-commands", commands.serve(self.inbound));
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
            sandbox: LocalSandbox::of_this_program(),
            retain: setup.config.keeping.spool_retain,
        };
        let stop = self.tasks.stopping().child_token();
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
        workspace: PathBuf,
    ) -> Result<TurnContext, DaemonError> {
        let config = setup.config;
        let environment = environment(setup, self.chosen.kind, &self.chosen.runs_as)?;
        let mut secrets: Vec<_> = self.hub.key.iter().cloned().collect();
        secrets.extend(config.repo.as_ref().and_then(|repo| repo.token.clone()));
        let mut spec = turn_spec(setup, self.chosen.kind, &self.chosen.runs_as)?;
        secrets.extend(keys_in(&environment, &spec));
        let redactor = self.hub.masks.of(secrets)?;
        let user = match &self.chosen.runs_as {
            RunsAs::Other { user, .. } => Some(user.clone()),
            RunsAs::Ourselves | RunsAs::Root => None,
        };
        let names = environment.iter().filter_map(|(name, _)| name.to_str());
        spec.variables = names.map(str::to_owned).collect();
        let mut plain = Environment::new();
        for (name, value) in environment {
            plain
                .set(name, value)
                .map_err(|error| DaemonError::Usage(error.to_string()))?;
        }
        Ok(TurnContext {
            session: self.session.clone(),
            agent: self.chosen.kind,
            program,
            spec,
            choices: watch::Sender::default(),
            briefings: self.briefings.clone(),
            environment: plain,
            live: form(self.chosen.kind, &config.agent, is_gated(&self.hub))?,
            idle_timeout: config.idle_timeout,
            approval: approval(setup, &self.hub, &workspace),
            workspace,
            state_dir: config.state_dir.clone(),
            state_root: setup.state_root.to_owned(),
            stdout: match config.agent.stdio {
                Stdio::Pty => Stdout::Pty(Window::default()),
                Stdio::Pipe => Stdout::Pipe,
            },
            user,
            in_container: setup.in_container,
            timeout: config.timeout,
            patience: config.patience,
            spool_quota: config.keeping.spool_quota,
            spool_retain: config.keeping.spool_retain,
            checkpoints: config.keeping.checkpoints,
            sandbox: LocalSandbox::of_this_program(),
            journal: self.state.journal().clone(),
            redactor,
            clock: setup.clock,
        })
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
