//! The composition root of a lead: settings in, a session that is led out.
//!
//! ```text
//! prepare: agent program, state dir, journal ─► join: Hub, session
//!     ─► the agent's install, where it is missing ─► workspace ─► session driver
//! ```
//!
//! Each step fails with its own error and leaves nothing behind that the next start would trip
//! over. The commands (`run`, `daemon`) decide when to stop; nothing here reads a signal.

mod commands;
mod footprint;
mod housekeeping;
mod hub;
mod install;
mod launch;
mod program;
mod source;
mod survey;
mod workspace;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use self::footprint::Footprint;
use self::footprint::{Found, journal_path};
use self::housekeeping::Housekeeping;
pub use self::hub::reach_hub;
use self::hub::{create_session, discovery, rest_error};
use self::launch::{agent_home, environment, keys_in, notices, turn_spec};
pub use self::program::{FoundBy, Program, RunsAs, runs_as};
use self::source::JournalSource;
pub use self::survey::{Survey, survey};
use crate::agent::{self, AgentKind};
use crate::clock::Clock;
use crate::config::{CommandKind, Config, EnvMap, Stdio};
use crate::event::{NoticeLevel, Outcome};
use crate::hub::link::{self, Inbound, Joined, LinkConfig, LinkHandle};
use crate::hub::rest::{RestClient, discover};
use crate::hub::{Credentials, HubAddress, StartError, Timing};
use crate::ids::{Seq, SessionId};
use crate::journal::{self, Journal, JournalError, StateLock, StateLockError};
use crate::process::Environment;
use crate::redact::Redactor;
use crate::sandbox::LocalSandbox;
use crate::session::{Prompt, Session, SessionError};
use crate::spool::{Stdout, Window};
use crate::tasks::Tasks;
use crate::turn::{TurnContext, TurnFault};

/// Why a session cannot be led.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// A setting that only shows itself to be wrong now.
    #[error("{0}")]
    Usage(String),
    /// The agent CLI is missing or unusable.
    #[error("{message}")]
    Agent {
        /// What, where, what next.
        message: String,
    },
    /// The state dir cannot be used.
    #[error(transparent)]
    State(#[from] StateLockError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// No Hub answers.
    #[error("{0}")]
    HubUnreachable(String),
    /// The Hub says no.
    #[error("{0}")]
    HubRefused(String),
    /// The repository cannot be cloned, or the workspace not be used.
    #[error("{0}")]
    Workspace(String),
    /// The session's driver gave up.
    #[error("the session cannot go on: {0}")]
    Turn(#[from] TurnFault),
    /// The session took no request.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Something that should not be.
    #[error("{0}")]
    Internal(String),
}

/// What a lead starts from: settings, and the facts of this process.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The settings.
    pub config: &'a Config,
    /// The user's state dir; the settings' may be a folder in it.
    pub state_root: &'a Path,
    /// Which command this is for.
    pub command: CommandKind,
    /// Our environment.
    pub env: &'a EnvMap,
    /// The folder that we were started in.
    pub cwd: PathBuf,
    /// Where `install` places CLIs.
    pub prefix: PathBuf,
    /// Whether this is a container.
    pub in_container: bool,
    /// The clocks.
    pub clock: Clock,
}

/// Which Hub, and which session of it.
#[derive(Debug)]
pub struct Target {
    /// Where; discovered with the key when absent.
    pub address: Option<HubAddress>,
    /// Who we are.
    pub key: Option<SecretString>,
    /// The organization.
    pub org: Option<String>,
    /// Which session; created when absent.
    pub session: Option<SessionId>,
    /// What a session that we create is to do.
    pub task: Option<String>,
    /// How long an absent Hub is waited for.
    pub wait: Duration,
}

/// A lead before it knows its session: everything that can fail without a Hub has not failed.
#[derive(Debug)]
pub struct Prepared {
    kind: &'static AgentKind,
    program: Program,
    runs_as: RunsAs,
    journal: Journal,
    /// Held as long as the daemon lives.
    lock: Arc<StateLock>,
    state_dir: PathBuf,
    found: Found,
}

/// Finds the agent's program or that it can be installed, takes the state dir, opens the journal.
pub fn prepare(setup: &Setup<'_>) -> Result<Prepared, DaemonError> {
    let config = setup.config;
    let kind = agent::by_name(config.agent.name.as_str())
        .map_err(|error| DaemonError::Usage(error.to_string()))?;
    let runs_as = runs_as(config.agent.user.as_deref())?;
    let spec = turn_spec(setup, kind, &runs_as)?;
    // Everything that the CLI could be refused for is known before anything is made.
    (kind.plan)(&spec).map_err(|error| DaemonError::Usage(error.to_string()))?;
    let program = program::find(kind, &config.agent, &setup.prefix, setup.env)?;
    let found = Found::look(&config.state_dir);
    if let RunsAs::Other { user, name, .. } = &runs_as {
        program::open_way(setup.state_root, user, name)?;
    }
    let lock = Arc::new(StateLock::take(&config.state_dir)?);
    let options = journal::Options {
        quota: config.keeping.journal_quota,
        retain: config.keeping.journal_retain,
        retain_bytes: config.keeping.journal_retain_size,
        ..journal::Options::default()
    };
    let journal = Journal::open_with(&journal_path(&config.state_dir), options)?;
    Ok(Prepared {
        kind,
        program,
        runs_as,
        journal,
        lock,
        found,
        state_dir: config.state_dir.clone(),
    })
}

/// A lead that the Hub has let in.
#[derive(Debug)]
pub struct Lead {
    prepared: Prepared,
    link: Arc<LinkHandle>,
    inbound: mpsc::Receiver<Inbound>,
    joined: Arc<Joined>,
    rest: RestClient,
    secrets: Vec<SecretString>,
    tasks: Tasks,
}

impl Prepared {
    /// The journal, for whoever shows its events.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// What was made for the start, for a start that fails to take back.
    pub fn footprint(&self) -> Footprint {
        let (journal, lock) = (self.journal.clone(), Arc::clone(&self.lock));
        Footprint::new(journal, lock, self.state_dir.clone(), self.found)
    }

    /// Joins the session, creating it where none is named.
    pub async fn join(
        self,
        setup: &Setup<'_>,
        target: Target,
        tasks: &Tasks,
    ) -> Result<Lead, DaemonError> {
        let credentials = Credentials::new(target.key.clone(), target.org.clone())
            .map_err(|error| DaemonError::Usage(error.to_string()))?;
        let address = match target.address {
            Some(address) => address,
            None => discover(&discovery(setup.env), &credentials)
                .await
                .map_err(rest_error)?,
        };
        let rest = RestClient::new(address.clone(), &credentials).map_err(rest_error)?;
        let session = match target.session {
            Some(session) => session,
            None => create_session(setup, &rest, target.task.as_deref(), target.wait).await?,
        };
        let instance = setup.clock.new_uuid();
        let config = LinkConfig {
            address,
            credentials,
            session: Some(session.clone()),
            driver_instance_id: instance.to_string(),
            driver_version: env!("CARGO_PKG_VERSION").to_owned(),
            timing: Timing {
                hub_wait: target.wait,
                ..Timing::default()
            },
            seed: instance.as_u64_pair().1,
        };
        let source = JournalSource {
            journal: self.journal.clone(),
            agent: self.kind.name,
        };
        let (link, inbound) = link::start(config, source, tasks, setup.clock);
        let joined = link.ready().await.map_err(|error| match error {
            StartError::Refused(_) => {
                DaemonError::HubRefused(format!("session {session}: {error}"))
            }
            StartError::Unreachable { .. } | StartError::Closed => {
                DaemonError::HubUnreachable(format!("{}: {error}", rest.address()))
            }
        })?;
        let secrets = target.key.into_iter().collect();
        let (link, tasks) = (Arc::new(link), tasks.clone());
        Ok(Lead {
            prepared: self,
            link,
            inbound,
            joined,
            rest,
            secrets,
            tasks,
        })
    }
}

/// A session that is led.
#[derive(Debug)]
pub struct Led {
    /// Its id.
    pub session_id: SessionId,
    /// What it can be asked.
    pub session: Session,
    /// Its events.
    pub journal: Journal,
    /// Where the agent works.
    pub workspace: PathBuf,
    link: Arc<LinkHandle>,
    driver: JoinHandle<Result<(), TurnFault>>,
    housekeeping: Housekeeping,
    /// The state dir is ours until this goes.
    _lock: Arc<StateLock>,
}

impl Lead {
    /// The session's id.
    pub fn session_id(&self) -> &SessionId {
        &self.joined.session
    }

    /// The journal, for whoever shows its events.
    pub fn journal(&self) -> &Journal {
        &self.prepared.journal
    }

    /// Installs the agent where it is missing, makes the workspace, starts the session's driver, queues its task.
    pub async fn start(self, setup: &Setup<'_>) -> Result<Led, DaemonError> {
        let session_id = self.joined.session.clone();
        let agent = self.prepared.kind.name;
        let clock = setup.clock;
        let log = workspace::SetupLog {
            journal: self.prepared.journal.clone(),
            session: session_id.clone(),
            agent,
            clock,
        };
        let program = self.program(setup, &log).await?;
        let owner = match &self.prepared.runs_as {
            RunsAs::Other { user, .. } => Some((user.uid, user.gid)),
            RunsAs::Ourselves | RunsAs::Root => None,
        };
        let detail = match setup.config.repo {
            Some(_) => None,
            None => Some(self.rest.session(&session_id).await.map_err(rest_error)?),
        };
        let trusted = self.rest.address().is_loopback();
        let home = agent_home(setup, &self.prepared.runs_as);
        workspace::make_home(setup, &home, owner)?;
        let workspace = workspace::make(setup, detail.as_ref(), trusted, &log, owner).await?;
        for (code, text) in notices(setup, &self.prepared.runs_as) {
            log.notice(NoticeLevel::Info, code, text).await?;
        }
        let context = self.context(setup, program, workspace.clone())?;
        let (session, driver) = Session::start(Arc::new(context), &self.tasks).await?;
        let stored = self.prepared.journal.session(&session_id).await?;
        let task = self
            .joined
            .init
            .task
            .clone()
            .filter(|task| !task.trim().is_empty());
        let fresh = stored.is_some_and(|row| !row.task_taken) && self.joined.init.resume.is_none();
        if let Some(text) = task.filter(|_| fresh) {
            session
                .prompt(Prompt {
                    text,
                    command_id: None,
                    is_task: true,
                })
                .await?;
        }
        let model = setup.config.agent.model.clone();
        let serve = commands::serve(session.clone(), Arc::clone(&self.link), self.inbound, model);
        self.tasks.spawn("hub-commands", serve);
        let housekeeping = Housekeeping {
            journal: self.prepared.journal.clone(),
            runs: setup.config.state_dir.join("runs"),
            sandbox: LocalSandbox::of_this_program(),
            retain: setup.config.keeping.spool_retain,
        };
        let stop = self.tasks.stopping().clone();
        self.tasks
            .spawn("housekeeping", housekeeping.clone().keep(stop));
        let journal = self.prepared.journal.clone();
        let link = self.link;
        Ok(Led {
            session_id,
            session,
            journal,
            workspace,
            link,
            driver,
            housekeeping,
            _lock: self.prepared.lock,
        })
    }

    /// The agent's executable. Where it cannot be installed, the Hub hears why before we end.
    async fn program(
        &self,
        setup: &Setup<'_>,
        log: &workspace::SetupLog,
    ) -> Result<PathBuf, DaemonError> {
        let release = match &self.prepared.program {
            Program::Found { path, .. } => return Ok(path.clone()),
            Program::ToInstall(release) => release,
        };
        let result = install::install(setup, release, log).await;
        if result.is_err() {
            let last = self.journal().last_seq(&log.session).await?;
            self.link.close(Seq::new(last)).await;
        }
        result
    }

    fn context(
        &self,
        setup: &Setup<'_>,
        program: PathBuf,
        workspace: PathBuf,
    ) -> Result<TurnContext, DaemonError> {
        let config = setup.config;
        let internal = |error: &dyn std::fmt::Display| DaemonError::Internal(error.to_string());
        let environment = environment(setup, self.prepared.kind, &self.prepared.runs_as)?;
        let mut secrets = self.secrets.clone();
        secrets.extend(config.repo.as_ref().and_then(|repo| repo.token.clone()));
        secrets.extend(keys_in(&environment));
        let redactor = Redactor::new(&secrets).map_err(|error| internal(&error))?;
        let user = match &self.prepared.runs_as {
            RunsAs::Other { user, .. } => Some(user.clone()),
            RunsAs::Ourselves | RunsAs::Root => None,
        };
        let mut spec = turn_spec(setup, self.prepared.kind, &self.prepared.runs_as)?;
        let names = environment.iter().filter_map(|(name, _)| name.to_str());
        spec.variables = names.map(str::to_owned).collect();
        let mut plain = Environment::new();
        for (name, value) in environment {
            plain
                .set(name, value)
                .map_err(|error| DaemonError::Usage(error.to_string()))?;
        }
        Ok(TurnContext {
            session: self.joined.session.clone(),
            agent: self.prepared.kind,
            program,
            spec,
            environment: plain,
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
            spool_quota: config.keeping.spool_quota,
            spool_retain: config.keeping.spool_retain,
            sandbox: LocalSandbox::of_this_program(),
            journal: self.prepared.journal.clone(),
            redactor: Arc::new(redactor),
            clock: setup.clock,
        })
    }
}

impl Led {
    /// Waits until the driver has given up, which it does only when the journal fails.
    pub async fn fault(&mut self) -> DaemonError {
        match (&mut self.driver).await {
            Ok(Err(fault)) => fault.into(),
            Ok(Ok(())) => DaemonError::Internal("the session's driver ended by itself".to_owned()),
            Err(error) => DaemonError::Internal(format!("the session's driver died: {error}")),
        }
    }

    /// The outcome of the last turn, when the session's work was all done before this start.
    pub async fn settled(&self) -> Result<Option<Outcome>, DaemonError> {
        if !self.session.state().borrow().is_idle() {
            return Ok(None);
        }
        let turns = self.journal.turns(&self.session_id).await?;
        Ok(turns.last().and_then(|turn| turn.outcome))
    }

    /// Ends in order: what the Hub does not have yet is sent, within its time; then farewell.
    pub async fn close(self, last: Option<Seq>) {
        self.link.close(last).await;
        self.housekeeping.look().await;
    }
}
