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
    hub_url: String,
    pub(crate) id: String,
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
        let daemon = daemon(bench, &session, &url);
        let query = format!("sessionId={session}&role=controller");
        let address = format!("ws{}/api/ws?{query}", url.trim_start_matches("http"));
        let (socket, _) = timeout(LIMIT, connect_async(address))
            .await
            .unwrap()
            .unwrap();
        let mut running = Self {
            daemon,
            hub_url: url,
            id: session,
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
        self.command(command).await;
    }

    /// Sends a message into the running turn.
    pub(crate) async fn steer(&mut self, text: &str) {
        let command = json!({"type": "steer", "message": text, "id": "2"});
        self.command(command).await;
    }

    /// Sends a prompt, or a message, with a PNG image in base64.
    pub(crate) async fn show(&mut self, kind: &str, text: &str, image: &str) {
        let image = json!({"type": "image", "data": image, "mimeType": "image/png"});
        let command = json!({"type": kind, "message": text, "images": [image], "id": "4"});
        self.send(json!({"type": "rpc_command", "command": command}))
            .await;
    }

    /// Ends the running turn.
    pub(crate) async fn abort(&mut self) {
        let command = json!({"type": "abort", "id": "3"});
        self.command(command).await;
    }

    /// Sends any other command of a controller.
    pub(crate) async fn command(&mut self, command: Value) {
        self.send(json!({"type": "rpc_command", "command": command}))
            .await;
    }

    /// Starts another daemon in the place of one that has died.
    pub(crate) fn start_daemon(&mut self, bench: &Bench) {
        self.daemon.ended();
        self.daemon = daemon(bench, &self.id, &self.hub_url);
    }

    /// Kills the daemon, and starts another one.
    pub(crate) fn kill_daemon(&mut self, bench: &Bench) {
        self.daemon.signal(Signal::SIGKILL);
        self.daemon = daemon(bench, &self.id, &self.hub_url);
    }

    /// Has the daemon leave for another one, as an upgrade does.
    pub(crate) fn upgrade_daemon(&mut self, bench: &Bench) {
        self.daemon.signal(Signal::SIGUSR2);
        // Each finds the state dir free: the next one waits for that, or is refused.
        self.daemon.ended();
        self.daemon = daemon(bench, &self.id, &self.hub_url);
    }

    /// Stops all of it.
    pub(crate) fn stop(self) {
        self.daemon.signal(Signal::SIGTERM);
        drop(self.daemon.finish());
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

fn daemon(bench: &Bench, session: &str, url: &str) -> Running {
    let mut command = bench.agent_command(&["daemon"], false);
    command.args(["--session", session, "--hub", url]);
    command.arg("--workspace-dir").arg(bench.path("here"));
    Running::start(&mut command)
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
