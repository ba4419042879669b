//! The Hub's far end: lets one lead in, acknowledges everything, notes when each frame came.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use crate::place::now;

/// A figure that takes longer is a fault.
const LIMIT: Duration = Duration::from_secs(20);

pub struct Hub {
    url: String,
    events: mpsc::Receiver<(String, u64)>,
    commands: mpsc::Sender<Value>,
}

impl Hub {
    #[allow(clippy::disallowed_methods)] // a program of its own, without the library's task groups
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (seen, events) = mpsc::channel(4096);
        let (commands, orders) = mpsc::channel(16);
        tokio::spawn(serve(listener, seen, orders));
        Self {
            url,
            events,
            commands,
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// When the next event of that name came; earlier ones are passed over.
    pub async fn event(&mut self, name: &str) -> u64 {
        let wait = async {
            loop {
                let (event, at) = self.events.recv().await.expect("the daemon is connected");
                if event == name {
                    return at;
                }
            }
        };
        let waited = tokio::time::timeout(LIMIT, wait).await;
        waited.unwrap_or_else(|_| panic!("no {name} came in {LIMIT:?}"))
    }

    pub async fn prompt(&self, text: &str) {
        let command = json!({"type": "prompt", "id": "p", "message": text});
        self.commands
            .send(command)
            .await
            .expect("the daemon is connected");
    }
}

#[allow(clippy::disallowed_methods)] // as above
async fn serve(
    listener: TcpListener,
    seen: mpsc::Sender<(String, u64)>,
    orders: mpsc::Receiver<Value>,
) {
    let mut orders = Some(orders);
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut head = [0; 2048];
        let count = stream.peek(&mut head).await.expect("a request");
        let head = String::from_utf8_lossy(&head[..count]).to_lowercase();
        if head.contains("upgrade: websocket") {
            let orders = orders.take().expect("the daemon connects once");
            tokio::spawn(lead(stream, seen.clone(), orders));
        } else {
            tokio::spawn(session(stream, head));
        }
    }
}

/// `GET /api/hub/session/ID`
async fn session(mut stream: TcpStream, head: String) {
    let path = head.split(' ').nth(1).unwrap_or_default();
    let id = path.rsplit('/').next().unwrap_or_default();
    let body = json!({"sessionId": id, "task": "", "status": "created"}).to_string();
    let mut rest = [0; 2048];
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
    seen: mpsc::Sender<(String, u64)>,
    mut orders: mpsc::Receiver<Value>,
) {
    stream.set_nodelay(true).expect("a TCP socket");
    let mut socket = tokio_tungstenite::accept_async(stream)
        .await
        .expect("a WebSocket");
    let init = json!({"type": "init", "role": "lead", "tools": [], "agents": []});
    socket
        .send(Message::text(init.to_string()))
        .await
        .expect("the daemon listens");
    loop {
        tokio::select! {
            order = orders.recv() => {
                let Some(command) = order else { return };
                let frame = json!({"type": "rpc_command", "command": command});
                socket.send(Message::text(frame.to_string())).await.expect("the daemon listens");
            }
            frame = socket.next() => {
                let at = now();
                let Some(Ok(frame)) = frame else { return };
                let Ok(text) = frame.to_text() else { continue };
                let Ok(frame) = serde_json::from_str::<Value>(text) else { continue };
                let field = |name: &str| frame.get(name).and_then(Value::as_str);
                if let Some(id) = field("id") {
                    let ack = json!({"id": id, "actions": [{"action": "ACK"}]});
                    let sent = socket.send(Message::text(ack.to_string())).await;
                    if sent.is_err() {
                        return;
                    }
                }
                let name = field("event").or(field("type")).unwrap_or_default().to_owned();
                if seen.send((name, at)).await.is_err() {
                    return;
                }
            }
        }
    }
}
