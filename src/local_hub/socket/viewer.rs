//! The conversation with an observer or a controller.

use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::connection::{Connection, Ended, PING_EVERY, Reader, Writer, rejection};
use super::inbound::{self, Inbound};
use super::{Hello, Refusal};
use crate::clock::Clock;
use crate::hub::protocol::{CloseCode, Init, Role};
use crate::local_hub::entries::newest_within;
use crate::local_hub::feed::{Feed, FeedEnd, WhenBehind};
use crate::local_hub::filter::Filter;
use crate::local_hub::frame;
use crate::local_hub::room::{Leash, Participant, Room};
use crate::local_hub::server::Hub;
use crate::local_hub::sessions::{HubEvent, participant};
use crate::local_hub::store::SessionRow;

/// Answers to the viewer's own frames; reading waits while it is full.
const ANSWERS: usize = 64;

/// The most frames sent before answers and orders to leave are looked at again.
const BURST: usize = 256;

/// The bytes of a hydration's entries: what common WebSocket clients take in one message. Older
/// entries are in the replay.
pub(crate) const HYDRATION_BYTES: usize = 4 * 1_024 * 1_024;

/// Serves the connection until either side ends it.
pub(super) async fn serve(
    hub: &Arc<Hub>,
    mut connection: Connection,
    role: Role,
    session: SessionRow,
    hello: &Hello,
) {
    let room = match hub.sessions.room(&session).await {
        Ok(room) => room,
        Err(error) => return connection.refuse(error.into(), Some(&session.id)).await,
    };
    let viewer = Viewer {
        hub,
        room,
        who: participant(role, "ws"),
        session,
        leash: Leash::default(),
        ready: Notify::new(),
    };
    if role == Role::Observer {
        viewer.ready.notify_one(); // an observer announces nothing before it listens
    }
    let subscribe = hello.subscribe.as_deref().unwrap_or_default();
    let (answers, replies) = mpsc::channel(ANSWERS);
    let ended = tokio::select! {
        ended = viewer.read(&mut connection.reader, answers) => ended,
        ended = viewer.write(&mut connection.writer, replies, subscribe) => ended,
        () = hub.tasks.stopping().cancelled() => {
            Ended::Close(CloseCode::GOING_AWAY, "the Hub is stopping")
        }
    };
    hub.sessions.note_leave(viewer.room.key, &viewer.who).await;
    connection.close(ended).await;
}

struct Viewer<'a> {
    hub: &'a Hub,
    room: Arc<Room>,
    who: Participant,
    session: SessionRow,
    leash: Leash,
    /// Set once the viewer takes its history.
    ready: Notify,
}

impl Viewer<'_> {
    async fn write(
        &self,
        writer: &mut Writer,
        mut replies: mpsc::Receiver<Utf8Bytes>,
        subscribe: &str,
    ) -> Ended {
        if let Err(ended) = writer.send(self.init()).await {
            return ended;
        }
        let mut pings = tokio::time::interval(PING_EVERY);
        let mut feed = None;
        loop {
            // Biased: an order to leave first, then answers, then the stream, which may never be
            // idle. All branches are cancel-safe: what they took they have handed out.
            let sent = tokio::select! {
                biased;
                (code, why) = self.leash.pulled() => return Ended::Close(code, why),
                Some(reply) = replies.recv() => writer.send(reply).await,
                () = self.ready.notified(), if feed.is_none() => {
                    match self.hydrate(writer, subscribe).await {
                        Ok(entered) => {
                            feed = Some(entered);
                            Ok(())
                        }
                        Err(ended) => Err(ended),
                    }
                }
                frame = next(&mut feed) => match frame {
                    Ok(first) => send_burst(writer, first, feed.as_mut()).await,
                    Err(end) => Err(close_of(&end)),
                },
                _ = pings.tick() => writer.ping().await,
            };
            if let Err(ended) = sent {
                return ended;
            }
        }
    }

    /// Enters the room and sends the history up to exactly there.
    async fn hydrate(&self, writer: &mut Writer, subscribe: &str) -> Result<Feed, Ended> {
        let (filter, when_behind) = if self.who.role == Role::Controller {
            (Filter::all(), WhenBehind::Disconnect)
        } else {
            (Filter::new(subscribe.split(',')), WhenBehind::Reread)
        };
        let (inlet, snapshot) = self
            .room
            .enter_viewer(&self.who, filter, &self.leash)
            .map_err(|(code, why)| Ended::Close(code, why))?;
        let shared = (Arc::clone(&self.room), Arc::clone(&self.hub.sessions.store));
        let known = snapshot.published;
        let feed = Feed::new(shared, self.who.clone(), when_behind, inlet, known);
        let (key, sessions) = (self.room.key, &self.hub.sessions);
        let unavailable = |error| Ended::from(Refusal::from(error));
        sessions
            .note_join(key, &self.who)
            .await
            .map_err(unavailable)?;
        let conversation = sessions.conversation(key, known);
        let entries = conversation.await.map_err(unavailable)?.entries();
        let mut hydration = json!({
            "type": "session_hydration",
            "sessionId": self.room.id,
            "resumedAt": Clock.wall(),
            "label": self.session.label,
            "entries": newest_within(entries, HYDRATION_BYTES),
            "leadConnected": snapshot.lead_connected,
            "tasks": snapshot.activity.tasks(),
            "streamingState": {
                "isStreaming": snapshot.is_streaming(),
                "activeTasks": snapshot.activity.active_tasks(),
            },
        });
        if let (false, Some(fields)) = (self.session.task.is_empty(), hydration.as_object_mut()) {
            fields.insert("task".into(), self.session.task.clone().into());
        }
        writer.send(frame::text(&hydration)).await?;
        if self.who.role == Role::Controller {
            for question in snapshot.questions {
                writer.send(question).await?;
            }
        }
        Ok(feed)
    }

    fn init(&self) -> Utf8Bytes {
        let mut rest = Map::new();
        for none in ["tools", "commands", "agents"] {
            rest.insert(none.into(), json!([]));
        }
        rest.insert("label".into(), self.session.label.clone().into());
        let init = Init {
            role: self.who.role,
            session_id: Some(self.session.id.clone()),
            task: Some(self.session.task.clone()).filter(|task| !task.is_empty()),
            agent_role: None,
            resume: None,
            config: None,
            thinking_level: None,
            rest,
        };
        frame::typed("init", &init)
    }

    async fn read(&self, reader: &mut Reader, answers: mpsc::Sender<Utf8Bytes>) -> Ended {
        loop {
            let text = match reader.text().await {
                Ok(text) => text,
                Err(ended) => return ended,
            };
            if let Some(answer) = self.handle(&text).await
                && answers.send(answer).await.is_err()
            {
                return Ended::Gone;
            }
        }
    }

    /// Acts on one frame; what it returns goes back to the viewer.
    async fn handle(&self, text: &Utf8Bytes) -> Option<Utf8Bytes> {
        match inbound::parse(text) {
            Ok(Inbound::Ping(stamp)) => Some(frame::pong(stamp, Clock.wall())),
            Ok(Inbound::BootstrapReady) => {
                self.ready.notify_one();
                None
            }
            Ok(Inbound::Subscribe(patterns)) => {
                if self.who.role == Role::Observer {
                    let patterns = patterns.iter().map(AsRef::as_ref);
                    self.room.set_filter(&self.who, Filter::new(patterns));
                }
                None
            }
            Ok(Inbound::RpcCommand(command)) => self.forward(command).await,
            Ok(Inbound::RpcUiResponse) => {
                let heard = self.who.role == Role::Controller && self.room.answer_lead(text);
                (!heard).then(|| frame::command_error(self.why_unheard()))
            }
            Ok(Inbound::Event { id, .. } | Inbound::Tool { id, .. } | Inbound::Other(Some(id))) => {
                Some(only_leads(&id))
            }
            Ok(_) => None,
            Err(error) => Some(self.complaint(error.to_string())),
        }
    }

    /// Hands a command to the lead; the other viewers see what was asked.
    async fn forward(&self, command: &RawValue) -> Option<Utf8Bytes> {
        if self.who.role != Role::Controller || !self.room.tell_lead(frame::command(command)) {
            return Some(frame::command_error(self.why_unheard()));
        }
        let command: Value = serde_json::from_str(command.get()).unwrap_or_default();
        let text = |key: &str| command.get(key).and_then(Value::as_str);
        if matches!(text("type"), Some("prompt" | "follow_up" | "steer"))
            && let Some(prompt) = text("message").or_else(|| text("text"))
        {
            let at = Clock.wall();
            let mut data = json!({"content": prompt, "text": prompt, "timestamp": at});
            if let (Some(author), Some(fields)) = (
                command.get("author").filter(|author| author.is_object()),
                data.as_object_mut(),
            ) {
                fields.insert("author".into(), author.clone());
            }
            let event = HubEvent::new(&self.room, "user_prompt", &data, at).but(&self.who);
            self.hub.sessions.store.push(Box::new(event)).await.ok()?;
        }
        None
    }

    fn why_unheard(&self) -> &'static str {
        if self.who.role != Role::Controller {
            "observers cannot send commands; connect as a controller"
        } else if self.room.snapshot().lead_connected {
            "the lead does not take commands right now; try again"
        } else {
            // Viewers look for the word `resume` to show the session as paused.
            "no lead is connected: the session is paused; resume it first"
        }
    }

    fn complaint(&self, message: String) -> Utf8Bytes {
        let refusal = Refusal::new(CloseCode::BAD_REQUEST, "");
        let mut complaint = rejection(refusal, Some(&self.session.id));
        complaint.message = message;
        frame::protocol_error(&complaint)
    }
}

/// The answer to a request that only a lead may send.
fn only_leads(id: &str) -> Utf8Bytes {
    let why = "only the session's lead may send requests";
    frame::text(&json!({"id": id, "actions": [{"action": "BLOCK", "reason": why}]}))
}

/// The feed's next frame; waits for ever while there is no feed. Cancel-safe.
async fn next(feed: &mut Option<Feed>) -> Result<frame::Frame, FeedEnd> {
    match feed {
        Some(feed) => feed.next().await,
        None => std::future::pending().await,
    }
}

/// Sends what is at hand with one flush.
async fn send_burst(
    writer: &mut Writer,
    first: frame::Frame,
    mut feed: Option<&mut Feed>,
) -> Result<(), Ended> {
    writer.feed(first.text).await?;
    for _ in 0..BURST {
        let Some(frame) = feed.as_mut().and_then(|feed| feed.try_next()) else {
            break;
        };
        writer.feed(frame.text).await?;
    }
    writer.flush().await
}

fn close_of(end: &FeedEnd) -> Ended {
    match end {
        FeedEnd::Behind => Ended::Close(
            CloseCode::UNAVAILABLE,
            "read too slowly; reconnect to be brought up to date",
        ),
        FeedEnd::Left => Ended::Gone,
        FeedEnd::Store(error) => {
            tracing::error!(%error, "a viewer is disconnected, to come back");
            Ended::Close(CloseCode::UNAVAILABLE, "the Hub's store is not available")
        }
    }
}
