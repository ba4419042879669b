//! The link's life: one connection after the other, until it is closed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::connection::{Connection, Over, Shared};
use super::filing::Kept;
use super::socket::Socket;
use super::{Closing, Inbound, Joined, LinkConfig, LinkStatus, News, Word};
use crate::clock::Clock;
use crate::hub::outbox::{EventSource, Outbox, Resume};
use crate::hub::protocol::Init;
use crate::hub::state::{Ended, Phase, Reconnect, StartError};
use crate::ids::{Seq, SessionId};
use crate::tasks::Tasks;

/// Frames between the outbox and the socket: a burst, so that neither waits for the other's turn.
const OUTGOING: usize = 64;
/// The acknowledged position is stored at most this often: losing it costs a few repeats.
const STORE_EVERY: Duration = Duration::from_millis(200);

/// The link's task.
pub(super) struct Link<S> {
    pub(super) config: LinkConfig,
    pub(super) source: S,
    pub(super) clock: Clock,
    pub(super) commands: mpsc::Sender<Inbound>,
    pub(super) words: mpsc::Receiver<Word>,
    pub(super) carried: mpsc::Receiver<String>,
    pub(super) news: mpsc::Sender<News>,
    pub(super) joined: watch::Sender<Option<Result<Arc<Joined>, StartError>>>,
    pub(super) closing: watch::Receiver<Option<Closing>>,
    pub(super) apart: Arc<AtomicBool>,
    pub(super) status: watch::Sender<LinkStatus>,
}

/// What the link remembers from one connection to the next.
#[derive(Default)]
struct Memory {
    session: Option<SessionId>,
    acked: Option<Seq>,
    arrived: HashMap<String, Seq>,
    written: Option<Seq>,
    opening: Vec<(String, &'static str, Value)>,
    store: Option<tokio::task::JoinHandle<()>>,
    file: Option<Kept>,
}

impl<S: EventSource> Link<S> {
    pub(super) async fn run(mut self, tasks: Tasks, stop: CancellationToken) {
        let mut memory = Memory {
            session: self.config.session.clone(),
            ..Memory::default()
        };
        let mut reconnect = Reconnect::new(
            self.config.timing.clone(),
            self.config.seed,
            self.clock.now(),
        );
        tokio::select! {
            result = self.connections(&mut memory, &mut reconnect, &tasks) => {
                if let Err(error) = result {
                    self.phase(Phase::Closed, Some(error.to_string()));
                    self.joined.send_replace(Some(Err(error)));
                }
            }
            () = stop.cancelled() => {}
        }
        self.joined.send_if_modified(|joined| {
            let never = joined.is_none();
            if never {
                *joined = Some(Err(StartError::Closed));
            }
            never
        });
        self.phase(Phase::Closed, None);
        // The storing task sees the end of the status and stores the last position.
        let store = memory.store.take();
        drop(self);
        if let Some(store) = store
            && let Err(error) = store.await
        {
            tracing::error!(%error, "the acknowledged position may not be stored");
        }
    }

    async fn connections(
        &mut self,
        memory: &mut Memory,
        reconnect: &mut Reconnect,
        tasks: &Tasks,
    ) -> Result<(), StartError> {
        let mut access = Access::new(self.config.key_in_url);
        loop {
            let mut closing = self.closing.clone();
            self.phase(Phase::Connecting, None);
            let used = self.config.credentials.key();
            let opening = Socket::open(&self.config, memory.session.as_ref(), access.key());
            let opened = tokio::select! {
                opened = opening => opened,
                _ = closing.wait_for(Option::is_some) => return Ok(()),
            };
            let mut lived = Duration::ZERO;
            let ended = match opened {
                Err(ended) => ended,
                Ok((socket, init)) => match self.join(init, memory, tasks).await {
                    Err(ended) => ended,
                    Ok(session) => {
                        reconnect.joined();
                        access.joined();
                        let begun = self.clock.now();
                        let over = self.live(socket, &session, memory).await;
                        lived = self.clock.now().saturating_duration_since(begun);
                        match over {
                            Over::Closed => return Ok(()),
                            Over::Lost(ended) => ended,
                        }
                    }
                },
            };
            if ended.refuses_key() && access.refused(&self.config.credentials, used.as_ref()) {
                continue;
            }
            if self.apart.load(Ordering::SeqCst) {
                reconnect.apart();
            }
            let next = reconnect.ended(&ended, lived, self.clock.now())?;
            tracing::warn!(why = %ended, phase = ?next.phase, again_in = ?next.after, "no connection to the Hub");
            self.phase(next.phase, Some(ended.to_string()));
            tokio::select! {
                () = tokio::time::sleep(next.after) => {}
                _ = closing.wait_for(Option::is_some) => return Ok(()),
            }
        }
    }

    /// Takes what the Hub's `init` says; the first one joins the session.
    async fn join(
        &self,
        init: Init,
        memory: &mut Memory,
        tasks: &Tasks,
    ) -> Result<SessionId, Ended> {
        let told = match &init.session_id {
            Some(id) => Some(id.parse().map_err(|e| Ended::Nonsense(format!("{e}")))?),
            None => memory.session.clone(),
        };
        let session: SessionId =
            told.ok_or_else(|| Ended::Nonsense("init names no session".to_owned()))?;
        if memory.store.is_none() {
            let acked = self.source.acked(&session).await;
            memory.acked = acked.map_err(|e| Ended::Source(e.to_string()))?;
            self.status
                .send_modify(|status| status.acked = memory.acked);
            memory.opening = opening(&self.config, &init, memory.acked.is_some());
            let store = store(
                self.source.clone(),
                session.clone(),
                self.status.subscribe(),
            );
            memory.store = Some(tasks.spawn("hub-acked", store));
            if let Some(files) = &self.config.files {
                let opened = Kept::open(files, &session, init.resume.as_ref()).await;
                memory.file = opened.inspect_err(file_fault).ok();
            }
            let driver = memory.file.as_ref().and_then(Kept::driver);
            let session = session.clone();
            self.joined.send_replace(Some(Ok(Arc::new(Joined {
                session,
                init,
                driver,
            }))));
        } else if memory.session.as_ref() != Some(&session) {
            // Our events belong to the session that we joined.
            return Err(Ended::Nonsense(format!(
                "init names another session, {session}"
            )));
        }
        memory.session = Some(session.clone());
        crash_point!("hub.joined");
        Ok(session)
    }

    async fn live(&mut self, socket: Socket, session: &SessionId, memory: &mut Memory) -> Over {
        self.phase(Phase::Live, None);
        let (to, mut outgoing) = mpsc::channel(OUTGOING);
        let resume = Resume {
            acked: memory.acked,
            arrived: memory.arrived.clone(),
            written: memory.written,
        };
        let join = self.config.timing.join;
        let filing = memory.file.as_mut().map(|file| file.connect(memory.acked));
        let outbox = Outbox::new(resume, filing, to).run(&self.source, session, join);
        let shared = Shared {
            config: &self.config,
            clock: self.clock,
            commands: &self.commands,
            words: &mut self.words,
            carried: &mut self.carried,
            news: &self.news,
            closing: &mut self.closing,
            status: &self.status,
            opening: &mut memory.opening,
            written: &mut memory.written,
        };
        let connection = Connection::new(socket, memory.acked, shared);
        let (over, window) = connection.run(outbox, &mut outgoing).await;
        memory.acked = window.acked();
        memory.arrived.extend(window.into_arrived());
        memory.arrived.retain(|_, seq| Some(*seq) > memory.acked);
        over
    }

    fn phase(&self, phase: Phase, error: Option<String>) {
        self.status.send_modify(|status| {
            if status.phase == Phase::Live && phase != Phase::Closed {
                status.losses += 1;
            }
            if status.phase != phase {
                status.since = self.clock.wall();
            }
            status.phase = phase;
            status.in_flight = 0;
            if error.is_some() {
                status.last_error = error;
            }
        });
    }
}

fn file_fault(error: &std::io::Error) {
    tracing::error!(%error, "the session goes on without a session file");
}

/// What opens the session: said once, and again until it is acknowledged.
fn opening(config: &LinkConfig, init: &Init, known: bool) -> Vec<(String, &'static str, Value)> {
    let instance = &config.driver_instance_id;
    let reason = if known || init.resume.is_some() {
        "resume"
    } else {
        "startup"
    };
    vec![
        (
            format!("{instance}/start"),
            "session_start",
            json!({"type": "session_start", "reason": reason, "agentRole": "lead"}),
        ),
        (
            format!("{instance}/ready"),
            "rpc_ready",
            json!({
                "type": "rpc_ready", "driverInstanceId": instance,
                "driverVersion": config.driver_version, "agentRole": "lead",
            }),
        ),
    ]
}

/// Stores the acknowledged position as it grows, until the link ends.
async fn store(
    source: impl EventSource,
    session: SessionId,
    mut status: watch::Receiver<LinkStatus>,
) {
    let mut stored = None;
    loop {
        let acked = status.borrow_and_update().acked;
        if let Some(seq) = acked
            && acked > stored
        {
            match source.set_acked(&session, seq).await {
                Ok(()) => stored = acked,
                Err(error) => {
                    tracing::error!(%error, %seq, "the acknowledged position is not stored");
                }
            }
        }
        let over = status.borrow().phase == Phase::Closed;
        if (over && status.borrow().acked <= stored) || status.changed().await.is_err() {
            return;
        }
        tokio::time::sleep(STORE_EVERY).await;
    }
}
