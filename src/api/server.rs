//! Accepting connections: limits, time limits, the guard before every request.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use hyper::server::conn::http1;
use hyper::service::Service as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::failure::Failure;
use super::guard::{Guard, Peer};
use super::host::Host;
use super::routes;
use super::socket::{self, Bound, SocketError};
use super::usage::Tallies;
use crate::clock::Clock;
use crate::tasks::Tasks;

/// Connections at a time. Each follower takes one; more are told to come back.
const CONNECTIONS: usize = 256;

/// How long a client may take to send its request's head, and to begin another request.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait before accepting again when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a client is told that comes when there are too many.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
retry-after: 1\r\nconnection: close\r\ncontent-length: 88\r\n\r\n\
{\"code\":\"busy\",\"message\":\"too many connections are open\",\"hint\":\"ask again in a moment\"}";

/// Serving over TCP besides the socket.
#[derive(Debug)]
pub struct Network {
    /// Where.
    pub listen: SocketAddr,
    /// What every request but `/healthz` must show.
    pub token: SecretString,
}

/// Where and for whom the API is served.
pub struct ApiConfig<'a> {
    /// The daemon's state dir, whose lock is held.
    pub state_dir: &'a Path,
    /// Where short-lived things of this user go: `$XDG_RUNTIME_DIR`, or `/tmp`.
    pub runtime_dir: &'a Path,
    /// Serving over TCP too.
    pub network: Option<Network>,
}

/// A served API; its socket is gone from the disk when this is dropped.
#[derive(Debug)]
pub struct Serving {
    socket: Bound,
    network: Option<SocketAddr>,
}

impl Serving {
    /// The socket's path.
    pub fn socket(&self) -> &Path {
        self.socket.path()
    }

    /// The address of the TCP listener, its port chosen.
    pub const fn network(&self) -> Option<SocketAddr> {
        self.network
    }
}

/// What every request is served with.
pub(super) struct Api {
    pub(super) host: Arc<dyn Host>,
    pub(super) tasks: Tasks,
    pub(super) clock: Clock,
    pub(super) tallies: Tallies,
    guard: Guard,
}

/// Serves the API until `tasks` are told to stop.
pub async fn serve(
    host: Arc<dyn Host>,
    config: ApiConfig<'_>,
    tasks: &Tasks,
    clock: Clock,
) -> Result<Serving, SocketError> {
    let (listener, socket) = socket::bind(config.state_dir, config.runtime_dir)?;
    let (tcp, token) = match config.network {
        None => (None, None),
        Some(Network { listen, token }) => {
            let unusable = |source| SocketError::Unusable {
                path: PathBuf::from(listen.to_string()),
                source,
            };
            let tcp = TcpListener::bind(listen).await.map_err(unusable)?;
            let address = tcp.local_addr().map_err(unusable)?;
            (Some((tcp, address)), Some(token))
        }
    };
    let api = Arc::new(Api {
        host,
        tasks: tasks.clone(),
        clock,
        tallies: Tallies::default(),
        guard: Guard::new(token),
    });
    let gate = Gate {
        router: router(&api),
        tasks: tasks.clone(),
        places: Arc::new(Semaphore::new(CONNECTIONS)),
    };
    let network = tcp.as_ref().map(|(_, address)| *address);
    if let Some((tcp, address)) = tcp {
        tasks.spawn("api-tcp", gate.clone().accept_tcp(tcp, address));
    }
    tasks.spawn("api-socket", gate.accept_unix(listener));
    Ok(Serving { socket, network })
}

fn router(api: &Arc<Api>) -> Router {
    routes::all()
        .fold(Router::new(), |router, route| {
            router.route(route.path, route.handler)
        })
        .fallback(routes::unknown)
        .method_not_allowed_fallback(routes::wrong_method)
        .layer(from_fn_with_state(Arc::clone(api), guard))
        .with_state(Arc::clone(api))
}

async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    let unknown = Peer::Process { uid: None };
    let path = request.uri().path();
    match api
        .guard
        .check(peer.unwrap_or(unknown), path, request.headers())
    {
        Ok(()) => next.run(request).await,
        Err(failure) => Failure::into_response(failure),
    }
}

/// What accepting needs.
#[derive(Clone)]
struct Gate {
    router: Router,
    tasks: Tasks,
    places: Arc<Semaphore>,
}

impl Gate {
    async fn accept_unix(self, listener: UnixListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.tasks.stopping().cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let uid = stream.peer_cred().ok().map(|peer| peer.uid());
                    self.admit(stream, Peer::Process { uid });
                }
                Err(error) => pause(&error).await,
            }
        }
    }

    async fn accept_tcp(self, tcp: TcpListener, listener: SocketAddr) {
        loop {
            let accepted = tokio::select! {
                accepted = tcp.accept() => accepted,
                () = self.tasks.stopping().cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    // Events are small and wait for nobody's Nagle; without it they only come later.
                    drop(stream.set_nodelay(true));
                    self.admit(stream, Peer::Network { listener });
                }
                Err(error) => pause(&error).await,
            }
        }
    }

    fn admit(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, peer: Peer) {
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => {
                let connection = connection(self.router.clone(), stream, peer, self.tasks.clone());
                self.tasks.spawn("api-connection", hold(place, connection));
            }
            Err(_) => {
                self.tasks.spawn("api-refusal", refuse(stream));
            }
        }
    }
}

async fn hold(place: OwnedSemaphorePermit, connection: impl Future<Output = ()>) {
    connection.await;
    drop(place);
}

async fn refuse(mut stream: impl AsyncWrite + Unpin) {
    let said = async {
        stream.write_all(FULL).await?;
        stream.shutdown().await
    };
    // Whoever does not take it is not waited for.
    drop(tokio::time::timeout(HEAD_PATIENCE, said).await);
}

async fn pause(error: &std::io::Error) {
    tracing::warn!(%error, "the API cannot accept a connection; trying again");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

async fn connection(
    router: Router,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: Peer,
    tasks: Tasks,
) {
    let inner = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |request: hyper::Request<_>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        inner.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        // Grown as requests need it, and nothing here needs much.
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            served = connection.as_mut() => {
                if let Err(error) = served {
                    tracing::debug!(%error, "an API connection broke");
                }
                return;
            }
            () = tasks.stopping().cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
