//! What a session is doing, as others ask for it.

use crate::clock::Timestamp;
use crate::config::Approve;
use crate::ids::{Seq, TurnId};
use crate::turn::activity::Doing;
use crate::turn::approval::Waiting;
use crate::turn::choices::Choices;

/// A session's state at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SessionState {
    /// The turn that runs, and since when.
    pub running: Option<(TurnId, Timestamp)>,
    /// What its agent is doing, and since when; `None` while it has no process.
    pub doing: Option<(Doing, Timestamp)>,
    /// Requests of the agent that wait for an answer, the oldest first.
    pub asked: Vec<Waiting>,
    /// Turns that wait behind it.
    pub queued: usize,
    /// Prompts that were ever accepted.
    pub prompts: usize,
    /// The CLI's own session id.
    pub agent_session: Option<String>,
    /// What participants have chosen over the settings.
    pub choices: Choices,
    /// What the agent works with, the settings and what was chosen over them.
    pub in_force: InForce,
    /// The driver has stopped: the journal failed, or the daemon is going.
    pub stopped: bool,
    /// The last event of the last turn that ended.
    pub last_end: Option<Seq>,
}

/// What an agent works with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// The model; none: its CLI's own choice.
    pub model: Option<String>,
    /// How hard it thinks; none: its CLI's own choice.
    pub effort: Option<String>,
    /// Who consents to what it does.
    pub approve: Approve,
}

impl Default for InForce {
    /// Nothing was asked for.
    fn default() -> Self {
        Self {
            model: None,
            effort: None,
            approve: Approve::Auto,
        }
    }
}

impl SessionState {
    /// Nothing runs and nothing waits.
    pub const fn is_idle(&self) -> bool {
        self.running.is_none() && self.queued == 0
    }
}
