//! A session's controller: hears all that happens in it, and tells its lead what is wanted.
//!
//! Guarantees: the history comes before what is live, also after a connection was lost; what is
//! said while there is no connection goes out with the next one, in order. After the Hub has let
//! us in once, the connection is tried again for ever; only what the Hub refuses for good ends it.
//!
//! It decides nothing: what was heard is shown, and what is said is chosen, by whoever uses it.

mod frame;
mod socket;

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::mpsc;

use super::address::HubAddress;
use super::credentials::Credentials;
use super::proxy::Proxies;
use super::state::{StartError, Timing};
use crate::clock::Clock;
use crate::config::KeyInUrl;
use crate::ids::SessionId;
use crate::tasks::Tasks;

pub use frame::{Asked, Said};

/// Frames that wait for the one who shows them. While it is full the Hub waits, and a Hub that
/// waits too long hangs up, to tell everything anew.
const HEARD: usize = 256;
/// What waits to be said: nobody types more while there is no connection.
const SAID: usize = 64;

/// Which session, and how to join it.
#[derive(Debug, Clone)]
pub struct ControllerConfig {
    /// The Hub.
    pub address: HubAddress,
    /// Who we are.
    pub credentials: Credentials,
    /// Whether the key stands in the WebSocket's URL.
    pub key_in_url: KeyInUrl,
    /// What stands between us and the Hub.
    pub proxies: Proxies,
    /// The session.
    pub session: SessionId,
    /// Times and pauses.
    pub timing: Timing,
    /// Where the jitter of pauses begins.
    pub seed: u64,
    /// Asked where the Hub is after each lost connection, where it may move.
    pub whereabouts: Option<Arc<dyn Whereabouts>>,
}

/// Knows where a Hub is that may move: one within a daemon has a new address after each start.
pub trait Whereabouts: fmt::Debug + Send + Sync {
    /// Where the Hub is now, and who we are to it; `None` while nobody knows.
    fn ask(&self) -> BoxFuture<'_, Option<(HubAddress, Credentials)>>;
}

/// What happens in the session.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// All that has happened so far, first and after each lost connection.
    History(History),
    /// Something that happens now: an event of the lead's or the Hub's, by name.
    Event {
        /// Its name.
        name: String,
        /// Its data.
        data: Value,
        /// When the Hub had it, in milliseconds since the epoch; 0 where it does not say.
        at: u64,
    },
    /// A lead has come.
    LeadCame,
    /// The lead has gone.
    LeadLeft,
    /// The lead asks the people in the session something.
    Asked(Asked),
    /// The lead has not done what was said.
    Refused(String),
    /// The connection is lost, and tried again.
    Lost(String),
    /// The Hub does not let us in.
    Over(StartError),
}

/// What a session looked like when we came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// Its name.
    pub label: Option<String>,
    /// What it was made for.
    pub task: Option<String>,
    /// The conversation so far.
    pub entries: Vec<Value>,
    /// Whether somebody leads it.
    pub is_led: bool,
    /// Whether its agent is at work.
    pub is_busy: bool,
}

/// A controller of one session. Dropping it leaves the session.
#[derive(Debug)]
pub struct Controller {
    said: mpsc::Sender<String>,
}

/// More was said than waits for a connection.
#[derive(Debug, thiserror::Error)]
#[error("there is no connection to the Hub, and too much waits for one; try again")]
pub struct Unheard;

impl Controller {
    /// Begins to join; returns at once. The second part ends when the controller is dropped, or
    /// after [`Heard::Over`].
    pub fn start(config: ControllerConfig, tasks: &Tasks) -> (Self, mpsc::Receiver<Heard>) {
        let (said, to_say) = mpsc::channel(SAID);
        let (sender, heard) = mpsc::channel(HEARD);
        tasks.spawn("hub-controller", socket::run(config, sender, to_say, Clock));
        (Self { said }, heard)
    }

    /// Tells the lead something.
    pub fn say(&self, said: &Said) -> Result<(), Unheard> {
        let id = Clock.new_uuid().to_string();
        self.said.try_send(said.frame(&id)).map_err(|_| Unheard)
    }
}
