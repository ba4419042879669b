//! A session of several turns: Hub, daemon, and somebody who sends prompts.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::bench::Bench;
use crate::running::Running;

const LIMIT: Duration = Duration::from_mins(1);

/// The running parts.
pub(crate) struct Session {
    daemon: Running,
    _hub: Running,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The number of the last event that was waited for.
    seen: u64,
}

impl Session {
    /// Starts all of it; the first turn is the session's task.
    pub(crate) async fn start(bench: &Bench, task: &str) -> Self {
        let mut command = bench.command(&["hub", "--listen", "127.0.0.1:0"]);
        command.env("AGENT_RUNNER_STATE_DIR", bench.path("hub"));
        let hub = Running::start(&mut command);
        let url = hub.listening();
        let answer = create(&url, task).await;
        let session = answer["sessionId"].as_str().unwrap().to_owned();
        let mut command = bench.agent_command(&["daemon"], false);
        command.args(["--session", &session, "--hub", &url]);
        command.arg("--workspace-dir").arg(bench.path("here"));
        let daemon = Running::start(&mut command);
        let query = format!("sessionId={session}&role=controller");
        let address = format!("ws{}/api/ws?{query}", url.trim_start_matches("http"));
        let (socket, _) = timeout(LIMIT, connect_async(address))
            .await
            .unwrap()
            .unwrap();
        let mut running = Self {
            daemon,
            _hub: hub,
            socket,
            seen: 0,
        };
        running.until("init").await;
        running.send(json!({"type": "bootstrap_ready"})).await;
        running.until("session_hydration").await;
        running
    }

    /// Sends a prompt.
    pub(crate) async fn prompt(&mut self, text: &str) {
        let command = json!({"type": "prompt", "message": text, "id": "1"});
        self.send(json!({"type": "rpc_command", "command": command}))
            .await;
    }

    /// Waits for the end of the next turn.
    pub(crate) fn ended(&mut self) {
        let event = self.daemon.event("end of a turn", |event| {
            event["type"] == "end" && event["seq"].as_u64() > Some(self.seen)
        });
        self.seen = event["seq"].as_u64().unwrap();
    }

    /// Stops all of it and gives the events of the session.
    pub(crate) fn finish(self) -> Vec<Value> {
        self.daemon.signal(Signal::SIGTERM);
        self.daemon.finish().events()
    }

    async fn send(&mut self, frame: Value) {
        self.socket
            .send(Message::text(frame.to_string()))
            .await
            .unwrap();
    }

    async fn until(&mut self, kind: &str) {
        loop {
            let frame = timeout(LIMIT, self.socket.next())
                .await
                .expect("a frame in time");
            let Message::Text(text) = frame.expect("an open connection").unwrap() else {
                continue;
            };
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["type"] == kind {
                return;
            }
        }
    }
}

/// A new session of the Hub at `url`.
async fn create(url: &str, task: &str) -> Value {
    // Err: another test of this process has done it
    drop(rustls::crypto::ring::default_provider().install_default());
    let request = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(format!("{url}/api/hub/session"))
        .json(&json!({"task": task}));
    let answer = timeout(LIMIT, request.send()).await.unwrap().unwrap();
    answer.json().await.unwrap()
}
