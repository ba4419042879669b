//! The composition root of a lead: settings in, a session that is led out.
//!
//! ```text
//! prepare: agent program, state dir, journal ─► join: Hub, session ─► workspace ─► session driver
//! ```
//!
//! Each step fails with its own error and leaves nothing behind that the next start would trip
//! over. The commands (`run`, `daemon`) decide when to stop; nothing here reads a signal.

mod commands;
mod program;
mod source;
mod workspace;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use self::program::RunsAs;
use self::source::JournalSource;
use crate::agent::{self, AgentKind, AgentSession, TurnSpec};
use crate::clock::Clock;
use crate::config::{AgentHome, CommandKind, Config, EnvMap, Stdio, agent_env};
use crate::event::{NoticeLevel, Outcome};
use crate::hub::link::{self, Inbound, Joined, LinkConfig, LinkHandle};
use crate::hub::rest::{Discovery, RestClient, RestError, discover};
use crate::hub::{Credentials, HubAddress, StartError, Timing};
use crate::ids::{Seq, SessionId};
use crate::journal::{Journal, JournalError, StateLock, StateLockError};
use crate::process::Environment;
use crate::redact::Redactor;
use crate::sandbox::LocalSandbox;
use crate::session::{Prompt, Session, SessionError};
use crate::spool::{Stdout, Window};
use crate::tasks::Tasks;
use crate::turn::{TurnContext, TurnFault};

/// The most that one run's spool may hold.
const SPOOL_QUOTA: u64 = 4 << 30;

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
    /// Which command this is for.
    pub command: CommandKind,
    /// Our environment.
    pub env: &'a EnvMap,
    /// The folder that we were started in.
    pub cwd: PathBuf,
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
    program: PathBuf,
    runs_as: RunsAs,
    journal: Journal,
    /// Held as long as the daemon lives.
    lock: StateLock,
}

/// Finds the agent's program, takes the state dir, opens the journal.
pub fn prepare(setup: &Setup<'_>) -> Result<Prepared, DaemonError> {
    let config = setup.config;
    let kind = agent::by_name(config.agent.name.as_str())
        .map_err(|error| DaemonError::Usage(error.to_string()))?;
    let runs_as = program::runs_as(config.agent.user.as_deref())?;
    let spec = turn_spec(setup, kind, &runs_as)?;
    // Everything that the CLI could be refused for is known before anything is made.
    (kind.plan)(&spec).map_err(|error| DaemonError::Usage(error.to_string()))?;
    let program = program::find(kind, &config.agent, &config.state_dir, setup.env)?;
    let lock = StateLock::take(&config.state_dir)?;
    let journal = Journal::open(&config.state_dir.join("journal.db"))?;
    Ok(Prepared {
        kind,
        program,
        runs_as,
        journal,
        lock,
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
            session: Some(session),
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
            StartError::Refused(_) => DaemonError::HubRefused(error.to_string()),
            StartError::Unreachable { .. } | StartError::Closed => {
                DaemonError::HubUnreachable(error.to_string())
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
    agent: &'static str,
    clock: Clock,
    /// The state dir is ours until this goes.
    _lock: StateLock,
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

    /// Makes the workspace, starts the session's driver, queues its task.
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
        let owner = match &self.prepared.runs_as {
            RunsAs::Other { user, .. } => Some((user.uid, user.gid)),
            RunsAs::Ourselves | RunsAs::Root => None,
        };
        let detail = match setup.config.repo {
            Some(_) => None,
            None => Some(self.rest.session(&session_id).await.map_err(rest_error)?),
        };
        let trusted = self.rest.address().is_loopback();
        let workspace = workspace::make(setup, detail.as_ref(), trusted, &log, owner).await?;
        for (code, text) in notices(setup, &self.prepared.runs_as) {
            log.notice(NoticeLevel::Info, code, text).await?;
        }
        let context = self.context(setup, workspace.clone())?;
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
        let journal = self.prepared.journal.clone();
        let link = self.link;
        Ok(Led {
            session_id,
            session,
            journal,
            workspace,
            link,
            driver,
            agent,
            clock,
            _lock: self.prepared.lock,
        })
    }

    fn context(&self, setup: &Setup<'_>, workspace: PathBuf) -> Result<TurnContext, DaemonError> {
        let config = setup.config;
        let internal = |error: &dyn std::fmt::Display| DaemonError::Internal(error.to_string());
        let environment = environment(setup, &self.prepared)?;
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
            program: self.prepared.program.clone(),
            spec,
            environment: plain,
            workspace,
            runs: config.state_dir.join("runs"),
            stdout: match config.agent.stdio {
                Stdio::Pty => Stdout::Pty(Window::default()),
                Stdio::Pipe => Stdout::Pipe,
            },
            user,
            in_container: setup.in_container,
            timeout: config.timeout,
            spool_quota: SPOOL_QUOTA,
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

    /// Tells the session's participants something.
    pub async fn notice(&self, code: &str, text: String) -> Result<(), DaemonError> {
        let log = workspace::SetupLog {
            journal: self.journal.clone(),
            session: self.session_id.clone(),
            agent: self.agent,
            clock: self.clock,
        };
        log.notice(NoticeLevel::Info, code, text).await
    }

    /// Ends in order: what the Hub does not have yet is sent, within its time; then farewell.
    pub async fn close(self, last: Option<Seq>) {
        self.link.close(last).await;
    }
}

fn turn_spec(
    setup: &Setup<'_>,
    kind: &AgentKind,
    runs_as: &RunsAs,
) -> Result<TurnSpec, DaemonError> {
    let agent = &setup.config.agent;
    let home = agent_home(setup, runs_as);
    let settings = kind.settings.map(|name| home.join(name));
    let settings = settings.as_deref().filter(|file| file.exists());
    Ok(TurnSpec {
        // Each turn sets its own.
        agent_session: AgentSession::New(uuid::Uuid::nil()),
        model: agent.model.clone(),
        effort: agent.effort.clone(),
        system_prompt_file: agent.system_prompt_file.clone(),
        system_prompt: text_of("--system-prompt-file", agent.system_prompt_file.as_deref())?,
        mcp_config: agent.mcp_config.clone(),
        mcp_servers: text_of("--mcp-config", agent.mcp_config.as_deref())?,
        allowed_tools: agent.allowed_tools.clone(),
        extra_args: agent.args.iter().map(Into::into).collect(),
        settings: text_of("the agent's own settings", settings)?,
        variables: Vec::new(),
        home,
        is_root: *runs_as == RunsAs::Root,
        workspace: PathBuf::new(),
        files: PathBuf::new(),
    })
}

/// The text of a file that an option names.
fn text_of(option: &str, path: Option<&Path>) -> Result<Option<String>, DaemonError> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|error| {
            DaemonError::Usage(format!(
                "{option} {}: cannot be read: {error}; name a file of UTF-8 text",
                path.display()
            ))
        })
    };
    path.map(read).transpose()
}

/// The home that holds the CLI's settings, login and conversations.
fn agent_home(setup: &Setup<'_>, runs_as: &RunsAs) -> PathBuf {
    let agent = &setup.config.agent;
    match (agent.home, runs_as) {
        (AgentHome::State, _) => setup
            .config
            .state_dir
            .join("agents")
            .join(agent.name.as_str()),
        (AgentHome::User, RunsAs::Other { home, .. }) => home.clone(),
        (AgentHome::User, _) => setup
            .env
            .value("HOME")
            .map(PathBuf::from)
            .unwrap_or_default(),
    }
}

/// The CLI's environment but for what its launch plan adds.
fn environment(
    setup: &Setup<'_>,
    prepared: &Prepared,
) -> Result<Vec<(std::ffi::OsString, std::ffi::OsString)>, DaemonError> {
    let agent = &setup.config.agent;
    let spec = turn_spec(setup, prepared.kind, &prepared.runs_as)?;
    let plan =
        (prepared.kind.plan)(&spec).map_err(|error| DaemonError::Usage(error.to_string()))?;
    let mut environment = agent_env(setup.env, plan.env_pass, &agent.env, &agent.pass_env);
    environment.retain(|(name, _)| name != "HOME");
    environment.push(("HOME".into(), spec.home.into()));
    if let RunsAs::Other { name, .. } = &prepared.runs_as {
        environment.retain(|(variable, _)| variable != "USER");
        environment.push(("USER".into(), name.into()));
    }
    Ok(environment)
}

/// What in an environment is a key by its name: to be masked wherever it turns up.
fn keys_in(environment: &[(std::ffi::OsString, std::ffi::OsString)]) -> Vec<SecretString> {
    const MARKS: [&str; 5] = ["KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL"];
    let is_key = |name: &str| MARKS.iter().any(|mark| name.contains(mark));
    environment
        .iter()
        .filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)))
        .filter(|(name, value)| is_key(name) && !value.starts_with('/'))
        .map(|(_, value)| SecretString::from(value))
        .collect()
}

/// What a person should know of how the agent is run.
fn notices(setup: &Setup<'_>, runs_as: &RunsAs) -> Vec<(&'static str, String)> {
    let mut notices = Vec::new();
    match runs_as {
        RunsAs::Root => notices.push((
            "runs_as_root",
            "the agent runs as root: give --agent-user, or create a user `agent`, to run it with \
             fewer rights"
                .to_owned(),
        )),
        RunsAs::Ourselves => notices.push((
            "runs_as_same_user",
            "the agent runs as the same user as the runner".to_owned(),
        )),
        RunsAs::Other { .. } => {}
    }
    if setup.config.agent.approve == crate::config::Approve::Auto {
        notices.push((
            "approve_auto",
            "the agent asks nobody before it uses a tool (--approve auto)".to_owned(),
        ));
    }
    notices
}

fn discovery(env: &EnvMap) -> Discovery {
    let text = |name: &str| {
        env.value(name)
            .and_then(|value| value.to_str())
            .map(str::to_owned)
    };
    Discovery {
        catalyst_url: text("AGENTUITY_CATALYST_URL").or_else(|| text("AGENTUITY_TRANSPORT_URL")),
        region: text("AGENTUITY_REGION"),
    }
}

fn rest_error(error: RestError) -> DaemonError {
    match error {
        RestError::Refused { .. } | RestError::NotFound { .. } => {
            DaemonError::HubRefused(format!("{error}; check the key and the address"))
        }
        RestError::Address(error) => DaemonError::Usage(error.to_string()),
        _ => DaemonError::HubUnreachable(format!("{error}; is the Hub running at this address?")),
    }
}

/// Creates a session; a Hub that is not there yet is waited for.
async fn create_session(
    setup: &Setup<'_>,
    rest: &RestClient,
    task: Option<&str>,
    wait: Duration,
) -> Result<SessionId, DaemonError> {
    const PAUSE: Duration = Duration::from_millis(250);
    let mut request = json!({
        "task": task.unwrap_or_default(),
        "metadata": {"agent": setup.config.agent.name.as_str()},
    });
    if let (Some(repo), Some(request)) = (&setup.config.repo, request.as_object_mut()) {
        let mut value = json!({"url": repo.url, "cloneUrl": repo.url});
        if let (Some(branch), Some(value)) = (&repo.branch, value.as_object_mut()) {
            value.insert("branch".to_owned(), json!(branch));
        }
        request.insert("repo".to_owned(), value);
    }
    let began = setup.clock.now();
    loop {
        match rest.create_session(&request).await {
            Ok(created) => return Ok(created.session_id),
            Err(error) if error.is_transient() && began.elapsed() < wait => {
                tracing::info!(%error, "the Hub is not there yet; trying again");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(rest_error(error)),
        }
    }
}
