//! A small real Hub: each test plays its part by hand.

#![allow(dead_code)] // each suite uses its part

use std::time::Duration;

use agent_runner::config::KeyInUrl;
use agent_runner::hub::link::LinkConfig;
use agent_runner::hub::{Credentials, HubAddress, Proxies, Timing};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

pub struct Hub {
    listener: TcpListener,
}

/// One connection of the lead.
pub struct Peer {
    pub ws: WebSocketStream<TcpStream>,
    pub uri: String,
    pub key_header: Option<String>,
    pub auth: Value,
    /// All frames that the lead sends, as they come, where somebody wants them.
    pub frames: Option<Vec<String>>,
}

/// An event request.
#[derive(Debug, Clone)]
pub struct Event {
    pub id: String,
    pub name: String,
    pub data: Value,
}

/// What a lead sends.
#[derive(Debug)]
pub enum Said {
    Event(Event),
    Other(Value),
    Close(u16),
    Gone,
}

pub fn timing() -> Timing {
    let ms = Duration::from_millis;
    Timing {
        connect: ms(2_000),
        init: ms(2_000),
        hub_wait: ms(400),
        ping: ms(100),
        dead: ms(600),
        ack: ms(200),
        backoff: ms(20),
        backoff_cap: ms(100),
        fenced: ms(50),
        takeover: ms(50),
        rejected: ms(50),
        join: ms(10),
        flush: ms(1_000),
    }
}

impl Hub {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener }
    }

    /// As `--hub` takes it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub fn config(&self) -> LinkConfig {
        let address = self.address();
        LinkConfig {
            address: HubAddress::parse(&format!("http://{address}")).unwrap(),
            credentials: Credentials::new(Some("agc_KEY".into()), Some("org_1".into())).unwrap(),
            key_in_url: KeyInUrl::Auto,
            proxies: Proxies::default(),
            files: None,
            session: Some("s1".parse().unwrap()),
            driver_instance_id: "driver-1".into(),
            driver_version: "0".into(),
            home: None,
            timing: timing(),
            seed: 7,
        }
    }

    /// Hangs up on everyone.
    pub async fn hang_up(&self) {
        loop {
            self.hang_up_once().await;
        }
    }

    /// Hangs up on whoever comes next.
    pub async fn hang_up_once(&self) {
        drop(self.listener.accept().await.unwrap());
    }

    /// Answers every question by REST: that there is session `s1`, and nothing to say of it. One that
    /// has come is answered also where this is dropped.
    #[allow(clippy::disallowed_methods)] // the test's own runtime ends it
    pub async fn answer_rest(&self) {
        loop {
            let (stream, _) = self.listener.accept().await.unwrap();
            tokio::spawn(answer_one(stream));
        }
    }

    /// Hears a lead until its run is over: every event is taken, every question by REST answered, and
    /// any other frame with what `answer` says to it.
    pub async fn play(&self, peer: &mut Peer, mut answer: impl FnMut(&Value) -> Option<Value>) {
        loop {
            let said = tokio::select! {
                said = peer.said() => said,
                () = self.answer_rest() => continue,
            };
            match said {
                Said::Event(event) => {
                    peer.ack(&event.id).await;
                    if event.name == "agent_end" {
                        return;
                    }
                }
                Said::Other(frame) => {
                    if let Some(answer) = answer(&frame) {
                        peer.send(&answer).await;
                    }
                }
                end => panic!("the lead left: {end:?}"),
            }
        }
    }

    /// The next connection, up to the lead's credentials.
    pub async fn accept(&self) -> Peer {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut uri = String::new();
        let mut key_header = None;
        #[allow(clippy::result_large_err)] // the library's own signature
        let look = |request: &Request, response: Response| {
            uri = request.uri().to_string();
            let header = request.headers().get("x-agentuity-auth-api-key");
            key_header = header.map(|v| v.to_str().unwrap().to_owned());
            Ok(response)
        };
        let ws = tokio_tungstenite::accept_hdr_async(stream, look)
            .await
            .unwrap();
        let mut peer = Peer {
            ws,
            uri,
            key_header,
            auth: Value::Null,
            frames: None,
        };
        match peer.said().await {
            Said::Other(auth) => peer.auth = auth,
            other => panic!("the credentials come first, not {other:?}"),
        }
        peer
    }

    /// The next connection, joined to session `s1`.
    pub async fn join(&self) -> Peer {
        let mut peer = self.accept().await;
        peer.init().await;
        peer
    }
}

async fn answer_one(mut stream: TcpStream) {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
            break;
        }
    }
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
        Content-Length: 18\r\nConnection: close\r\n\r\n{\"sessionId\":\"s1\"}";
    // Whoever asked may be gone.
    drop(stream.write_all(answer.as_bytes()).await);
}

impl Peer {
    pub async fn init(&mut self) {
        self.send(&json!({"type": "init", "role": "lead", "sessionId": "s1", "task": "t"}))
            .await;
    }

    pub async fn send(&mut self, frame: &Value) {
        self.text(frame.to_string()).await;
    }

    pub async fn text(&mut self, text: String) {
        // The lead may be gone already; what follows will show.
        drop(self.ws.send(Message::text(text)).await);
    }

    pub async fn ack(&mut self, id: &str) {
        self.send(&json!({"id": id, "actions": [{"action": "ACK"}]}))
            .await;
    }

    pub async fn close(&mut self, code: u16) {
        let frame = CloseFrame {
            code: code.into(),
            reason: "".into(),
        };
        drop(self.ws.close(Some(frame)).await);
    }

    /// The next frame; answers pings.
    pub async fn said(&mut self) -> Said {
        loop {
            match self.ws.next().await {
                None | Some(Err(_)) => return Said::Gone,
                Some(Ok(Message::Close(frame))) => {
                    return Said::Close(frame.map_or(1005, |f| u16::from(f.code)));
                }
                Some(Ok(Message::Text(text))) => {
                    assert!(text.len() <= 256 * 1024, "a frame of {} bytes", text.len());
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    if let Some(frames) = &mut self.frames {
                        frames.push(text.to_string());
                    }
                    match frame["type"].as_str() {
                        Some("ping") => {
                            let pong = json!({"type": "pong", "timestamp": 1,
                                "echoedTimestamp": frame["timestamp"]});
                            self.send(&pong).await;
                        }
                        Some("event") => {
                            return Said::Event(Event {
                                id: frame["id"].as_str().unwrap().into(),
                                name: frame["event"].as_str().unwrap().into(),
                                data: frame["data"].clone(),
                            });
                        }
                        _ => return Said::Other(frame),
                    }
                }
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next event.
    pub async fn event(&mut self) -> Event {
        match self.said().await {
            Said::Event(event) => event,
            other => panic!("an event was due, not {other:?}"),
        }
    }

    /// Events up to and with the next one of this name.
    pub async fn events_until(&mut self, name: &str) -> Vec<Event> {
        let mut events = Vec::new();
        while events.last().is_none_or(|e: &Event| e.name != name) {
            events.push(self.event().await);
        }
        events
    }

    /// Acknowledges all events from now on; returns how the connection ended.
    pub async fn serve(&mut self, seen: &mut Vec<Event>) -> Said {
        loop {
            match self.said().await {
                Said::Event(event) => {
                    self.ack(&event.id).await;
                    seen.push(event);
                }
                Said::Other(_) => {}
                end => return end,
            }
        }
    }
}
