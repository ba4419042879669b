//! The Hub's far end: lets leads in, acknowledges everything, counts and notes what came.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_tungstenite::tungstenite::Message;

use crate::place::now;

/// A figure that takes longer is a fault.
const LIMIT: Duration = Duration::from_mins(1);
/// Frames that are acknowledged with one flush, at most.
const BURST: usize = 64;
/// Stands before a moment in what the CLI writes; see [`Seen::stamp`].
pub const STAMP: &str = "@t=";

/// One frame's arrival.
pub struct Seen {
    pub session: String,
    pub event: String,
    pub at: u64,
    /// The moment that the CLI put into a line, where it did.
    pub stamp: Option<u64>,
    /// What a `session_error` says of the process.
    pub signal: Option<u64>,
}

/// What came in all.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub bytes: u64,
    /// Bytes of streamed text.
    pub text: u64,
    /// Of tools, each id once.
    pub results: u64,
    /// Frames whose id had come before.
    pub repeated: u64,
}

/// How the Hub behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Serving,
    /// Hangs up on everybody.
    Away,
    /// Keeps its connections and reads nothing.
    Deaf,
}

#[derive(Default)]
struct Rooms {
    /// Where to send a session's commands.
    orders: HashMap<String, mpsc::Sender<Value>>,
    tally: Tally,
    ids: HashSet<u64>,
}

/// A Hub on a thread of its own: it notes when frames come whatever the bench does meanwhile.
pub struct Hub {
    url: String,
    seen: mpsc::Receiver<Seen>,
    rooms: Arc<Mutex<Rooms>>,
    mood: watch::Sender<Mood>,
    /// Dropped with this, and the thread ends.
    _life: oneshot::Sender<()>,
}

impl Hub {
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a TCP socket");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (sender, seen) = mpsc::channel(1 << 16);
        let rooms: Arc<Mutex<Rooms>> = Arc::default();
        let (life, mut over) = oneshot::channel();
        let theirs = Arc::clone(&rooms);
        let (mood, moods) = watch::channel(Mood::Serving);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::from_std(listener).expect("a TCP socket");
                tokio::select! {
                    () = serve(listener, sender, theirs, moods) => {}
                    _ = &mut over => {}
                }
            });
        });
        Self {
            url,
            seen,
            rooms,
            mood,
            _life: life,
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn set_mood(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// Everything that came since the last call.
    pub fn tally(&self) -> Tally {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.ids.clear();
        std::mem::take(&mut rooms.tally)
    }

    /// A frame that is here already.
    pub fn waiting(&mut self) -> Option<Seen> {
        self.seen.try_recv().ok()
    }

    /// The next frame, however long it takes.
    pub async fn arrival(&mut self) -> Seen {
        self.seen.recv().await.expect("the Hub serves")
    }

    /// The next frame of any session.
    pub async fn next(&mut self) -> Seen {
        let next = tokio::time::timeout(LIMIT, self.seen.recv()).await;
        let next = next.unwrap_or_else(|_| panic!("nothing came in {LIMIT:?}"));
        next.expect("the Hub serves")
    }

    /// The next frame of that event; earlier ones are passed over.
    pub async fn frame(&mut self, event: &str) -> Seen {
        let wait = async {
            loop {
                let seen = self.next().await;
                if seen.event == event {
                    return seen;
                }
            }
        };
        let waited = tokio::time::timeout(LIMIT, wait).await;
        waited.unwrap_or_else(|_| panic!("no {event} came in {LIMIT:?}"))
    }

    /// When the next frame of that event came.
    pub async fn event(&mut self, event: &str) -> u64 {
        self.frame(event).await.at
    }

    pub async fn prompt(&self, session: &str) {
        let command = json!({"type": "prompt", "id": "p", "message": "go"});
        self.order(session, command).await;
    }

    /// Sends a command to a session's lead.
    pub async fn order(&self, session: &str, command: Value) {
        let orders = {
            let rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
            rooms.orders.get(session).cloned().expect("it is led")
        };
        orders.send(command).await.expect("the daemon is connected");
    }
}

#[allow(clippy::disallowed_methods)] // a program of its own, without the library's task groups
async fn serve(
    listener: TcpListener,
    seen: mpsc::Sender<Seen>,
    rooms: Arc<Mutex<Rooms>>,
    moods: watch::Receiver<Mood>,
) {
    for number in 0.. {
        let (stream, _) = listener.accept().await.expect("a connection");
        if *moods.borrow() == Mood::Away {
            continue;
        }
        let mut head = [0; 2048];
        let Ok(count) = stream.peek(&mut head).await else {
            continue;
        };
        let head = String::from_utf8_lossy(&head[..count]).into_owned();
        if head.to_lowercase().contains("upgrade: websocket") {
            tokio::spawn(lead(
                stream,
                head,
                seen.clone(),
                Arc::clone(&rooms),
                moods.clone(),
            ));
        } else {
            tokio::spawn(session(stream, head, number));
        }
    }
}

/// `GET /api/hub/session/ID`, and `POST /api/hub/session` for a new one.
async fn session(mut stream: TcpStream, head: String, number: usize) {
    let path = head.split(' ').nth(1).unwrap_or_default();
    let id = match path.rsplit('/').next().unwrap_or_default() {
        "session" => format!("made{number}"),
        id => id.to_owned(),
    };
    let body = json!({"sessionId": id, "task": "", "status": "created"}).to_string();
    let mut rest = [0; 8192];
    let _read = stream.read(&mut rest).await.expect("the request");
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream
        .write_all(answer.as_bytes())
        .await
        .expect("the daemon listens");
}

async fn lead(
    stream: TcpStream,
    head: String,
    seen: mpsc::Sender<Seen>,
    rooms: Arc<Mutex<Rooms>>,
    mut moods: watch::Receiver<Mood>,
) {
    let session = head.split("sessionId=").nth(1).unwrap_or_default();
    let session = session.split(['&', ' ']).next().unwrap_or_default();
    stream.set_nodelay(true).expect("a TCP socket");
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
        return; // a daemon that was killed
    };
    let init = json!({"type": "init", "role": "lead", "tools": [], "agents": []});
    if socket.send(Message::text(init.to_string())).await.is_err() {
        return;
    }
    let (sender, mut orders) = mpsc::channel(4);
    {
        let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.orders.insert(session.to_owned(), sender);
    }
    let (mut sink, stream) = socket.split();
    let mut bursts = stream.ready_chunks(BURST);
    loop {
        let mood = *moods.borrow_and_update();
        if mood == Mood::Away {
            return;
        }
        tokio::select! {
            changed = moods.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            order = orders.recv() => {
                let Some(command) = order else { return };
                let frame = json!({"type": "rpc_command", "command": command});
                sink.send(Message::text(frame.to_string())).await.expect("the daemon listens");
            }
            burst = bursts.next(), if mood == Mood::Serving => {
                let at = now();
                let Some(burst) = burst else { return };
                // One that hung up behind its last frames takes no answers; they count all the same.
                let mut listens = true;
                for frame in burst {
                    let Ok(Message::Text(text)) = frame else { continue };
                    let (ack, arrived) = {
                        let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
                        take(&text, session, at, &mut rooms)
                    };
                    if let Some(ack) = ack && listens {
                        listens = sink.feed(Message::text(ack)).await.is_ok();
                    }
                    if seen.send(arrived).await.is_err() {
                        return;
                    }
                }
                if !listens || sink.flush().await.is_err() {
                    return;
                }
            }
        }
    }
}

#[derive(Deserialize)]
struct Head<'a> {
    id: Option<&'a str>,
    #[serde(rename = "type")]
    kind: Option<&'a str>,
    event: Option<&'a str>,
}

/// A frame's acknowledgement, and what is to be noted of it. The payload is not parsed: what the
/// Hub costs is not what is measured.
fn take(text: &str, session: &str, at: u64, rooms: &mut Rooms) -> (Option<String>, Seen) {
    let head = match text.split_once(r#","data":"#) {
        Some((head, _)) => format!("{head}}}"),
        None => text.to_owned(),
    };
    let head: Head<'_> = serde_json::from_str(&head).expect("a frame");
    let name = head.event.or(head.kind).unwrap_or_default();
    rooms.tally.bytes += text.len() as u64;
    if name == "message_update" {
        rooms.tally.text += after(text, r#""delta":""#).map_or(0, str::len) as u64;
    }
    let ack = head.id.map(|id| {
        let id_hash =
            std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default().hash_one(id);
        if !rooms.ids.insert(id_hash) {
            rooms.tally.repeated += 1;
        } else if name == "tool_result" {
            rooms.tally.results += 1;
        }
        format!(r#"{{"id":"{id}","actions":[{{"action":"ACK"}}]}}"#)
    });
    let number = |mark: &str| {
        // The last one: a result's frame repeats the call's arguments, with their moment, first.
        let (_, rest) = text.rsplit_once(mark)?;
        rest.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    };
    let stamp = if text.len() < 4096 {
        number(STAMP)
    } else {
        None
    };
    let signal = if name == "session_error" {
        number(r#""signal":"#)
    } else {
        None
    };
    let seen = Seen {
        session: session.to_owned(),
        event: name.to_owned(),
        at,
        stamp,
        signal,
    };
    (ack, seen)
}

/// What stands between `mark` and the next quote: the CLI's text has none.
fn after<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    text.split_once(mark)?.1.split('"').next()
}
