//! The HTTP server: routes, bodies in their time, connections that break on request.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request as HttpRequest, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use futures_util::{Stream, stream};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::anthropic::{self, Ask, Request};
use super::engine::{self, Answer, Attempts, Performance};
use super::playback::{Action, End, Playback};
use super::record::Record;
use super::script::{Failure, Script};

/// What is not in the script.
#[derive(Debug, Default)]
pub struct Options {
    /// Where requests are written to.
    pub record: Option<Record>,
}

/// Plays `script` to whoever connects, until `stop` is cancelled. Any API key is accepted.
///
/// Replies that are being streamed at that time are cut; it returns at most two seconds later.
pub async fn serve(
    listener: TcpListener,
    script: Script,
    options: Options,
    stop: CancellationToken,
) -> io::Result<()> {
    let shared = Arc::new(Shared {
        script,
        attempts: Mutex::default(),
        record: options.record,
        stop: stop.clone(),
    });
    let routes = Router::new()
        .route("/", get(root))
        .route("/v1/messages", post(messages))
        .route("/v1/messages/count_tokens", post(count_tokens))
        .route("/v1/models", get(models))
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(map_response(mark))
        .with_state(shared);
    let service = routes.into_make_service_with_connect_info::<Connection>();
    let server =
        axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned());
    // Without a limit, a client that reads nothing would hold the server up for ever.
    let grace = async move {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        biased;
        ended = server => ended,
        () = grace => Ok(()),
    }
}

/// A prompt of some megabytes is sent again in each request, JSON-escaped, with all tool results.
const BODY_LIMIT: usize = 64 * 1024 * 1024;

const GRACE: Duration = Duration::from_secs(2);

struct Shared {
    script: Script,
    attempts: Mutex<Attempts>,
    record: Option<Record>,
    stop: CancellationToken,
}

impl Shared {
    /// Writes the request down. One that cannot be recorded is not answered: a record with holes
    /// would prove nothing.
    #[allow(clippy::result_large_err)] // the error is the response
    fn record(&self, method: &str, uri: &Uri, body: &[u8]) -> Result<(), Response> {
        let Some(record) = &self.record else {
            return Ok(());
        };
        record.write(method, uri.path(), body).map_err(|error| {
            tracing::error!(%error, "cannot record a request; free the disk or drop --record");
            let message = format!("the scripted model cannot record this request: {error}");
            failure(StatusCode::INTERNAL_SERVER_ERROR, None, &message)
        })
    }

    fn attempt(&self, request: Uuid) -> u32 {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.count(request)
    }
}

/// The socket under a request, so that a reply can end in a reset.
#[derive(Debug, Clone)]
struct Connection(Option<Arc<OwnedFd>>);

impl Connected<IncomingStream<'_, TcpListener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        let socket = stream.io().as_fd().try_clone_to_owned();
        Self(socket.ok().map(Arc::new))
    }
}

impl Connection {
    /// Has the kernel send RST rather than FIN when the connection is closed.
    fn reset_on_close(&self) {
        let Some(socket) = &self.0 else { return };
        if let Err(error) = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO)) {
            tracing::warn!(%error, "the connection ends without a reset");
        }
    }
}

async fn root(State(shared): State<Arc<Shared>>, request: HttpRequest) -> Response {
    if let Err(refusal) = shared.record(request.method().as_str(), request.uri(), b"") {
        return refusal;
    }
    format!(
        "agent-runner scripted model: no model is behind this, it plays {}\n",
        shared.script.name
    )
    .into_response()
}

async fn models(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    if let Err(refusal) = shared.record("GET", &uri, b"") {
        return refusal;
    }
    axum::Json(json!({
        "data": [{
            "type": "model",
            "id": "scripted",
            "display_name": "Scripted (no model is behind this)",
            "created_at": "1970-01-01T00:00:00Z",
        }],
        "first_id": "scripted",
        "last_id": "scripted",
        "has_more": false,
    }))
    .into_response()
}

async fn count_tokens(State(shared): State<Arc<Shared>>, uri: Uri, body: Bytes) -> Response {
    match read(&shared, &uri, &body) {
        Ok(request) => {
            axum::Json(json!({"input_tokens": request.estimated_tokens()})).into_response()
        }
        Err(refusal) => refusal,
    }
}

async fn messages(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    uri: Uri,
    body: Bytes,
) -> Response {
    let request = match read(&shared, &uri, &body) {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    let answer = match request.ask() {
        Ask::Side(text) => {
            let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, &body);
            Ok(Answer::Play(Performance::text(id, text)))
        }
        Ask::Conversation(conversation) => {
            let id = engine::request_id(&conversation);
            engine::answer(&shared.script, &conversation, id, shared.attempt(id))
        }
    };
    match answer {
        Ok(Answer::Play(performance)) => perform(&shared, connection, &request, &performance).await,
        Ok(Answer::Fail(scripted)) => scripted_failure(&shared.script, &scripted),
        Err(error) => failure(StatusCode::BAD_REQUEST, None, &error.to_string()),
    }
}

#[allow(clippy::result_large_err)] // the error is the response
fn read(shared: &Shared, uri: &Uri, body: &[u8]) -> Result<Request, Response> {
    shared.record("POST", uri, body)?;
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("not a Messages request: {error}");
        failure(StatusCode::BAD_REQUEST, None, &message)
    })
}

async fn perform(
    shared: &Shared,
    connection: Connection,
    request: &Request,
    performance: &Performance,
) -> Response {
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => {}
        () = tokio::time::sleep(performance.delay) => {}
    }
    let (playback, kind) = if request.stream {
        let events = anthropic::stream(performance, &request.model);
        (events, "text/event-stream; charset=utf-8")
    } else {
        let message = anthropic::message(performance, &request.model);
        (message, "application/json")
    };
    let body = Body::from_stream(play(playback, connection, shared.stop.clone()));
    let request_id = format!("req_scripted_{}", performance.id.simple());
    (
        [
            (header::CONTENT_TYPE, kind.to_owned()),
            (header::CACHE_CONTROL, "no-cache".to_owned()),
            (HeaderName::from_static("request-id"), request_id),
        ],
        body,
    )
        .into_response()
}

/// The playback as a body: an error in it makes the server close the connection.
fn play(
    playback: Playback,
    connection: Connection,
    stop: CancellationToken,
) -> impl Stream<Item = io::Result<Bytes>> {
    let actions = playback.actions.into_iter();
    stream::unfold(Some(actions), move |state| {
        let connection = connection.clone();
        let stop = stop.clone();
        async move {
            let mut actions = state?;
            loop {
                match actions.next() {
                    Some(Action::Send(data) | Action::SendContent(data)) => {
                        return Some((Ok(data), Some(actions)));
                    }
                    Some(Action::Wait(time)) => tokio::select! {
                        biased;
                        () = stop.cancelled() => return Some((Err(stopped()), None)),
                        () = tokio::time::sleep(time) => {}
                    },
                    None if playback.end == End::Regular => return None,
                    None => {
                        // hyper flushes what it has while the body is pending; an error that came
                        // at once would take the last chunks with it.
                        tokio::time::sleep(FLUSH).await;
                        connection.reset_on_close();
                        return Some((Err(io::ErrorKind::ConnectionReset.into()), None));
                    }
                }
            }
        }
    })
}

const FLUSH: Duration = Duration::from_millis(20);

fn stopped() -> io::Error {
    io::Error::other("the scripted model is stopping")
}

fn scripted_failure(script: &Script, scripted: &Failure) -> Response {
    let status = StatusCode::from_u16(scripted.status).unwrap_or(StatusCode::BAD_REQUEST);
    let usual = || format!("{} says so; no model is behind this", script.name);
    let message = scripted.message.clone().unwrap_or_else(usual);
    let mut response = failure(status, scripted.kind.as_deref(), &message);
    if let Some(seconds) = scripted.retry_after {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn failure(status: StatusCode, kind: Option<&str>, message: &str) -> Response {
    let kind = kind.unwrap_or_else(|| anthropic::error_kind(status.as_u16()));
    (status, axum::Json(anthropic::error_body(kind, message))).into_response()
}

async fn not_found(State(shared): State<Arc<Shared>>, request: HttpRequest) -> Response {
    let (method, uri) = (request.method().as_str(), request.uri());
    if let Err(refusal) = shared.record(method, uri, b"") {
        return refusal;
    }
    let message = format!(
        "the scripted model does not serve {method} {}; it serves POST /v1/messages, POST /v1/messages/count_tokens, GET /v1/models",
        uri.path()
    );
    failure(StatusCode::NOT_FOUND, None, &message)
}

/// Says on every response that no model is behind it.
async fn mark(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert("x-scripted-model", HeaderValue::from_static("true"));
    response
}
