//! A Hub process, and plain clients that send exactly what a test says.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Message, http};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Longer than anything here takes; what comes later will not come.
const LIMIT: Duration = Duration::from_secs(30);

/// A running `agent-runner hub`, killed when it is dropped.
pub(crate) struct HubProcess {
    child: Child,
    pub(crate) address: String,
}

/// The command, without anything from the caller's environment that it reads.
pub(crate) fn hub_command(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent-runner"));
    command.args(["hub", "--state-dir"]).arg(state);
    command.env_remove("AGENT_RUNNER_API_KEY");
    command.env_remove("AGENT_RUNNER_API_KEY_FILE");
    command
}

impl HubProcess {
    pub(crate) fn start(state: &Path) -> Self {
        Self::start_with(hub_command(state))
    }

    pub(crate) fn start_with_key(state: &Path, key: &str) -> Self {
        let mut command = hub_command(state);
        command.env("AGENT_RUNNER_API_KEY", key);
        Self::start_with(command)
    }

    pub(crate) fn start_with(command: Command) -> Self {
        Self::start_at(command, "127.0.0.1:0")
    }

    /// `kill -9`, and a new one at the same address with the same state.
    pub(crate) fn restart(self, state: &Path) -> Self {
        let address = self.address.clone();
        self.kill();
        Self::start_at(hub_command(state), &address)
    }

    fn start_at(mut command: Command, listen: &str) -> Self {
        command.args(["--listen", listen]);
        command.stdout(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening http://");
        let address = address.unwrap_or_else(|| panic!("unexpected first line {line:?}"));
        Self {
            child,
            address: address.to_owned(),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it can be waited for");
    }

    /// SIGTERM; gives the exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        let pid = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it was running");
        self.child.wait().expect("it can be waited for").code()
    }

    /// A REST call; gives the status and the JSON body.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let (status, body) = self.request(method, path, &[], body).await;
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> (u16, String) {
        request(&self.address, method, path, headers, body).await
    }

    /// A new session's id.
    pub(crate) async fn session(&self) -> String {
        let (status, body) = self
            .call("POST", "/api/hub/session", Some(json!({"task": "t"})))
            .await;
        assert_eq!(status, 201, "{body}");
        body["sessionId"].as_str().unwrap().to_owned()
    }

    /// All of a session's events, oldest first.
    /// All that happened in a session but comings and goings.
    pub(crate) async fn history(&self, session: &str) -> Vec<Value> {
        let mut events = self.whole_history(session).await;
        events.retain(|event| !is_presence(event));
        events
    }

    /// Who came (`+`) and went (`-`), by role.
    pub(crate) async fn presence(&self, session: &str) -> Vec<String> {
        let events = self.whole_history(session).await.into_iter();
        let presence = events.filter(is_presence).map(|event| {
            let sign = if event["event"] == "session_join" {
                '+'
            } else {
                '-'
            };
            let role = event["payload"]["participant"]["role"].as_str().unwrap();
            format!("{sign}{role}")
        });
        presence.collect()
    }

    async fn whole_history(&self, session: &str) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let offset = events.len();
            let path =
                format!("/api/hub/session/{session}/events/history?limit=1000&offset={offset}");
            let (status, mut page) = self.call("GET", &path, None).await;
            assert_eq!(status, 200, "{page}");
            let page = page["events"].as_array_mut().unwrap();
            if page.is_empty() {
                return events;
            }
            events.append(page);
        }
    }

    pub(crate) async fn lead(&self, session: &str, driver: &str) -> Socket {
        let query =
            format!("sessionId={session}&role=lead&driverMode=rpc&driverInstanceId={driver}");
        let mut socket = self.connect(&query, &[]).await;
        let first = socket.next().await;
        assert_eq!(first["type"], "init", "{first}");
        socket
    }

    /// An observer or controller that has its history.
    pub(crate) async fn viewer(&self, session: &str, role: &str) -> Socket {
        let query = format!("sessionId={session}&role={role}");
        let mut socket = self.connect(&query, &[]).await;
        socket.until(|frame| frame["type"] == "init").await;
        if role == "controller" {
            socket.send(json!({"type": "bootstrap_ready"})).await;
        }
        socket.until(|f| f["type"] == "session_hydration").await;
        socket
    }

    pub(crate) async fn connect(&self, query: &str, headers: &[(&'static str, &str)]) -> Socket {
        self.try_connect(query, headers).await.expect("an upgrade")
    }

    pub(crate) async fn try_connect(
        &self,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Socket, tokio_tungstenite::tungstenite::Error> {
        let url = format!("ws://{}/api/ws?{query}", self.address);
        let mut request = url.into_client_request()?;
        for (name, value) in headers {
            let name = http::HeaderName::from_static(name);
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let (stream, _) = timeout(LIMIT, connect_async(request))
            .await
            .expect("in time")?;
        Ok(Socket(stream))
    }
}

impl Drop for HubProcess {
    fn drop(&mut self) {
        // Already ended in the tests that end it.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An HTTP request, written by hand so that a test can send any header.
pub(crate) async fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> (u16, String) {
    let body = body.map_or_else(String::new, |body| body.to_string());
    let host = ("Host", address);
    let default_host = (!headers.iter().any(|(name, _)| *name == "Host")).then_some(host);
    let lines = headers
        .iter()
        .copied()
        .chain(default_host)
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    let text = format!(
        "{method} {path} HTTP/1.1\r\nConnection: close\r\n{}Content-Length: {}\r\n\r\n{body}",
        lines.collect::<String>(),
        body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(text.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(LIMIT, exchange).await.expect("in time").unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a response");
    let status = head.split(' ').nth(1).expect("a status").parse().unwrap();
    (status, body.to_owned())
}

/// A client's WebSocket.
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub(crate) async fn send(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// Sends an event without waiting.
    pub(crate) async fn event(&mut self, id: &str, event: &str, data: Value) {
        self.send(json!({"id": id, "type": "event", "event": event, "data": data}))
            .await;
    }

    /// The next JSON frame; panics when the connection ends instead.
    pub(crate) async fn next(&mut self) -> Value {
        match self.step().await {
            Ok(frame) => frame,
            Err(close) => panic!("closed: {close:?}"),
        }
    }

    pub(crate) async fn until(&mut self, matches: impl Fn(&Value) -> bool) -> Value {
        loop {
            let frame = self.next().await;
            if matches(&frame) {
                return frame;
            }
        }
    }

    /// Reads to the end; gives the last JSON frame and the close code.
    pub(crate) async fn closed(&mut self) -> (Value, u16) {
        let mut last = Value::Null;
        loop {
            match self.step().await {
                Ok(frame) => last = frame,
                Err(close) => return (last, close.map_or(1006, |frame| frame.code.into())),
            }
        }
    }

    async fn step(&mut self) -> Result<Value, Option<CloseFrame>> {
        loop {
            match timeout(LIMIT, self.0.next())
                .await
                .expect("a frame in time")
            {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(close))) => return Err(close),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }
}

fn is_presence(event: &Value) -> bool {
    event["event"] == "session_join" || event["event"] == "session_leave"
}
