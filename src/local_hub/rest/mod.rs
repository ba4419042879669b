//! The REST interface, in the shapes that the official client's schemas demand.
//!
//! Errors carry both `error` and `message`, as different clients show the one or the other.
//! Definitive errors are never 409, 501, 502 or 503: the official client retries those.

pub(super) mod agents;
pub(super) mod builder;
pub(super) mod directory;
mod history;
mod library;
mod record;
mod shape;
pub(super) mod skills;
pub(super) mod workspaces;

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::loops;
use super::server::Hub;
use super::store::{SessionRow, StoreError, list_sessions};
use super::waking::{self, Begun};
use crate::clock::Clock;
pub(crate) use history::{event_history, participants, replay, session_file};
use record::Beside;
pub(crate) use record::Standing;

/// The most rows of any list, and of one of sessions where the caller names no number: the official
/// clients sort and choose among what they get, and never ask for more.
const LIST_MAX: u32 = 1_000;

type Shared = State<Arc<Hub>>;
type Answer = Result<Json<Value>, Failure>;

/// A request that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            status,
            code,
            message,
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "CODER_INVALID_REQUEST", message)
    }

    pub(crate) fn unauthorized(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a request failed");
        let message = error.to_string();
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = json!({
            "success": false,
            "code": self.code,
            "message": self.message,
            "error": self.message,
        });
        (self.status, Json(body)).into_response()
    }
}

/// The query's parameters in order, decoded.
pub(crate) fn query_pairs(uri: &Uri) -> Vec<(String, String)> {
    // Undecodable queries have no parameters: what they meant to say is then missing, by name.
    axum::extract::Query::try_from_uri(uri).map_or_else(|_| Vec::new(), |query| query.0)
}

/// A query parameter that must be a whole number.
fn number(query: &[(String, String)], name: &str) -> Result<Option<u64>, Failure> {
    let Some((_, value)) = query.iter().find(|(key, _)| key == name) else {
        return Ok(None);
    };
    let complaint =
        || Failure::bad_request(format!("{name} must be a whole number, not `{value}`"));
    value.parse().map(Some).map_err(|_| complaint())
}

/// `limit` and `offset`.
fn paging(query: &[(String, String)], default: u32) -> Result<(u32, u32), Failure> {
    let clamp = |value: u64, most| u32::try_from(value).unwrap_or(most).min(most);
    let limit = number(query, "limit")?.map_or(default, |limit| clamp(limit, LIST_MAX));
    let offset = number(query, "offset")?.map_or(0, |offset| clamp(offset, u32::MAX));
    Ok((limit, offset))
}

fn flag(query: &[(String, String)], name: &str) -> bool {
    query
        .iter()
        .any(|(key, value)| key == name && matches!(value.as_str(), "true" | "1"))
}

/// The session of a path.
pub(crate) async fn find(hub: &Hub, id: &str) -> Result<SessionRow, Failure> {
    hub.sessions.find(id).await?.ok_or_else(|| {
        let message = format!("there is no session `{id}`; GET /api/hub/sessions lists them");
        Failure::new(StatusCode::NOT_FOUND, "CODER_SESSION_NOT_FOUND", message)
    })
}

/// A request's body as a JSON object.
fn object(body: &Bytes) -> Result<Map<String, Value>, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::bad_request(format!("the body must be a JSON object: {error}")))
}

pub(crate) async fn unknown_path(uri: Uri) -> Failure {
    let message = format!("there is nothing at {}", uri.path());
    Failure::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
}

/// What a lead would get as its first frame, without a session: a client that asked for it just
/// before it reconnects would else jump to another one.
pub(crate) async fn init(uri: Uri) -> Json<Value> {
    let query = query_pairs(&uri);
    let agent = query.iter().find(|(name, _)| name == "agent");
    let role = match agent {
        Some((_, agent)) if !agent.is_empty() && agent != "lead" => "sub_agent",
        _ => "lead",
    };
    Json(json!({"type": "init", "role": role, "tools": [], "commands": [], "agents": []}))
}

pub(crate) async fn create(
    State(hub): Shared,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let mut spec = object(&body)?;
    record::check(&spec)?;
    let Some(Value::String(task)) = spec.remove("task") else {
        return Err(Failure::bad_request("task must be a string"));
    };
    workspaces::complete(&hub, &mut spec).await?;
    let row = hub.sessions.create(task, spec).await?;
    let spec = record::spec(&row);
    let answer = json!({
        "sessionId": row.id,
        "status": "created",
        "mode": "sandbox",
        "visibility": record::visibility(&spec),
    });
    Ok((StatusCode::CREATED, Json(answer)))
}

pub(crate) async fn list(State(hub): Shared, uri: Uri) -> Answer {
    let query = query_pairs(&uri);
    let (limit, offset) = paging(&query, LIST_MAX)?;
    let search = query.iter().find(|(name, _)| name == "search");
    let search = search.map_or_else(String::new, |(_, value)| value.clone());
    let archived = flag(&query, "includeArchived");
    let (rows, total) = hub
        .sessions
        .store
        .read(move |db| {
            let (rows, total) = list_sessions(db, &search, archived, limit, offset)?;
            let beside = |row: SessionRow| Ok((Beside::read(db, &row)?, row));
            let rows: rusqlite::Result<Vec<_>> = rows.into_iter().map(beside).collect();
            Ok((rows?, total))
        })
        .await?;
    let items = rows
        .iter()
        .map(|(beside, row)| Value::Object(record::item(&hub, row, *beside)));
    let items: Vec<Value> = items.collect();
    Ok(Json(
        json!({"sessions": {"websocket": items, "sandbox": []}, "total": total}),
    ))
}

pub(crate) async fn detail(State(hub): Shared, Path(id): Path<String>) -> Answer {
    let row = find(&hub, &id).await?;
    Ok(Json(Value::Object(record::detail(&hub, &row).await?)))
}

pub(crate) async fn update(State(hub): Shared, Path(id): Path<String>, body: Bytes) -> Answer {
    let changes = object(&body)?;
    record::check(&changes)?;
    let mut row = find(&hub, &id).await?;
    let answer = record::merge(&mut row, changes);
    row.updated_at = Clock.wall();
    hub.sessions.update(row).await?;
    Ok(Json(Value::Object(answer)))
}

pub(crate) async fn archive(State(hub): Shared, Path(id): Path<String>) -> Answer {
    let row = find(&hub, &id).await?;
    if !row.archived {
        hub.sessions.archive(row).await?;
    }
    Ok(Json(json!({"sessionId": id, "status": "archived"})))
}

/// Has a paused session led again, where the Hub can start what leads it; where it cannot, or the
/// start fails at once, that is the answer. `runtimeAvailable` says when the lead is there.
pub(crate) async fn resume(State(hub): Shared, Path(id): Path<String>) -> Answer {
    let mut row = find(&hub, &id).await?;
    if row.archived {
        let message = format!("session `{id}` is archived and cannot be resumed; create a new one");
        let code = "CODER_SESSION_ARCHIVED";
        return Err(Failure::new(StatusCode::BAD_REQUEST, code, message));
    }
    row.updated_at = Clock.wall();
    let standing = record::standing(&hub, &row);
    hub.sessions.update(row.clone()).await?;
    let mut status = standing.status();
    if standing == Standing::Paused {
        status = match waking::wake(&hub, &row).await? {
            Begun::Cannot => return Err(not_resumed(NOBODY)),
            Begun::TooSoon | Begun::Running => {
                waking::settle(&hub, &id)
                    .await
                    .map_err(|why| not_resumed(&why))?;
                match record::standing(&hub, &row) {
                    Standing::Paused => record::RESUMING,
                    led => led.status(),
                }
            }
        };
    }
    Ok(Json(
        json!({"sessionId": id, "status": status, "resumed": true}),
    ))
}

/// Why a session that has no lead from which it could be started cannot be resumed.
const NOBODY: &str = "this Hub knows nothing that could lead it (`wakeAvailable` is false); it goes \
                      on when its lead connects again: start that where it ran";

fn not_resumed(why: &str) -> Failure {
    // No 409 or 5xx: the official client takes those for passing and asks again.
    let (status, code) = (
        StatusCode::UNPROCESSABLE_ENTITY,
        "CODER_SESSION_NOT_RESUMED",
    );
    Failure::new(
        status,
        code,
        format!("the session cannot be resumed: {why}"),
    )
}

pub(crate) async fn delete(State(hub): Shared, Path(id): Path<String>) -> Answer {
    let row = find(&hub, &id).await?;
    hub.sessions.delete(row).await?;
    Ok(Json(json!({"sessionId": id, "status": "deleted"})))
}

pub(crate) async fn loop_state(State(hub): Shared, Path(id): Path<String>) -> Answer {
    let row = find(&hub, &id).await?;
    let spec = record::spec(&row);
    let mode = record::workflow_mode(&spec);
    let told = hub
        .sessions
        .room(&row)
        .await?
        .snapshot()
        .activity
        .loop_state;
    let asked = spec.get("loop").and_then(Value::as_object);
    let state = match (asked, told) {
        (None, None) => None,
        (asked, told) => {
            let nothing = Map::new();
            Some(loops::shown(asked.unwrap_or(&nothing), told.as_ref()))
        }
    };
    Ok(Json(
        json!({"sessionId": id, "workflowMode": mode, "loop": state}),
    ))
}
