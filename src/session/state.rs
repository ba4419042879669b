//! What a session is doing, as others ask for it.

use crate::clock::Timestamp;
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
    /// The driver has stopped: the journal failed, or the daemon is going.
    pub stopped: bool,
    /// The last event of the last turn that ended.
    pub last_end: Option<Seq>,
}

impl SessionState {
    /// Nothing runs and nothing waits.
    pub const fn is_idle(&self) -> bool {
        self.running.is_none() && self.queued == 0
    }
}
