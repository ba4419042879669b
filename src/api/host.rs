//! What the API needs of the daemon that it serves for.
//!
//! The daemon implements [`Host`]; the API never learns how a session is made, restored or ended.
//! Everything here is cheap to ask for: it is read from memory, and only [`Host::create`] works.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use secrecy::SecretString;
use tokio::sync::watch;

use crate::clock::Timestamp;
use crate::config::EnvMap;
use crate::hub::link::LinkStatus;
use crate::ids::{SessionId, TurnId};
use crate::image::Image;
use crate::journal::{Journal, JournalError, Room};
use crate::redact::Redactor;
use crate::session::Session;

/// A daemon, as its API sees it.
pub trait Host: Send + Sync + 'static {
    /// What is true of the daemon as a whole.
    fn daemon(&self) -> DaemonFacts;

    /// Its Hub, for whoever wants to join a session there.
    fn hub(&self) -> HubDoor;

    /// Every session that the daemon leads, or would, the newest first.
    fn sessions(&self) -> Vec<HostedSession>;

    /// The sessions that were ended and are kept, the newest first.
    fn ended(&self) -> Vec<HostedSession>;

    /// One of either.
    fn session(&self, id: &SessionId) -> Option<HostedSession>;

    /// Makes a session and accepts its task. The session and its turn are durable when this
    /// returns; cloning and installing may go on after it, as the session's [`Standing`] says.
    fn create(&self, new: NewSession) -> BoxFuture<'_, Result<Created, CreateError>>;

    /// Ends a session for good: what runs in it is cancelled, its Hub is told, no daemon opens it
    /// again. Durable when this returns; `None`: there is no such session.
    fn end(&self, id: &SessionId) -> BoxFuture<'_, Option<Result<HostedSession, EndError>>>;
}

/// What is true of the daemon as a whole.
#[derive(Debug, Clone)]
pub struct DaemonFacts {
    /// Its version.
    pub version: &'static str,
    /// Its process.
    pub pid: u32,
    /// When it was started.
    pub started_at: Timestamp,
    /// Where everything durable lies.
    pub state_dir: PathBuf,
    /// The address of the Hub, without credentials; `None` while it is being discovered.
    pub hub: Option<String>,
    /// How much room its journal has.
    pub room: Room,
}

/// How the sessions of a daemon are joined.
#[derive(Debug, Clone)]
pub struct HubDoor {
    /// The address, without credentials.
    pub address: String,
    /// The key, where only the daemon has it: that of a Hub of its own. Whoever joins another Hub
    /// shows a key of their own.
    pub key: Option<SecretString>,
}

/// A session that the daemon holds.
#[derive(Debug, Clone)]
pub struct HostedSession {
    /// Its id, the Hub's.
    pub id: SessionId,
    /// The agent's name.
    pub agent: String,
    /// Where it was started: what `--session` stands for when it is not given.
    pub cwd: PathBuf,
    /// When it was created.
    pub created_at: Timestamp,
    /// Where it stands, and news of it.
    pub standing: watch::Receiver<Standing>,
    /// Its events and turns; readable however it stands.
    pub journal: Journal,
    /// How its link to the Hub stands; `None` before there is one.
    pub link: Option<watch::Receiver<LinkStatus>>,
}

/// Where a session stands.
#[derive(Debug, Clone)]
pub enum Standing {
    /// It is joined, cloned, installed or taken up again after a restart.
    SettingUp {
        /// What is being done, in a few words: `joining the Hub`.
        step: String,
    },
    /// Its driver takes requests.
    Led(LedSession),
    /// It cannot be led; the other sessions are not touched by that.
    Failed {
        /// What, where, what to do next.
        reason: String,
    },
    /// It was ended for good.
    Ended {
        /// When.
        at: Timestamp,
    },
}

/// A session whose driver takes requests.
#[derive(Debug, Clone)]
pub struct LedSession {
    /// The driver.
    pub session: Session,
    /// Where the agent works.
    pub workspace: PathBuf,
    /// The agent's own version, where it is known.
    pub agent_version: Option<String>,
    /// The model that was asked for, if one was.
    pub model: Option<String>,
    /// Where the raw output of its runs lies.
    pub logs: LogSource,
}

/// Where the raw output of a session's runs lies, and what must not be shown of it.
#[derive(Debug, Clone)]
pub struct LogSource {
    /// The folder that holds a folder for each run.
    pub runs: PathBuf,
    /// Masks the session's secrets.
    pub redactor: Arc<Redactor>,
}

/// A session that is asked for.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Settings as typed, by their key in the config file (`allowed_tools`), each as a flag's
    /// values. Paths in them are relative to `cwd`.
    pub settings: BTreeMap<String, Vec<String>>,
    /// Variables of whoever asks, such as the vendor's key. Kept in memory only; shown by name only.
    pub env: EnvMap,
    /// Where whoever asks is.
    pub cwd: PathBuf,
    /// What the agent is to do.
    pub task: String,
    /// The images that go with it.
    pub images: Vec<Image>,
}

/// A session that was made.
#[derive(Debug, Clone)]
pub struct Created {
    /// Its id.
    pub session: SessionId,
    /// The turn of its task.
    pub turn: TurnId,
    /// Where the turn's events are written as JSON lines.
    pub output_file: PathBuf,
}

/// Why a session was not ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EndError {
    /// The daemon is going.
    #[error("the daemon is stopping; ask again when it is back")]
    Stopping,
    /// The journal cannot take it.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Why a session was not made. Each message says what, where, and what to do next.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CreateError {
    /// A setting is wrong, or there is no task.
    #[error("{0}")]
    Invalid(String),
    /// The repository is not there, or cannot be cloned.
    #[error("{0}")]
    Repo(String),
    /// The agent CLI is missing or unusable.
    #[error("{0}")]
    Agent(String),
    /// No Hub answers.
    #[error("{0}")]
    HubUnreachable(String),
    /// The Hub says no.
    #[error("{0}")]
    HubRefused(String),
    /// The disk is full, or the journal at its quota.
    #[error("{0}")]
    NoRoom(String),
    /// The daemon is going.
    #[error("the daemon is stopping; ask again when it is back")]
    Stopping,
    /// The journal or the state dir cannot take it, or something that should not be.
    #[error("{0}")]
    Internal(String),
}
