//! The HTTP side: accepting connections, the gate before every request, the routes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, getrlimit};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::auth::{Gate, Shown};
use super::rest::{self, Failure, query_pairs};
use super::sessions::Sessions;
use super::waking::Waking;
use super::{socket, sse};
use crate::clock::Timestamp;
use crate::tasks::Tasks;

/// A create request may bring files.
const MAX_BODY: usize = 8 * 1_024 * 1_024;

/// How long a client may take to send its request's head.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// What is held of a request's head, and so the longest head; common servers take 8 to 64 KiB.
const HEAD_BYTES: usize = 64 * 1_024;

/// The most connections at a time; more are told to come back.
const MOST_CONNECTIONS: u64 = 1_000;

/// Descriptors that are not for connections: the store, the log, what is being started.
const OTHER_DESCRIPTORS: u64 = 48;

/// How long one who is told to come back may take to hear it.
const BUSY_PATIENCE: Duration = Duration::from_secs(1);

/// What one above the limit gets.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";

/// How long to wait before accepting again when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection's place among those that are served at a time; free when its last holder is gone.
pub(crate) type Place = Arc<OwnedSemaphorePermit>;

/// What every request is served with.
pub(crate) struct Hub {
    pub(crate) gate: Gate,
    pub(crate) sessions: Sessions,
    pub(crate) waking: Waking,
    pub(crate) tasks: Tasks,
    pub(crate) started_at: Timestamp,
}

/// Accepts until the tasks are told to stop.
pub(crate) async fn accept(hub: Arc<Hub>, listener: TcpListener) {
    let router = router(Arc::clone(&hub));
    let places = Arc::new(Semaphore::new(most_connections()));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = hub.tasks.stopping().cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                    let served = connection(Arc::clone(&hub), router.clone(), stream, peer, place);
                    hub.tasks.spawn("hub-connection", served);
                } else {
                    tracing::warn!(%peer, "too many connections; one more is sent away");
                    turn_away(stream).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What the process may have open leaves room for.
fn most_connections() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = limit.saturating_sub(OTHER_DESCRIPTORS);
    usize::try_from(most.clamp(1, MOST_CONNECTIONS)).unwrap_or(1)
}

/// Says so and hangs up. Waited for, so that a flood of these holds no more than one at a time.
async fn turn_away(mut stream: TcpStream) {
    let telling = async {
        stream.write_all(BUSY).await?;
        stream.shutdown().await
    };
    if !matches!(
        tokio::time::timeout(BUSY_PATIENCE, telling).await,
        Ok(Ok(()))
    ) {
        tracing::debug!("one who was sent away did not wait to hear it");
    }
}

/// Serves one connection. An upgraded one keeps its place until its WebSocket is closed.
async fn connection(
    hub: Arc<Hub>,
    router: Router,
    stream: TcpStream,
    peer: SocketAddr,
    place: OwnedSemaphorePermit,
) {
    let router = router.layer(Extension(Place::new(place)));
    // Frames are small and wait for nobody's Nagle.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, %peer, "a connection was gone before it was served");
        return;
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    tokio::pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            served = connection.as_mut() => {
                if let Err(error) = served {
                    tracing::debug!(%error, %peer, "a connection broke");
                }
                return;
            }
            () = hub.tasks.stopping().cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn router(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/api/ws", get(socket::upgrade))
        .route("/api/hub/init", get(rest::init))
        .route("/api/hub/session", post(rest::create))
        .route("/api/hub/session/builder", post(rest::builder::create))
        .route("/api/hub/sessions", get(rest::list))
        .route(
            "/api/hub/session/{id}",
            get(rest::detail).patch(rest::update).delete(rest::delete),
        )
        .route("/api/hub/session/{id}/archive", post(rest::archive))
        .route("/api/hub/session/{id}/resume", post(rest::resume))
        .route("/api/hub/session/{id}/replay", get(rest::replay))
        .route("/api/hub/session/{id}/file", get(rest::session_file))
        .route(
            "/api/hub/session/{id}/participants",
            get(rest::participants),
        )
        .route(
            "/api/hub/session/{id}/events/history",
            get(rest::event_history),
        )
        .route("/api/hub/session/{id}/events", get(sse::stream))
        .route("/api/hub/session/{id}/loop", get(rest::loop_state))
        .route("/api/hub/session/{id}/todos", get(rest::directory::todos))
        .merge(library())
        .fallback(rest::unknown_path)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(Arc::clone(&hub), guard))
        .with_state(hub)
}

/// What is kept beside sessions.
fn library() -> Router<Arc<Hub>> {
    use rest::{agents, directory, skills, workspaces};
    Router::new()
        .route(
            "/api/hub/workspaces",
            get(workspaces::list).post(workspaces::create),
        )
        .route(
            "/api/hub/workspaces/dependencies/validate",
            post(workspaces::validate_dependencies),
        )
        .route(
            "/api/hub/workspaces/{id}",
            get(workspaces::show)
                .patch(workspaces::update)
                .delete(workspaces::remove),
        )
        .route(
            "/api/hub/workspaces/{id}/snapshot/refresh",
            post(workspaces::refresh_snapshot),
        )
        .route("/api/hub/skills", get(skills::files))
        .route(
            "/api/hub/skills/library",
            get(skills::list).post(skills::save),
        )
        .route("/api/hub/skills/library/{id}", delete(skills::remove))
        .route(
            "/api/hub/skills/buckets",
            get(skills::buckets).post(skills::create_bucket),
        )
        .route(
            "/api/hub/skills/buckets/{id}",
            delete(skills::remove_bucket),
        )
        .route("/api/hub/agents", get(agents::list).post(agents::create))
        .route(
            "/api/hub/agents/{id}",
            get(agents::show).patch(agents::update),
        )
        .route("/api/hub/agents/{id}/publish", post(agents::publish))
        .route("/api/hub/agents/{id}/archive", post(agents::archive))
        .route("/api/hub/agents/{id}/versions", get(agents::versions))
        .route("/api/hub/users", get(directory::users))
        .route("/api/hub/github/accounts", get(directory::github_accounts))
        .route("/api/hub/github/repos", get(directory::github_repos))
}

/// Lets a request through, or not. A WebSocket without a key may still send it in its first
/// frame, and is told of a wrong one by a frame and a close code, so it passes here.
async fn guard(State(hub): State<Arc<Hub>>, request: Request, next: Next) -> Response {
    if let Err(foreign) = hub.gate.check_origin(request.headers()) {
        return Failure::forbidden(foreign.to_string()).into_response();
    }
    if request.uri().path() == "/api/ws" {
        return next.run(request).await;
    }
    let query = query_pairs(request.uri());
    match hub.gate.check(request.headers(), &query) {
        Shown::Valid => next.run(request).await,
        Shown::Wrong => Failure::unauthorized("the API key is not valid").into_response(),
        Shown::Nothing => Failure::unauthorized("an API key is required").into_response(),
    }
}
