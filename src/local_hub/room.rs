//! One session's live side: its lead, its viewers, and the one order in which they see events.
//!
//! ```text
//! lead ─► store queue ─► commit ─► publish (store thread, store order) ─► viewers' queues
//! ```
//!
//! Invariants:
//! * Events are published in store order, after their commit.
//! * A viewer is added under the same lock as events are published under, together with the id of
//!   the last published event: history up to that id plus the queue from then on is gap-free.
//! * Publishing never waits. A viewer whose queue is full loses the queue, not events: it drains
//!   what it has and then reads the rest from the store, or is closed to be hydrated anew.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use super::filter::Filter;
use super::frame::{self, Frame};
use super::questions::Questions;
use crate::clock::Timestamp;
use crate::hub::protocol::{CloseCode, Role};

/// Frames waiting for one viewer. Texts are shared between viewers, so this bounds what a viewer
/// that reads slowly holds back together with [`QUEUED_BYTES`].
const QUEUED_FRAMES: usize = 1_024;

/// Bytes waiting for one viewer; a single larger frame still passes when nothing else waits.
const QUEUED_BYTES: usize = 8 * 1_024 * 1_024;

/// Frames (ACKs, commands, news) waiting for the lead. A lead that sends without reading its
/// ACKs fills it and is disconnected; what was not acknowledged it sends again.
const LEAD_QUEUE: usize = 4_096;

/// Bytes of a session's events on their way into the store. Beyond it the lead's socket is not
/// read until a commit has made room.
pub(crate) const PENDING_BYTES: u32 = 32 * 1_024 * 1_024;

/// Ends a connection from outside, saying why.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leash {
    pulled: CancellationToken,
    why: Arc<OnceLock<(CloseCode, &'static str)>>,
}

impl Leash {
    /// Ends the connection; the first reason counts.
    pub(crate) fn pull(&self, code: CloseCode, why: &'static str) {
        self.why.get_or_init(|| (code, why));
        self.pulled.cancel();
    }

    /// Waits for the end and says why it came. Cancel-safe.
    pub(crate) async fn pulled(&self) -> (CloseCode, &'static str) {
        self.pulled.cancelled().await;
        *self
            .why
            .get_or_init(|| (CloseCode::GOING_AWAY, "the Hub is stopping"))
    }
}

/// Someone connected.
#[derive(Debug, Clone)]
pub(crate) struct Participant {
    pub(crate) id: String,
    pub(crate) role: Role,
    /// `ws` or `sse`.
    pub(crate) transport: &'static str,
    pub(crate) connected_at: Timestamp,
}

impl Participant {
    /// As presence frames have it.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            // The public schema knows no other roles of participants.
            "role": if self.role == Role::SubAgent { Role::Lead } else { self.role },
            "transport": self.transport,
            "subscriptions": [],
            "connectedAt": self.connected_at,
            "lastActivity": self.connected_at,
        })
    }
}

struct Lead {
    participant: Participant,
    driver: Option<String>,
    queue: mpsc::Sender<Utf8Bytes>,
    leash: Leash,
}

struct Viewer {
    participant: Participant,
    filter: Filter,
    /// `None` while it is behind.
    queue: Option<Queue>,
    leash: Leash,
}

struct Queue {
    frames: mpsc::Sender<Frame>,
    bytes: Arc<AtomicUsize>,
}

/// The receiving end of a viewer's queue.
#[derive(Debug)]
pub(crate) struct Inlet {
    frames: mpsc::Receiver<Frame>,
    bytes: Arc<AtomicUsize>,
}

impl Inlet {
    /// The next frame; `None` when the viewer fell behind and the queue is drained. Cancel-safe.
    pub(crate) async fn recv(&mut self) -> Option<Frame> {
        let frame = self.frames.recv().await?;
        Some(self.taken(frame))
    }

    /// The next frame if one waits.
    pub(crate) fn try_recv(&mut self) -> Option<Frame> {
        let frame = self.frames.try_recv().ok()?;
        Some(self.taken(frame))
    }

    fn taken(&self, frame: Frame) -> Frame {
        self.bytes.fetch_sub(frame.text.len(), Ordering::Relaxed);
        frame
    }
}

/// What a session looked like at one point of its event order.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// The last published event's id.
    pub(crate) published: i64,
    pub(crate) lead_connected: bool,
    pub(crate) activity: Activity,
    pub(crate) participants: Vec<Participant>,
    /// Frames of the lead's questions that wait for a person.
    pub(crate) questions: Vec<Utf8Bytes>,
}

impl Snapshot {
    /// Whether an agent works right now.
    pub(crate) fn is_streaming(&self) -> bool {
        self.lead_connected && self.activity.streaming
    }
}

/// Why a lead is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeadRefused {
    /// Another one is there.
    Active,
    /// The session is no longer open.
    Closed(CloseCode, &'static str),
}

/// A session's live side.
pub(crate) struct Room {
    pub(crate) id: String,
    pub(crate) key: i64,
    /// Bytes on their way into the store; see [`PENDING_BYTES`].
    pub(crate) pending: Arc<Semaphore>,
    state: Mutex<State>,
}

struct State {
    lead: Option<Lead>,
    viewers: Vec<Viewer>,
    published: i64,
    activity: Activity,
    questions: Questions,
    closed: Option<(CloseCode, &'static str)>,
}

impl Room {
    pub(crate) fn new(id: String, key: i64, published: i64, activity: Activity) -> Self {
        Self {
            id,
            key,
            pending: Arc::new(Semaphore::new(PENDING_BYTES as usize)),
            state: Mutex::new(State {
                lead: None,
                viewers: Vec::new(),
                published,
                activity,
                questions: Questions::default(),
                closed: None,
            }),
        }
    }

    /// Publishes a stored event, but not to the participant `except`. Called on the store's thread only, in store order.
    pub(crate) fn publish_event(
        &self,
        id: i64,
        event: &str,
        data: &RawValue,
        at: Timestamp,
        except: Option<&str>,
    ) {
        let mut state = self.state();
        state.published = id;
        state.activity.apply(event, data.get(), at);
        if matches!(event, "agent_end" | "session_start" | "session_shutdown") {
            state.questions.clear();
        }
        if state.viewers.iter().any(|viewer| viewer.wants(event)) {
            let frame = frame::broadcast(&self.id, Some(id), event, data, at);
            state.deliver(&frame, except);
        }
    }

    /// Shows viewers a frame of the remote control from the lead; a question waits for whoever comes
    /// later, and is shown once.
    pub(crate) fn relay(&self, event: &'static str, data: &RawValue, at: Timestamp) {
        let frame = frame::broadcast(&self.id, None, event, data, at);
        let mut state = self.state();
        if event != "rpc_ui_request" || state.questions.hear(data, &frame.text) {
            state.deliver(&frame, None);
        }
    }

    /// Hands the lead a controller's answer to a question; false when there is nobody to hear it.
    pub(crate) fn answer_lead(&self, response: &Utf8Bytes) -> bool {
        let heard = self.tell_lead(response.clone());
        if heard {
            self.state().questions.answer(response.as_str());
        }
        heard
    }

    /// Lets a lead in. One with the id of the connected driver replaces its own old socket.
    pub(crate) fn enter_lead(
        &self,
        participant: &Participant,
        driver: Option<&str>,
        leash: &Leash,
    ) -> Result<mpsc::Receiver<Utf8Bytes>, LeadRefused> {
        let mut state = self.state();
        if let Some((code, why)) = state.closed {
            return Err(LeadRefused::Closed(code, why));
        }
        if let Some(present) = &state.lead {
            if driver.is_none() || present.driver.as_deref() != driver {
                return Err(LeadRefused::Active);
            }
            present.leash.pull(
                CloseCode::GOING_AWAY,
                "replaced by a newer connection of this driver",
            );
        }
        let (queue, outlet) = mpsc::channel(LEAD_QUEUE);
        state.lead = Some(Lead {
            participant: participant.clone(),
            driver: driver.map(str::to_owned),
            queue,
            leash: leash.clone(),
        });
        self.announce(&mut state, "session_join", participant);
        Ok(outlet)
    }

    /// A different driver leads from here on: what the last one had open will never be closed.
    pub(crate) fn reset_activity(&self) {
        let mut state = self.state();
        state.activity.interrupt();
        state.questions.clear();
    }

    /// Removes a lead, unless another connection has replaced it.
    pub(crate) fn leave_lead(&self, participant: &Participant) {
        let mut state = self.state();
        let present = state.lead.as_ref().map(|lead| lead.participant.id.as_str());
        if present == Some(participant.id.as_str()) {
            state.lead = None;
            state.questions.clear();
            self.announce(&mut state, "session_leave", participant);
        }
    }

    /// Hands the lead a frame; false when there is none, or none that takes it.
    pub(crate) fn tell_lead(&self, text: Utf8Bytes) -> bool {
        let state = self.state();
        let Some(lead) = &state.lead else {
            return false;
        };
        lead.queue.try_send(text).is_ok()
    }

    /// The sender and leash of the lead that `participant` is, for the answers to its requests.
    pub(crate) fn lead_queue(&self, participant: &Participant) -> Option<mpsc::Sender<Utf8Bytes>> {
        let state = self.state();
        let lead = state.lead.as_ref()?;
        (lead.participant.id == participant.id).then(|| lead.queue.clone())
    }

    /// Adds a viewer, with the state of the session at exactly that point.
    pub(crate) fn enter_viewer(
        &self,
        participant: &Participant,
        filter: Filter,
        leash: &Leash,
    ) -> Result<(Inlet, Snapshot), (CloseCode, &'static str)> {
        let mut state = self.state();
        if let Some(closed) = state.closed {
            return Err(closed);
        }
        self.announce(&mut state, "session_join", participant);
        let (queue, inlet) = queue();
        state.viewers.push(Viewer {
            participant: participant.clone(),
            filter,
            queue: Some(queue),
            leash: leash.clone(),
        });
        Ok((inlet, state.snapshot()))
    }

    /// Gives a viewer that fell behind a new queue, and the point from which it fills.
    pub(crate) fn reenter_viewer(&self, participant: &Participant) -> Option<(Inlet, Snapshot)> {
        let mut state = self.state();
        let snapshot = state.snapshot();
        let viewer = state.viewer(participant)?;
        let (queue, inlet) = queue();
        viewer.queue = Some(queue);
        Some((inlet, snapshot))
    }

    /// A viewer's filter.
    pub(crate) fn filter(&self, participant: &Participant) -> Option<Filter> {
        let mut state = self.state();
        state
            .viewer(participant)
            .map(|viewer| viewer.filter.clone())
    }

    /// Replaces a viewer's filter.
    pub(crate) fn set_filter(&self, participant: &Participant, filter: Filter) {
        if let Some(viewer) = self.state().viewer(participant) {
            viewer.filter = filter;
        }
    }

    /// Removes a viewer.
    pub(crate) fn leave_viewer(&self, participant: &Participant) {
        let mut state = self.state();
        let before = state.viewers.len();
        state
            .viewers
            .retain(|viewer| viewer.participant.id != participant.id);
        if state.viewers.len() < before {
            self.announce(&mut state, "session_leave", participant);
        }
    }

    /// How the session stands.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.state().snapshot()
    }

    /// Ends all connections, and those that would still come.
    pub(crate) fn close(&self, code: CloseCode, why: &'static str) {
        let mut state = self.state();
        state.closed = Some((code, why));
        if let Some(lead) = state.lead.take() {
            lead.leash.pull(code, why);
        }
        for viewer in state.viewers.drain(..) {
            viewer.leash.pull(code, why);
        }
    }

    fn announce(&self, state: &mut State, event: &str, participant: &Participant) {
        let at = crate::clock::Clock.wall();
        let fields = json!({"participant": participant.to_json()});
        let news = frame::announcement(&self.id, event, &fields, at);
        if let Some(lead) = &state.lead
            && lead.participant.id != participant.id
            && lead.queue.try_send(news.text.clone()).is_err()
        {
            // Only a lead that does not read has a full queue; its next ACK disconnects it.
            tracing::debug!(session = %self.id, "the lead reads too slowly to hear who is here");
        }
        state.deliver(
            &frame::presence(&self.id, event, fields, at),
            Some(&participant.id),
        );
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn deliver(&mut self, frame: &Frame, except: Option<&str>) {
        for viewer in &mut self.viewers {
            if except != Some(viewer.participant.id.as_str()) && viewer.wants(&frame.event) {
                viewer.offer(frame);
            }
        }
    }

    fn viewer(&mut self, participant: &Participant) -> Option<&mut Viewer> {
        self.viewers
            .iter_mut()
            .find(|viewer| viewer.participant.id == participant.id)
    }

    fn snapshot(&self) -> Snapshot {
        let lead = self.lead.iter().map(|lead| &lead.participant);
        let viewers = self.viewers.iter().map(|viewer| &viewer.participant);
        Snapshot {
            published: self.published,
            lead_connected: self.lead.is_some(),
            activity: self.activity.clone(),
            participants: lead.chain(viewers).cloned().collect(),
            questions: self.questions.frames(),
        }
    }
}

impl Viewer {
    fn wants(&self, event: &str) -> bool {
        self.filter.passes(event)
    }

    /// Queues a frame, or takes the queue away: see the module's third invariant.
    fn offer(&mut self, frame: &Frame) {
        let Some(queue) = &self.queue else {
            return;
        };
        let size = frame.text.len();
        let waiting = queue.bytes.fetch_add(size, Ordering::Relaxed);
        let full = waiting > 0 && waiting + size > QUEUED_BYTES;
        if full || queue.frames.try_send(frame.clone()).is_err() {
            self.queue = None;
        }
    }
}

fn queue() -> (Queue, Inlet) {
    let (sender, frames) = mpsc::channel(QUEUED_FRAMES);
    let bytes = Arc::new(AtomicUsize::new(0));
    let queue = Queue {
        frames: sender,
        bytes: Arc::clone(&bytes),
    };
    (queue, Inlet { frames, bytes })
}
