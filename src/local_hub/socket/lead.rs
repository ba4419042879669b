//! The conversation with a lead (or a sub-agent, which is one without the session's lead role).
//!
//! An event is acknowledged once it is stored, never before. Requests are pipelined: reading goes
//! on while earlier events are being committed, up to [`PENDING_BYTES`]. An id that the session
//! has already stored is acknowledged again and neither stored nor shown twice.

use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::connection::{Connection, Ended, PING_EVERY, Reader, Writer, rejection};
use super::inbound::{self, Inbound};
use super::{Hello, Refusal};
use crate::clock::{Clock, Timestamp};
use crate::hub::protocol::{CloseCode, Init, InitConfig, InitResume, Role};
use crate::local_hub::activity::mark;
use crate::local_hub::frame;
use crate::local_hub::rest::agents;
use crate::local_hub::room::{LeadRefused, Leash, PENDING_BYTES, Participant, Room};
use crate::local_hub::server::Hub;
use crate::local_hub::sessions::{Note, participant};
use crate::local_hub::store::{
    SessionRow, StoreError, Write, append_file_line, driver_known, insert_driver, insert_event,
    last_driver_is, mark_lead_seen, replace_file,
};

/// Answers waiting for a sub-agent: as many as for a lead.
const SUB_AGENT_QUEUE: usize = 4_096;

/// The most answers sent before an order to leave is looked at again.
const BURST: usize = 1_024;

/// Serves the connection until either side ends it.
pub(super) async fn serve(
    hub: &Arc<Hub>,
    mut connection: Connection,
    role: Role,
    session: SessionRow,
    hello: &Hello,
) {
    let who = participant(role, "ws");
    let leash = Leash::default();
    let (room, outlet) = match enter(hub, &who, &session, hello, &leash).await {
        Ok(entered) => entered,
        Err(refusal) => return connection.refuse(refusal, Some(&session.id)).await,
    };
    let ended = match connection
        .writer
        .send(init(hub, role, &session).await)
        .await
    {
        Ok(()) => {
            let lead = Incoming {
                hub,
                room: &room,
                who: &who,
                session: &session,
                answers: &outlet.answers,
                leash: &leash,
                overwrite: serde_json::from_str(&session.spec)
                    .ok()
                    .and_then(|spec| system_prompt(&spec, Mode::Overwrite)),
            };
            tokio::select! {
                ended = lead.read(&mut connection.reader) => ended,
                ended = write(&mut connection.writer, outlet.queue, &leash) => ended,
                () = hub.tasks.stopping().cancelled() => {
                    Ended::Close(CloseCode::GOING_AWAY, "the Hub is stopping")
                }
            }
        }
        Err(ended) => ended,
    };
    if role == Role::Lead {
        room.leave_lead(&who);
    }
    hub.sessions.note_leave(room.key, &who).await;
    connection.close(ended).await;
}

struct Outlet {
    answers: mpsc::Sender<Utf8Bytes>,
    queue: mpsc::Receiver<Utf8Bytes>,
}

/// Takes the lead of the session, or says why not. The rule: one lead at a time; the same driver
/// replaces its own old socket; a driver that another has followed never leads again.
async fn enter(
    hub: &Hub,
    who: &Participant,
    session: &SessionRow,
    hello: &Hello,
    leash: &Leash,
) -> Result<(Arc<Room>, Outlet), Refusal> {
    let store = &hub.sessions.store;
    let room = hub.sessions.room(session).await?;
    if who.role == Role::SubAgent {
        let (answers, queue) = mpsc::channel(SUB_AGENT_QUEUE);
        hub.sessions.note_join(session.key, who).await?;
        return Ok((room, Outlet { answers, queue }));
    }
    let key = session.key;
    let is_known = admit(hub, key, hello).await?;
    let queue = room
        .enter_lead(who, hello.driver.as_deref(), leash)
        .map_err(Refusal::from)?;
    let fresh = hello.driver.clone().filter(|_| !is_known);
    if fresh.is_some() {
        room.reset_activity();
    }
    let home = hello.home.clone();
    let noted = store
        .call(move |db| {
            mark_lead_seen(db, key, home.as_deref())?;
            fresh.map_or(Ok(()), |id| insert_driver(db, key, &id))
        })
        .await;
    let joined = match noted {
        Ok(()) => hub.sessions.note_join(key, who).await,
        Err(error) => Err(error),
    };
    // Replaced already by a newer socket of the same driver, or not on record.
    let answers = room.lead_queue(who);
    match (joined, answers) {
        (Ok(()), Some(answers)) => {
            hub.waking.lead_came(&session.id);
            Ok((room, Outlet { answers, queue }))
        }
        (joined, _) => {
            room.leave_lead(who);
            hub.sessions.note_leave(key, who).await;
            joined?;
            Err(Refusal::new(
                CloseCode::UNAVAILABLE,
                "replaced by a newer connection",
            ))
        }
    }
}

/// Whether the driver has led the session before; refused where another one has followed it.
async fn admit(hub: &Hub, session: i64, hello: &Hello) -> Result<bool, Refusal> {
    let Some(id) = hello.driver.clone() else {
        return Ok(false);
    };
    let (is_known, is_last) = hub
        .sessions
        .store
        .read(move |db| {
            let is_last = last_driver_is(db, session, &id)?;
            Ok((driver_known(db, session, &id)?, is_last))
        })
        .await?;
    if is_known && !is_last {
        return Err(Refusal::new(
            CloseCode::STALE_DRIVER,
            "another driver has taken this session over",
        ));
    }
    Ok(is_known)
}

impl From<LeadRefused> for Refusal {
    fn from(refused: LeadRefused) -> Self {
        match refused {
            LeadRefused::Active => {
                Self::new(CloseCode::SESSION_ACTIVE, "the session already has a lead")
            }
            LeadRefused::Closed(code, why) => Self::new(code, why),
        }
    }
}

async fn init(hub: &Hub, role: Role, session: &SessionRow) -> Utf8Bytes {
    let resume = hub.sessions.resume(session.key).await.unwrap_or_else(|error| {
        tracing::warn!(%error, session = %session.id, "the lead starts without its session file's place");
        None
    });
    let resume = resume.map(|file| {
        let header: Value = serde_json::from_str(&file.first_line).unwrap_or_default();
        let text = |key: &str| header.get(key).and_then(Value::as_str).map(str::to_owned);
        InitResume {
            session_file: file.path,
            pi_session_id: text("id"),
            cwd: text("cwd"),
        }
    });
    let spec: Map<String, Value> = serde_json::from_str(&session.spec).unwrap_or_default();
    let agents = agents::offered(hub, spec.get("enabledAgents")).await.unwrap_or_else(|error| {
        tracing::warn!(?error, session = %session.id, "the lead starts without the agents of the library");
        Vec::new()
    });
    let mut rest = Map::new();
    for none in ["tools", "commands"] {
        rest.insert(none.into(), json!([]));
    }
    rest.insert("agents".into(), agents.into());
    let init = Init {
        role,
        session_id: Some(session.id.clone()),
        task: Some(session.task.clone()).filter(|task| !task.is_empty()),
        agent_role: None,
        resume,
        config: system_prompt(&spec, Mode::Append).map(|suffix| InitConfig {
            system_prompt_prefix: None,
            system_prompt_suffix: Some(suffix),
        }),
        thinking_level: None,
        rest,
    };
    frame::typed("init", &init)
}

/// How a workspace's prompt meets the agent's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Append,
    Overwrite,
}

/// The prompt of the session's workspace, if it is to be used like this.
fn system_prompt(spec: &Map<String, Value>, mode: Mode) -> Option<String> {
    let text = |key: &str| spec.get(key).and_then(Value::as_str);
    let wanted = match text("systemPromptMode") {
        Some("overwrite") => Mode::Overwrite,
        _ => Mode::Append,
    };
    let prompt = text("systemPrompt").filter(|prompt| !prompt.trim().is_empty());
    prompt.filter(|_| wanted == mode).map(str::to_owned)
}

async fn write(writer: &mut Writer, mut queue: mpsc::Receiver<Utf8Bytes>, leash: &Leash) -> Ended {
    let mut pings = tokio::time::interval(PING_EVERY);
    loop {
        // Biased: an order to leave comes before what is left to say. All branches are
        // cancel-safe: they only wait.
        let sent = tokio::select! {
            biased;
            (code, why) = leash.pulled() => return Ended::Close(code, why),
            text = queue.recv() => match text {
                Some(text) => send_burst(writer, text, &mut queue).await,
                None => return Ended::Gone,
            },
            _ = pings.tick() => writer.ping().await,
        };
        if let Err(ended) = sent {
            return ended;
        }
    }
}

/// Sends what waits with one flush: a burst of ACKs is one system call.
async fn send_burst(
    writer: &mut Writer,
    first: Utf8Bytes,
    queue: &mut mpsc::Receiver<Utf8Bytes>,
) -> Result<(), Ended> {
    writer.feed(first).await?;
    for _ in 0..BURST {
        let Ok(text) = queue.try_recv() else {
            break;
        };
        writer.feed(text).await?;
    }
    writer.flush().await
}

/// What a lead's frames are handled with.
struct Incoming<'a> {
    hub: &'a Hub,
    room: &'a Arc<Room>,
    who: &'a Participant,
    session: &'a SessionRow,
    answers: &'a mpsc::Sender<Utf8Bytes>,
    leash: &'a Leash,
    /// The workspace's prompt, where it takes the place of the agent's own.
    overwrite: Option<String>,
}

impl Incoming<'_> {
    async fn read(&self, reader: &mut Reader) -> Ended {
        loop {
            let text = match reader.text().await {
                Ok(text) => text,
                Err(ended) => return ended,
            };
            if let Err(error) = self.handle(&text).await {
                tracing::error!(%error, session = %self.session.id, "a lead is disconnected, to send again what was not acknowledged");
                return Ended::Close(CloseCode::UNAVAILABLE, "the Hub's store is not available");
            }
        }
    }

    async fn handle(&self, text: &str) -> Result<(), StoreError> {
        let key = self.room.key;
        match inbound::parse(text) {
            Ok(Inbound::Event { id, name, data }) => self.store_event(&id, &name, data).await?,
            Ok(Inbound::Tool { id, name }) => self.answer(frame::no_such_tool(&id, &name)),
            Ok(Inbound::Write { path, content }) => {
                let (path, content) = (path.into_owned(), content.into_owned());
                self.push(Note(move |db: &_| replace_file(db, key, &path, &content)))
                    .await?;
            }
            Ok(Inbound::Entry { path, line }) => {
                let (path, line) = (path.into_owned(), line.into_owned());
                self.push(Note(move |db: &_| append_file_line(db, key, &path, &line)))
                    .await?;
            }
            Ok(Inbound::Rename(label)) => {
                if let Some(mut row) = self.hub.sessions.find(&self.session.id).await? {
                    row.label = label.into_owned();
                    row.updated_at = Clock.wall();
                    self.hub.sessions.update(row).await?;
                }
            }
            Ok(Inbound::Relay(event, data)) if self.who.role == Role::Lead => {
                let room = Arc::clone(self.room);
                self.push(Relay { room, event, data }).await?;
            }
            Ok(Inbound::Ping(stamp)) => self.answer(frame::pong(stamp, Clock.wall())),
            Ok(Inbound::Other(Some(id))) => self.answer(frame::ack(&id)),
            Ok(_) => {} // not for a Hub, or of a type that is not known here
            Err(error) => {
                let mut complaint = rejection(
                    Refusal::new(CloseCode::BAD_REQUEST, ""),
                    Some(&self.session.id),
                );
                complaint.message = error.to_string();
                self.answer(frame::protocol_error(&complaint));
            }
        }
        Ok(())
    }

    async fn store_event(&self, id: &str, name: &str, data: &RawValue) -> Result<(), StoreError> {
        let size = u32::try_from(data.get().len()).unwrap_or(PENDING_BYTES);
        let room = Arc::clone(&self.room.pending);
        let permit = room
            .acquire_many_owned(size.min(PENDING_BYTES))
            .await
            .map_err(|_| StoreError::Closed)?;
        let prompt = self.overwrite.as_deref();
        let answer = match prompt.filter(|_| name == "before_agent_start") {
            Some(prompt) => frame::replace_system_prompt(id, prompt),
            None => frame::ack(id),
        };
        self.push(Event {
            answer,
            room: Arc::clone(self.room),
            request: id.into(),
            name: name.into(),
            data: data.to_owned(),
            at: Clock.wall(),
            stored: None,
            answers: self.answers.clone(),
            leash: self.leash.clone(),
            _permit: permit,
        })
        .await
    }

    async fn push(&self, write: impl Write + 'static) -> Result<(), StoreError> {
        self.hub.sessions.store.push(Box::new(write)).await
    }

    fn answer(&self, text: Utf8Bytes) {
        answer(self.answers, self.leash, text);
    }
}

/// Queues an answer; a client that does not read its answers is disconnected.
fn answer(answers: &mpsc::Sender<Utf8Bytes>, leash: &Leash, text: Utf8Bytes) {
    if answers.try_send(text).is_err() {
        leash.pull(
            CloseCode::UNAVAILABLE,
            "answers are not being read; reconnect",
        );
    }
}

/// An event on its way: stored, then shown, then acknowledged.
struct Event {
    room: Arc<Room>,
    request: Box<str>,
    name: Box<str>,
    data: Box<RawValue>,
    at: Timestamp,
    /// Its id, unless the session had it already.
    stored: Option<i64>,
    answers: mpsc::Sender<Utf8Bytes>,
    leash: Leash,
    /// What is said to it once it is stored.
    answer: Utf8Bytes,
    _permit: OwnedSemaphorePermit,
}

impl Write for Event {
    fn apply(&mut self, db: &rusqlite::Connection) -> rusqlite::Result<()> {
        let event = (&*self.name, self.data.get());
        let mark = mark(&self.name);
        self.stored = insert_event(db, self.room.key, &self.request, event, mark, self.at)?;
        Ok(())
    }

    fn settle(self: Box<Self>, outcome: Result<(), StoreError>) {
        if outcome.is_err() {
            let why = "the Hub's store is not available";
            return self.leash.pull(CloseCode::UNAVAILABLE, why);
        }
        if let Some(id) = self.stored {
            self.room
                .publish_event(id, &self.name, &self.data, self.at, None);
        }
        answer(&self.answers, &self.leash, self.answer);
    }
}

/// A frame of the remote control: not stored, but in order with what is.
struct Relay {
    room: Arc<Room>,
    event: &'static str,
    data: Box<RawValue>,
}

impl Write for Relay {
    fn apply(&mut self, _db: &rusqlite::Connection) -> rusqlite::Result<()> {
        Ok(())
    }

    fn settle(self: Box<Self>, _outcome: Result<(), StoreError>) {
        self.room.relay(self.event, &self.data, Clock.wall());
    }
}
