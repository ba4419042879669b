//! The daemon's first client: the commands' side of the local API.
//!
//! One connection a request, over the daemon's Unix socket or over TCP with a token, by the same
//! code. What a request could not do is told as the command's error, with its exit code.

mod error;
mod follow;
mod sse;
mod which;

use std::path::{Path, PathBuf};

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, Response, StatusCode, header};
use futures_util::{Stream, StreamExt as _};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

pub(super) use error::ClientError;
pub(super) use follow::{Follower, Step};
pub(super) use which::Which;

use super::background::LOG;
use super::lead::here;
use super::printing::say;
use super::{CliError, Exit};
use crate::api::socket_path;
use crate::api::wire::{
    CreateAnswer, CreateRequest, DaemonStatus, Problem, SessionList, SessionState, SessionSummary,
};
use crate::config::{self, ClientConfig, ClientOptions, CommandKind, EnvMap, Output};
use crate::ids::SessionId;
use crate::journal::StateLock;
use crate::tasks::Tasks;

/// The most that an answer may hold which is read whole.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// How often what lies at a path is asked for again when the daemon went away meanwhile, and when.
const LOST_TRIES: usize = 10;
const LOST_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Where a daemon's API is.
#[derive(Debug, Clone)]
enum Endpoint {
    /// Its state dir says where the socket is, each time anew: a daemon that was started again may
    /// have another.
    Socket { state_dir: PathBuf },
    /// Over TCP.
    Network {
        host: String,
        port: u16,
        token: SecretString,
    },
}

/// A command's way to a daemon.
#[derive(Debug, Clone)]
pub(super) struct Client {
    endpoint: Endpoint,
    /// Drive the connections.
    tasks: Tasks,
}

/// What the commands that talk to a daemon begin with.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) output: Output,
    pub(super) cwd: PathBuf,
}

impl Context {
    /// Reads the settings; says what a person should know of them.
    pub(super) fn read(options: &ClientOptions, output: Option<&str>) -> Result<Self, CliError> {
        let env = EnvMap::of_this_process();
        let place = here(CommandKind::Start, &env)?;
        let config = config::resolve_client(options, output, &env, &place)
            .map_err(|error| CliError::new(Exit::Usage, error.to_string()))?;
        for warning in &config.warnings {
            say!("agent-runner: warning: {warning}");
        }
        Ok(Self {
            output: config.output,
            client: Client::new(config),
            cwd: place.cwd,
        })
    }
}

/// What the daemon of that state dir says of itself.
pub(super) fn daemon_status(state_dir: &Path) -> Result<DaemonStatus, CliError> {
    let client = Client::of_state_dir(state_dir);
    Ok(runtime()?.block_on(client.get("/v1/daemon"))?)
}

/// How a session of that state dir's daemon stands, once it is set up or has failed; none where
/// the daemon has no such session.
pub(super) fn session_settled(
    state_dir: &Path,
    id: &SessionId,
) -> Result<Option<SessionSummary>, CliError> {
    const LOOK: std::time::Duration = std::time::Duration::from_millis(50);
    let client = Client::of_state_dir(state_dir);
    runtime()?.block_on(async {
        loop {
            let list: SessionList = client.get("/v1/sessions?all=true").await?;
            match list.sessions.into_iter().find(|session| session.id == *id) {
                Some(session) if session.state == SessionState::SettingUp => {
                    tokio::time::sleep(LOOK).await;
                }
                found => return Ok(found),
            }
        }
    })
}

/// Has the daemon of that state dir make a session; its answer.
pub(super) fn create_session(
    state_dir: &Path,
    request: &CreateRequest,
) -> Result<CreateAnswer, CliError> {
    let client = Client::of_state_dir(state_dir);
    let created = client.post("/v1/sessions", request);
    Ok(runtime()?.block_on(created)?)
}

/// Whether a daemon answers at that state dir.
pub(super) fn is_served(state_dir: &Path) -> bool {
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
    let client = Client {
        endpoint: Endpoint::Socket {
            state_dir: state_dir.to_owned(),
        },
        tasks: Tasks::new(),
    };
    let Ok(runtime) = runtime() else { return false };
    runtime.block_on(async {
        let asked = client.get::<serde_json::Value>("/healthz");
        matches!(tokio::time::timeout(PATIENCE, asked).await, Ok(Ok(_)))
    })
}

/// A client's runtime: it waits for one thing at a time.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(Exit::Internal, format!("no runtime: {error}")))
}

impl Client {
    pub(super) fn of_state_dir(state_dir: &Path) -> Self {
        let state_dir = state_dir.to_owned();
        Self {
            endpoint: Endpoint::Socket { state_dir },
            tasks: Tasks::new(),
        }
    }

    fn new(config: ClientConfig) -> Self {
        let endpoint = match config.api {
            Some((url, token)) => Endpoint::Network {
                host: url.host_str().unwrap_or_default().to_owned(),
                port: url.port_or_known_default().unwrap_or(80),
                token,
            },
            None => Endpoint::Socket {
                state_dir: config.state_dir,
            },
        };
        Self {
            endpoint,
            tasks: Tasks::new(),
        }
    }

    /// Asks for what lies at `path`.
    ///
    /// A daemon that is killed accepts for a moment more and answers nothing. Asking once more
    /// changes nothing, and shows what became of it.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        for _ in 0..LOST_TRIES {
            match self.get_once(path).await {
                Err(ClientError::Lost(_)) => tokio::time::sleep(LOST_PAUSE).await,
                answered => return answered,
            }
        }
        self.get_once(path).await
    }

    async fn get_once<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = self.request(Method::GET, path);
        whole(self.send(request, Body::empty()).await?).await
    }

    /// Ends what lies at `path`.
    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = self.request(Method::DELETE, path);
        whole(self.send(request, Body::empty()).await?).await
    }

    /// Gives `body` to `path`.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| ClientError::Nonsense(format!("no JSON for the request: {error}")))?;
        let request = self
            .request(Method::POST, path)
            .header(header::CONTENT_TYPE, "application/json");
        whole(self.send(request, Body::from(body)).await?).await
    }

    /// Asks for a stream; its chunks as they come.
    pub(super) async fn stream(
        &self,
        path: &str,
        accept: &str,
    ) -> Result<
        impl Stream<Item = Result<bytes::Bytes, ClientError>> + Send + Unpin + use<>,
        ClientError,
    > {
        let request = self
            .request(Method::GET, path)
            .header(header::ACCEPT, accept);
        let response = self.send(request, Body::empty()).await?;
        let response = accepted(response).await?;
        let chunks = response.into_body().into_data_stream();
        Ok(chunks.map(|chunk| chunk.map_err(|error| ClientError::Lost(error.to_string()))))
    }

    fn request(&self, method: Method, path: &str) -> axum::http::request::Builder {
        let request = Request::builder().method(method).uri(path);
        match &self.endpoint {
            Endpoint::Socket { .. } => request.header(header::HOST, "localhost"),
            Endpoint::Network { host, port, token } => request
                .header(header::HOST, format!("{host}:{port}"))
                .header(
                    header::AUTHORIZATION,
                    format!("Bearer {}", token.expose_secret()),
                ),
        }
    }

    async fn send(
        &self,
        request: axum::http::request::Builder,
        body: Body,
    ) -> Result<Response<Body>, ClientError> {
        let request = request
            .body(body)
            .map_err(|error| ClientError::Nonsense(format!("no such request: {error}")))?;
        let absent = |place: String| move |source| ClientError::Absent { place, source };
        match &self.endpoint {
            Endpoint::Socket { state_dir } => {
                let path = socket_path(state_dir);
                let connected = UnixStream::connect(&path).await;
                let stream = connected.map_err(|source| match StateLock::died(state_dir) {
                    Ok(Some(pid)) => ClientError::Died {
                        pid,
                        log: state_dir.join(LOG),
                    },
                    _ => absent(path.display().to_string())(source),
                })?;
                self.exchange(stream, request).await
            }
            Endpoint::Network { host, port, .. } => {
                // An IPv6 address stands in brackets in URLs only.
                let name = host.trim_start_matches('[').trim_end_matches(']');
                let connected = TcpStream::connect((name, *port)).await;
                let stream = connected.map_err(absent(format!("http://{host}:{port}")))?;
                self.exchange(stream, request).await
            }
        }
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        request: Request<Body>,
    ) -> Result<Response<Body>, ClientError> {
        let lost = |error: hyper::Error| ClientError::Lost(error.to_string());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(lost)?;
        self.tasks.spawn("api-client", connection);
        let response = sender.send_request(request).await.map_err(lost)?;
        Ok(response.map(Body::new))
    }
}

async fn whole<T: DeserializeOwned>(response: Response<Body>) -> Result<T, ClientError> {
    let response = accepted(response).await?;
    let bytes = to_bytes(response.into_body(), MAX_ANSWER)
        .await
        .map_err(|error| ClientError::Lost(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| ClientError::Nonsense(error.to_string()))
}

/// The answer, if it is one that was hoped for.
async fn accepted(response: Response<Body>) -> Result<Response<Body>, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = to_bytes(response.into_body(), MAX_ANSWER).await;
    let problem = body
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Problem>(&bytes).ok());
    Err(match problem {
        Some(problem) => ClientError::Refused {
            is_temporary: status == StatusCode::SERVICE_UNAVAILABLE,
            problem,
        },
        None => ClientError::Nonsense(format!("HTTP status {status}")),
    })
}
