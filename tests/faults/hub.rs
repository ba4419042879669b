//! A Hub that forgets nothing: it writes down every delivery before it acknowledges it.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use agent_runner::clock::Clock;
use agent_runner::tasks::Tasks;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

/// The session that it knows.
pub(crate) const SESSION: &str = "codesess_faults";
/// What the session is to do.
pub(crate) const TASK: &str = "Do the work.";
/// Connections that the Hub may hang up on: the wait before the next one doubles each time.
const RUDE: usize = 3;
/// Commands that may wait for a lead; a test has one at a time.
const COMMANDS: usize = 8;

/// An event as the lead sent it.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) data: Value,
    pub(crate) at: Instant,
}

/// How the Hub treats its lead.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manners {
    /// Hangs up after so many events, the last one unacknowledged, on its first [`RUDE`] leads.
    pub(crate) hang_up_after: Option<usize>,
    /// Every so many events are not acknowledged the first time.
    pub(crate) forget_each: Option<usize>,
}

/// What happened so far.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) connections: usize,
    answers: HashMap<u64, Value>,
    lead: Option<mpsc::Sender<Value>>,
}

/// A Hub on a port of its own.
pub(crate) struct Hub {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    record: Mutex<Record>,
    news: Condvar,
    manners: Manners,
}

impl Hub {
    /// Starts it on `runtime`, where it ends with `tasks`.
    pub(crate) fn start(runtime: &tokio::runtime::Handle, tasks: &Tasks, manners: Manners) -> Self {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            manners,
            ..Shared::default()
        });
        let _in_runtime = runtime.enter();
        let (group, serving) = (tasks.clone(), Arc::clone(&shared));
        tasks.spawn("hub", async move {
            let stop = group.stopping().clone();
            while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
                let (shared, stop) = (Arc::clone(&serving), stop.clone());
                group.spawn("hub-peer", async move {
                    stop.run_until_cancelled(serve(stream, &shared)).await;
                });
            }
        });
        Self { url, shared }
    }

    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.shared.record.lock().unwrap()
    }

    /// Waits for news, or until `limit` is over.
    pub(crate) fn news(&self, limit: Duration, enough: impl Fn(&Record) -> bool) -> bool {
        let over = Clock.now() + limit;
        let mut record = self.record();
        while !enough(&record) {
            let left = over.saturating_duration_since(Clock.now());
            if left.is_zero() {
                return false;
            }
            record = self.shared.news.wait_timeout(record, left).unwrap().0;
        }
        true
    }

    /// Sends a command to the lead, if there is one.
    pub(crate) fn command(&self, id: u64, command: &Value) {
        let mut command = command.clone();
        command["id"] = json!(id);
        let frame = json!({"type": "rpc_command", "command": command});
        if let Some(lead) = &self.record().lead {
            // A lead that dies meanwhile does not answer, which is what counts.
            drop(lead.try_send(frame));
        }
    }
}

impl Record {
    /// How many different events of that name arrived.
    pub(crate) fn count(&self, event: &str) -> usize {
        let of_name = self.deliveries.iter().filter(|told| told.event == event);
        let ids: std::collections::HashSet<&str> = of_name.map(|told| told.id.as_str()).collect();
        ids.len()
    }

    pub(crate) fn answer(&self, id: u64) -> Option<&Value> {
        self.answers.get(&id)
    }
}

impl Shared {
    fn note(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record.lock().unwrap());
        self.news.notify_all();
    }
}

async fn serve(stream: TcpStream, shared: &Shared) {
    let mut head = [0; 4096];
    let Ok(length) = stream.peek(&mut head).await else {
        return;
    };
    let head = String::from_utf8_lossy(&head[..length]).to_lowercase();
    if head.contains("upgrade: websocket") {
        lead(stream, shared).await;
    } else {
        answer_rest(stream).await;
    }
}

/// Every question is for the session.
async fn answer_rest(mut stream: TcpStream) {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
            return;
        }
    }
    let body = json!({"sessionId": SESSION, "task": TASK}).to_string();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    // The asker may be dead by now.
    drop(stream.write_all(answer.as_bytes()).await);
}

async fn lead(stream: TcpStream, shared: &Shared) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
        return;
    };
    let init = json!({"type": "init", "role": "lead", "sessionId": SESSION, "task": TASK});
    if socket.send(text(&init)).await.is_err() {
        return;
    }
    let (commands, mut outgoing) = mpsc::channel(COMMANDS);
    let mut connection = 0;
    shared.note(|record| {
        record.connections += 1;
        connection = record.connections;
        record.lead = Some(commands);
    });
    let most = shared.manners.hang_up_after.filter(|_| connection <= RUDE);
    let mut events = 0;
    loop {
        let frame = tokio::select! {
            frame = socket.next() => frame,
            Some(command) = outgoing.recv() => {
                if socket.send(text(&command)).await.is_err() {
                    return;
                }
                continue;
            }
        };
        let Some(Ok(Message::Text(frame))) = frame else {
            return;
        };
        let frame: Value = serde_json::from_str(&frame).unwrap();
        let reply = match frame["type"].as_str() {
            Some("ping") => Some(json!({"type": "pong", "timestamp": 1,
                "echoedTimestamp": frame["timestamp"]})),
            Some("event") => {
                events += 1;
                let id = frame["id"].clone();
                shared.note(|record| record.deliveries.push(delivery(frame)));
                if most.is_some_and(|most| events >= most) {
                    return;
                }
                let forget = shared.manners.forget_each;
                (forget.is_none_or(|each| events % each != 0))
                    .then(|| json!({"id": id, "actions": [{"action": "ACK"}]}))
            }
            Some("rpc_response") => {
                let answer = frame["response"].clone();
                let id = answer["id"].as_u64().unwrap_or_default();
                shared.note(|record| drop(record.answers.insert(id, answer)));
                None
            }
            _ => None,
        };
        if let Some(reply) = reply
            && socket.send(text(&reply)).await.is_err()
        {
            return;
        }
    }
}

fn delivery(mut frame: Value) -> Delivery {
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    Delivery {
        id: word(&frame["id"]),
        event: word(&frame["event"]),
        data: frame["data"].take(),
        at: Clock.now(),
    }
}

fn text(frame: &Value) -> Message {
    Message::text(frame.to_string())
}
