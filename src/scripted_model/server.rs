//! The HTTP server: routes, and what each request is answered with.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request as HttpRequest, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::anthropic::Anthropic;
use super::connection::{Connection, play};
use super::dialect::{Ask, Dialect, ErrorReply, Incoming, Reading, Request};
use super::engine::{self, Answer, Attempts, Performance};
use super::gemini::Gemini;
use super::openai::{Chat, Responses};
use super::record::Record;
use super::script::{Failure, FailureKind, Pace, Script, Step, Stop, Usage};
use super::toolset::Call;

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
        .route("/v1/messages", post(anthropic))
        .route("/v1/messages/count_tokens", post(anthropic))
        .route("/v1/responses", post(responses))
        .route("/v1/chat/completions", post(chat))
        .route("/v1beta/models/{call}", post(gemini))
        .route("/v1/models", get(models))
        .route("/v1beta/models", get(gemini_models))
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
            plain(StatusCode::INTERNAL_SERVER_ERROR, &message)
        })
    }

    fn attempt(&self, request: Uuid) -> u32 {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.count(request)
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

/// The list that Anthropic's and `OpenAI`'s clients ask for on the same path: both find their fields.
async fn models(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    if let Err(refusal) = shared.record("GET", &uri, b"") {
        return refusal;
    }
    axum::Json(json!({
        "object": "list",
        "data": [{
            "type": "model",
            "object": "model",
            "id": "scripted",
            "display_name": MODEL_NAME,
            "created_at": "1970-01-01T00:00:00Z",
            "created": 0,
            "owned_by": "agent-runner",
        }],
        "first_id": "scripted",
        "last_id": "scripted",
        "has_more": false,
    }))
    .into_response()
}

async fn gemini_models(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    if let Err(refusal) = shared.record("GET", &uri, b"") {
        return refusal;
    }
    axum::Json(json!({
        "models": [{
            "name": "models/scripted",
            "displayName": MODEL_NAME,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
        }],
    }))
    .into_response()
}

const MODEL_NAME: &str = "Scripted (no model is behind this)";

async fn anthropic(shared: State<Arc<Shared>>, asked: Asked) -> Response {
    answer(&Anthropic, &shared, asked).await
}

async fn responses(shared: State<Arc<Shared>>, asked: Asked) -> Response {
    answer(&Responses, &shared, asked).await
}

async fn chat(shared: State<Arc<Shared>>, asked: Asked) -> Response {
    answer(&Chat, &shared, asked).await
}

async fn gemini(shared: State<Arc<Shared>>, asked: Asked) -> Response {
    answer(&Gemini, &shared, asked).await
}

/// The parts of a request for the model.
type Asked = (ConnectInfo<Connection>, Uri, HeaderMap, Bytes);

async fn answer(dialect: &dyn Dialect, shared: &Shared, asked: Asked) -> Response {
    let (ConnectInfo(connection), uri, headers, body) = asked;
    if let Err(refusal) = shared.record("POST", &uri, &body) {
        return refusal;
    }
    let path_end = uri.path().rsplit('/').next().unwrap_or_default();
    let incoming = Incoming {
        path_end,
        // OpenCode names its session, and a subagent's parent, in headers.
        session: headers
            .get("x-session-id")
            .and_then(|value| value.to_str().ok()),
        subagent: headers.contains_key("x-parent-session-id"),
        body: &body,
    };
    match dialect.read(&incoming) {
        Ok(Reading::Count(count)) => axum::Json(count).into_response(),
        Ok(Reading::Request(request)) => {
            let answer = decide(shared, &*request, &body);
            match answer {
                Ok(Ready::Play(performance)) => {
                    perform(shared, connection, &*request, &performance).await
                }
                Ok(Ready::Fail(failure)) => {
                    scripted_failure(dialect, &shared.script, &failure, request.model())
                }
                Err(message) => refused(dialect, &message),
            }
        }
        Err(message) => refused(dialect, &message),
    }
}

/// An answer in the CLI's own words.
enum Ready {
    Play(Performance<Call>),
    Fail(Failure),
}

/// Decides on the answer; the error is the sentence that the client is told.
fn decide(shared: &Shared, request: &dyn Request, body: &[u8]) -> Result<Ready, String> {
    let same = Uuid::new_v5(&Uuid::NAMESPACE_OID, body);
    if let Some(call) = request.interlude() {
        return Ok(Ready::Play(interlude(same, call)));
    }
    let answer = match request.ask() {
        Ask::Side(text) => Answer::Play(Performance::text(same, text)),
        Ask::Conversation(conversation) => {
            let id = engine::request_id(&conversation);
            let attempt = shared.attempt(id);
            engine::answer(&shared.script, &conversation, id, attempt)
                .map_err(|error| error.to_string())?
        }
    };
    Ok(match answer {
        Answer::Fail(failure) => Ready::Fail(failure),
        Answer::Play(performance) => {
            let cast = request.toolset().cast(&performance);
            Ready::Play(cast.map_err(|error| error.to_string())?)
        }
    })
}

fn interlude(id: Uuid, call: Call) -> Performance<Call> {
    Performance {
        id,
        delay: Duration::ZERO,
        steps: vec![Step::Call(call, Pace::default())],
        cut: None,
        stop: Stop::ToolUse,
        usage: Usage::default(),
    }
}

async fn perform(
    shared: &Shared,
    connection: Connection,
    request: &dyn Request,
    performance: &Performance<Call>,
) -> Response {
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => {}
        () = tokio::time::sleep(performance.delay) => {}
    }
    let kind = if request.streams() {
        "text/event-stream; charset=utf-8"
    } else {
        "application/json"
    };
    let playback = request.play(performance);
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

fn scripted_failure(
    dialect: &dyn Dialect,
    script: &Script,
    failure: &Failure,
    model: &str,
) -> Response {
    let fallback = format!("{} says so; no model is behind this", script.name);
    let mut response = error(
        dialect,
        &ErrorReply {
            kind: &failure.kind,
            message: failure.message.as_deref(),
            fallback: &fallback,
            retry_after: failure.retry_after,
            model,
        },
    );
    if let Some(seconds) = failure.retry_after {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A request that the scripted model itself cannot answer.
fn refused(dialect: &dyn Dialect, message: &str) -> Response {
    let kind = FailureKind::Status {
        status: StatusCode::BAD_REQUEST.as_u16(),
        name: None,
    };
    error(
        dialect,
        &ErrorReply {
            kind: &kind,
            message: Some(message),
            fallback: message,
            retry_after: None,
            model: "",
        },
    )
}

fn error(dialect: &dyn Dialect, reply: &ErrorReply<'_>) -> Response {
    let (status, body) = dialect.error(reply);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    (status, axum::Json(body)).into_response()
}

/// An error outside of any vendor's API: all of them look for `error.message`.
fn plain(status: StatusCode, message: &str) -> Response {
    let error = json!({"error": {"message": message}});
    (status, axum::Json(error)).into_response()
}

async fn not_found(State(shared): State<Arc<Shared>>, request: HttpRequest) -> Response {
    let (method, uri) = (request.method().as_str(), request.uri());
    if let Err(refusal) = shared.record(method, uri, b"") {
        return refusal;
    }
    let message = format!(
        "the scripted model does not serve {method} {}; it serves POST /v1/messages, POST /v1/messages/count_tokens, POST /v1/responses, POST /v1/chat/completions, POST /v1beta/models/MODEL:streamGenerateContent (or generateContent, countTokens), GET /v1/models, GET /v1beta/models",
        uri.path()
    );
    plain(StatusCode::NOT_FOUND, &message)
}

/// Says on every response that no model is behind it.
async fn mark(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert("x-scripted-model", HeaderValue::from_static("true"));
    response
}
