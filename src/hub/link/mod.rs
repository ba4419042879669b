//! The daemon's connection to its Hub session, as the lead.
//!
//! Guarantees: nothing is sent but the credentials before the Hub's `init`; events go out in order,
//! pipelined within a window, and every state-changing one is sent until it is acknowledged (so a
//! Hub may see one twice, with the same id); after the first `init`, or where the session goes on
//! without it, the link never gives up.
//!
//! It does not decide anything about the session: commands go to the driver as they come, and the
//! driver answers them. One connection lives in `connection`, how to go on after it in `state`.

pub(super) mod access;
mod connection;
pub(super) mod dial;
mod filing;
mod frames;
mod news;
mod run;
mod socket;
mod tool;
mod wire;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use self::filing::SessionFiles;
pub use self::news::{News, Point, UiRequest};
use self::tool::ToolRequest;
pub use self::tool::{NoAnswer, ToolAnswer, ToolCall};
use super::address::HubAddress;
use super::credentials::Credentials;
use super::file::Driver;
use super::inbound::{Command, CommandId};
use super::outbox::EventSource;
use super::protocol::Init;
use super::proxy::Proxies;
use super::state::{Phase, StartError, Timing};
use crate::clock::{Clock, Timestamp};
use crate::config::KeyInUrl;
use crate::ids::{Seq, SessionId};
use crate::tasks::Tasks;

/// Commands that wait for the driver; more are answered as busy.
const COMMANDS: usize = 64;
/// Answers and questions that wait for the socket.
const ANSWERS: usize = 64;
/// What the Hub said that waits for the lead, which handles each within a journal commit: as much
/// as may be in flight.
const NEWS: usize = 256;

/// Events whose answers were carried out while the link is away: as many as can have been answered.
const CARRIED: usize = 2 * NEWS;

/// How to join a session.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// The Hub.
    pub address: HubAddress,
    /// Who we are.
    pub credentials: Credentials,
    /// Whether the key goes into the URL, where logs of others show it.
    pub key_in_url: KeyInUrl,
    /// What may stand between.
    pub proxies: Proxies,
    /// Where the session file is kept; `None`: there is none.
    pub files: Option<SessionFiles>,
    /// The session; absent, the Hub makes one and says which.
    pub session: Option<SessionId>,
    /// One id for each start of the daemon, the same on every reconnect.
    pub driver_instance_id: String,
    /// Our version.
    pub driver_version: String,
    /// Where we keep our state: told to a Hub on this machine, which can start us again there.
    pub home: Option<PathBuf>,
    /// Times and pauses.
    pub timing: Timing,
    /// Where the jitter of pauses begins.
    pub seed: u64,
}

/// The session that was joined.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The Hub's id of it.
    pub session: SessionId,
    /// What the first `init` said.
    pub init: Init,
    /// Who led it last, as its file says.
    pub driver: Option<Driver>,
}

/// How the link stands, for `get_state` and the heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkStatus {
    /// Where it stands.
    pub phase: Phase,
    /// Since when.
    pub since: Timestamp,
    /// Up to where the Hub has the session's events.
    pub acked: Option<Seq>,
    /// Frames that are sent and not acknowledged.
    pub in_flight: usize,
    /// Frames that the Hub read without ever acknowledging them.
    pub unanswered: u64,
    /// Connections that were lost.
    pub losses: u64,
    /// Why the last one was lost, or could not be made.
    pub last_error: Option<String>,
}

/// A command from the session's participants.
#[derive(Debug)]
pub struct Inbound {
    /// What is wanted.
    pub command: Command,
    /// To be answered through [`LinkHandle::respond`].
    pub reply: Reply,
}

/// Which command an answer is for.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    id: Option<CommandId>,
    name: String,
}

impl Reply {
    /// What was asked, in the asker's words.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The asker's own id of the command, where it is one that is given once in the world: the
    /// same twice is one command, sent again.
    pub fn unique_id(&self) -> Option<&str> {
        self.id.as_ref().and_then(CommandId::unique)
    }
}

/// What goes to the Hub and its controllers beside the events.
#[derive(Debug)]
enum Word {
    Answer(Answer),
    Ui(UiRequest),
    Tool(ToolRequest),
}

/// An answer on its way.
#[derive(Debug)]
struct Answer {
    reply: Reply,
    result: Result<Option<Value>, String>,
}

/// The driver's end of the link.
#[derive(Debug)]
pub struct LinkHandle {
    joined: watch::Receiver<Option<Result<Arc<Joined>, StartError>>>,
    status: watch::Receiver<LinkStatus>,
    words: mpsc::Sender<Word>,
    carried: mpsc::Sender<String>,
    news: Mutex<Option<mpsc::Receiver<News>>>,
    closing: watch::Sender<Option<Closing>>,
    apart: Arc<AtomicBool>,
}

/// An orderly end.
#[derive(Debug, Clone, Copy)]
struct Closing {
    /// Events up to here are worth waiting for.
    last: Option<Seq>,
}

/// Starts the link. Events are read from `source` as they become durable. When `tasks` stop, it
/// ends as if closed with nothing to wait for.
pub fn start(
    config: LinkConfig,
    source: impl EventSource,
    tasks: &Tasks,
    clock: Clock,
) -> (LinkHandle, mpsc::Receiver<Inbound>) {
    let (commands, inbound) = mpsc::channel(COMMANDS);
    let (words, words_out) = mpsc::channel(ANSWERS);
    let (news_in, news) = mpsc::channel(NEWS);
    let (carried, carried_out) = mpsc::channel(CARRIED);
    let (joined_in, joined) = watch::channel(None);
    let (closing, closing_out) = watch::channel(None);
    let apart = Arc::<AtomicBool>::default();
    let (status_in, status) = watch::channel(LinkStatus {
        phase: Phase::Connecting,
        since: clock.wall(),
        acked: None,
        in_flight: 0,
        unanswered: 0,
        losses: 0,
        last_error: None,
    });
    let link = run::Link {
        config,
        source,
        clock,
        commands,
        words: words_out,
        carried: carried_out,
        news: news_in,
        joined: joined_in,
        closing: closing_out,
        apart: Arc::clone(&apart),
        status: status_in,
    };
    let stop: CancellationToken = tasks.stopping().clone();
    tasks.spawn("hub-link", link.run(tasks.clone(), stop));
    let handle = LinkHandle {
        joined,
        status,
        words,
        carried,
        news: Mutex::new(Some(news)),
        closing,
        apart,
    };
    (handle, inbound)
}

impl LinkHandle {
    /// Waits for the first `init`, or for the reason why there will be none.
    pub async fn ready(&self) -> Result<Arc<Joined>, StartError> {
        let mut joined = self.joined.clone();
        match joined.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(Err(StartError::Closed)),
            Err(_) => Err(StartError::Closed),
        }
    }

    /// What the first `init` said, once there was one.
    pub fn joined(&self) -> Option<Arc<Joined>> {
        let joined = self.joined.borrow();
        joined.as_ref()?.as_ref().ok().cloned()
    }

    /// From now on the session goes on without waiting for the first `init`: the link never gives
    /// up, unless it has already.
    pub fn go_on_apart(&self) {
        self.apart.store(true, Ordering::SeqCst);
    }

    /// How the link stands, now and as it changes.
    pub fn status(&self) -> watch::Receiver<LinkStatus> {
        self.status.clone()
    }

    /// Answers a command: with data, or with why not. While the Hub is away the last few answers
    /// wait; more are dropped, since whoever asked is gone.
    pub fn respond(&self, reply: Reply, result: Result<Option<Value>, String>) {
        let name = reply.name.clone();
        let answer = Word::Answer(Answer { reply, result });
        if self.words.try_send(answer).is_err() {
            tracing::warn!(command = name, "an answer could not be sent to the Hub");
        }
    }

    /// Puts a question to the controllers. While the Hub is away the last few wait; more are
    /// dropped, and whoever asks has a time limit.
    pub fn ask(&self, request: UiRequest) {
        let method = request.method;
        if self.words.try_send(Word::Ui(request)).is_err() {
            tracing::warn!(method, "a question could not be sent to the Hub");
        }
    }

    /// What the Hub's answer to this frame asks for is done, durably.
    pub fn carried_out(&self, frame: String) {
        if self.carried.try_send(frame).is_err() {
            // It is sent again on the next connection, and the answer is known by then.
            tracing::debug!("an answer that was carried out is asked for again");
        }
    }

    /// Has the Hub run one of its own tools; its answer, or why there is none. Never sent twice:
    /// what a lost call has done is not known.
    pub async fn call_tool(&self, call: ToolCall, limit: Duration) -> Result<ToolAnswer, NoAnswer> {
        if self.status.borrow().phase != Phase::Live {
            return Err(NoAnswer::Away);
        }
        let (answer, answered) = oneshot::channel();
        let request = ToolRequest { call, answer };
        let sent = self.words.try_send(Word::Tool(request));
        sent.map_err(|_| NoAnswer::Away)?;
        match tokio::time::timeout(limit, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(NoAnswer::Lost),
            Err(_) => Err(NoAnswer::Late(limit)),
        }
    }

    /// What the Hub says besides commands; the first who asks gets it.
    pub fn news(&self) -> Option<mpsc::Receiver<News>> {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        news.take()
    }

    /// Ends in order: waits until the Hub has the events up to `last`, says farewell and closes.
    /// Bounded by twice [`Timing::flush`] and a little.
    pub async fn close(&self, last: Option<Seq>) {
        self.closing.send_replace(Some(Closing { last }));
        let mut status = self.status.clone();
        // An error means that the link's task is gone, and so it is closed.
        drop(
            status
                .wait_for(|status| status.phase == Phase::Closed)
                .await,
        );
    }
}
