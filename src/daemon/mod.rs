//! The composition root: one daemon, and the sessions that it leads.
//!
//! ```text
//! daemon:  State (lock, journal) ─ HubAccess (address, key) ─ Registry of sessions ─ Host (API)
//! session: settings ─► Chosen (agent, user) ─► join ─► install ─► workspace ─► driver = Led
//! ```
//!
//! What belongs to the daemon is one for all its sessions: the state dir, the Hub and its key, the
//! place of installed CLIs. What belongs to a session is its own, and stays with it: the agent and
//! everything about it, the repository, the workspace, the time limit.
//!
//! Where to look:
//!
//! | Room | What is in it |
//! |---|---|
//! | `agent` | which program the agent is, its installation, its sandbox, what it is started with |
//! | `hub` | which Hub; what it and the session's people ask for, decide and offer as tools |
//! | `lead` | one session's lead: from its settings to a driver that takes prompts |
//! | `sessions` | which sessions there are, what is stored of each, how each ends |
//! | `state` | the state dir: its lock and journal, a turn's output file, what is cleared away |
//! | `workspace` | its repositories, the script that prepares it, skills, what the agent's git is told |
//!
//! Each step of a session's start fails with its own error, leaves nothing behind that the next
//! start would trip over, and touches no other session. The commands (`run`, `daemon`) decide when
//! to stop; nothing here reads a signal.

mod agent;
mod error;
mod hub;
mod lead;
mod sessions;
mod state;
mod workspace;

use std::path::{Path, PathBuf};

pub use self::agent::launch::{environment_to_send, take_images};
pub use self::agent::program::{FoundBy, Program, RunsAs, runs_as};
pub use self::agent::survey::{Survey, survey};
pub use self::error::DaemonError;
pub use self::hub::own_hub::OwnHub;
pub use self::hub::tools::{HUB_TOOLS, relay as relay_tools};
pub use self::hub::{HubAccess, HubTarget, credentials, reach_hub, rest_error};
pub use self::lead::{Chosen, Lead, Led};
pub use self::sessions::hosted::Hosted;
pub use self::sessions::registry::{Named, Primary, Registry};
pub use self::state::State;
pub use self::state::footprint::{Footprint, journals};
pub use self::state::output::output_file;
use crate::clock::Clock;
use crate::config::{CommandKind, Config, EnvMap, SandboxKind};
use crate::process::Identity;

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

impl Setup<'_> {
    /// This process, where nobody takes over from it when it dies: a `run` has a state dir of its own,
    /// and what it started would work on unseen, and sit idle for ever. In a container the runtime
    /// sees to that.
    fn alone(&self) -> std::io::Result<Option<Identity>> {
        let is_alone =
            self.command == CommandKind::Run && self.config.sandbox.kind == SandboxKind::Local;
        is_alone.then(Identity::own).transpose()
    }
}

/// The facts of a daemon's process, the same for all its sessions.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The user's state dir.
    pub state_root: PathBuf,
    /// Where `install` places CLIs.
    pub prefix: PathBuf,
    /// Whether this is a container.
    pub in_container: bool,
    /// The clocks.
    pub clock: Clock,
}

/// What a session starts from, to be kept as long as it lives.
#[derive(Debug)]
pub struct OwnedSetup {
    /// The facts of the process.
    pub around: Surroundings,
    /// The session's settings; the state dir in them is the daemon's.
    pub config: Config,
    /// Which command asked for it.
    pub command: CommandKind,
    /// The environment that its agent's is chosen from.
    pub env: EnvMap,
    /// The folder that it was asked for in.
    pub cwd: PathBuf,
}

impl OwnedSetup {
    /// The same as a view.
    pub fn view(&self) -> Setup<'_> {
        Setup {
            config: &self.config,
            state_root: &self.around.state_root,
            command: self.command,
            env: &self.env,
            cwd: self.cwd.clone(),
            prefix: self.around.prefix.clone(),
            in_container: self.around.in_container,
            clock: self.around.clock,
        }
    }
}
