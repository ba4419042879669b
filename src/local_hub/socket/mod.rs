//! The WebSocket: upgrade, who it is, and then one of two conversations.
//!
//! Every refusal is both a `connection_rejected` frame and a close code of the Hub's own range:
//! clients read the one or the other.

mod connection;
mod inbound;
mod lead;
mod viewer;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role as End, WebSocketConfig};

use super::auth::Shown;
use super::rest::{Failure, query_pairs};
use super::server::{Hub, Place};
use super::store::{SessionRow, StoreError};
use crate::hub::protocol::{CloseCode, HOME_HEADER, Role};
use connection::Connection;
use inbound::Inbound;
pub(crate) use viewer::HYDRATION_BYTES;

/// The largest message taken from a client. Leads cut their frames to 256 KiB; a whole session
/// file may be larger.
const MAX_MESSAGE: usize = 8 * 1_024 * 1_024;

/// What is read at once, and held and zeroed for it all the time; most events of a lead fit in. The
/// library's own choice is 128 KiB for each connection.
const READ_BUFFER: usize = 16 << 10;

/// How long a client that showed no key may take to send it in its first frame.
const AUTH_PATIENCE: Duration = Duration::from_secs(10);

/// `GET /api/ws`.
pub(crate) async fn upgrade(State(hub): State<Arc<Hub>>, mut request: Request) -> Response {
    let accept = match accept_key(&request) {
        Ok(accept) => accept,
        Err(why) => return Failure::bad_request(why).into_response(),
    };
    let query = query_pairs(request.uri());
    let shown = hub.gate.check(request.headers(), &query);
    let mut hello = Hello::from_query(&query);
    let home = request.headers().get(HOME_HEADER);
    hello.home = home.map(|home| OsStr::from_bytes(home.as_bytes()).into());
    let upgraded = hyper::upgrade::on(&mut request);
    let tasks = hub.tasks.clone();
    let place = request.extensions().get::<Place>().cloned();
    tasks.spawn("hub-socket", async move {
        let _place = place;
        let Ok(upgraded) = upgraded.await else {
            return; // the client went away between its request and our answer
        };
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE))
            .read_buffer_size(READ_BUFFER);
        let stream = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(stream, End::Server, Some(config)).await;
        converse(&hub, Connection::new(socket), shown, hello).await;
    });
    let headers = [
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

fn accept_key(request: &Request) -> Result<HeaderValue, &'static str> {
    let header = |name| {
        let value: Option<&HeaderValue> = request.headers().get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    };
    if !header(header::UPGRADE).eq_ignore_ascii_case("websocket") {
        return Err("this is a WebSocket endpoint: connect with ws:// or wss://");
    }
    if header(header::SEC_WEBSOCKET_VERSION) != "13" {
        return Err("only WebSocket version 13 is spoken here");
    }
    let key = header(header::SEC_WEBSOCKET_KEY);
    if key.is_empty() {
        return Err("the Sec-WebSocket-Key header is missing");
    }
    HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|_| "the Sec-WebSocket-Key header is not usable")
}

/// Who connects, by the query.
#[derive(Debug)]
struct Hello {
    session: Option<String>,
    role: Option<String>,
    agent: Option<String>,
    task: Option<String>,
    label: Option<String>,
    subscribe: Option<String>,
    driver: Option<String>,
    /// Where a lead keeps its state, if it wants to be woken there.
    home: Option<PathBuf>,
}

impl Hello {
    fn from_query(query: &[(String, String)]) -> Self {
        let value = |name: &str| {
            let found = query.iter().find(|(key, _)| key == name);
            found
                .map(|(_, value)| value.clone())
                .filter(|value| !value.is_empty())
        };
        Self {
            session: value("sessionId"),
            role: value("role"),
            agent: value("agent"),
            task: value("task"),
            label: value("label"),
            subscribe: value("subscribe"),
            driver: value("driverInstanceId"),
            home: None,
        }
    }

    /// The TUI lead sends no role at all.
    fn role(&self) -> Result<Role, Refusal> {
        match self.role.as_deref() {
            Some("observer") => Ok(Role::Observer),
            Some("controller") => Ok(Role::Controller),
            None | Some("lead") => match self.agent.as_deref() {
                None | Some("lead") => Ok(Role::Lead),
                Some(_) => Ok(Role::SubAgent),
            },
            Some(_) => Err(Refusal::new(
                CloseCode::BAD_REQUEST,
                "role must be lead, observer or controller",
            )),
        }
    }
}

/// Why a client is not let in.
#[derive(Debug, Clone, Copy)]
struct Refusal {
    code: CloseCode,
    why: &'static str,
}

impl Refusal {
    const fn new(code: CloseCode, why: &'static str) -> Self {
        Self { code, why }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a connection was refused");
        Self::new(
            CloseCode::UNAVAILABLE,
            "the Hub's store is not available; try again",
        )
    }
}

async fn converse(hub: &Arc<Hub>, mut connection: Connection, shown: Shown, hello: Hello) {
    let admitted = tokio::select! {
        admitted = admit(hub, &mut connection, shown, &hello) => admitted,
        () = hub.tasks.stopping().cancelled() => {
            Err(Refusal::new(CloseCode::GOING_AWAY, "the Hub is stopping"))
        }
    };
    let (role, session) = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => return connection.refuse(refusal, hello.session.as_deref()).await,
    };
    match role {
        Role::Lead | Role::SubAgent => lead::serve(hub, connection, role, session, &hello).await,
        Role::Observer | Role::Controller => {
            viewer::serve(hub, connection, role, session, &hello).await;
        }
    }
}

async fn admit(
    hub: &Hub,
    connection: &mut Connection,
    shown: Shown,
    hello: &Hello,
) -> Result<(Role, SessionRow), Refusal> {
    match shown {
        Shown::Valid => {}
        Shown::Wrong => return Err(WRONG_KEY),
        Shown::Nothing => {
            let first = tokio::time::timeout(AUTH_PATIENCE, connection.text()).await;
            let Ok(Ok(text)) = first else {
                return Err(NO_KEY);
            };
            let Ok(Inbound::Auth(key)) = inbound::parse(&text) else {
                return Err(NO_KEY);
            };
            if !hub.gate.check_frame(key.as_deref()) {
                return Err(WRONG_KEY);
            }
        }
    }
    let role = hello.role()?;
    let session = match &hello.session {
        Some(id) => hub.sessions.find(id).await?.ok_or(Refusal::new(
            CloseCode::SESSION_NOT_FOUND,
            "there is no session of this id",
        ))?,
        None if role == Role::Lead => {
            let mut spec = serde_json::Map::new();
            if let Some(label) = &hello.label {
                spec.insert("label".into(), label.clone().into());
            }
            let task = hello.task.clone().unwrap_or_default();
            hub.sessions.create(task, spec).await?
        }
        None => {
            return Err(Refusal::new(
                CloseCode::BAD_REQUEST,
                "sessionId is missing: only a lead may connect without one",
            ));
        }
    };
    if session.archived {
        return Err(ARCHIVED);
    }
    Ok((role, session))
}

const WRONG_KEY: Refusal = Refusal::new(CloseCode::AUTH_REQUIRED, "the API key is not valid");
const NO_KEY: Refusal = Refusal::new(CloseCode::AUTH_REQUIRED, "an API key is required");
const ARCHIVED: Refusal = Refusal::new(CloseCode::FORBIDDEN, "the session is archived");
