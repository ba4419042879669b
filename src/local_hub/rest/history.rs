//! What has happened in a session: the conversation, the events, who took part.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Answer, Failure, LIST_MAX, Shared, find, flag, number, paging, query_pairs};
use crate::clock::iso;
use crate::local_hub::filter::category;
use crate::local_hub::store::{self, EventPage, EventRow, Of};

/// Events in a page when the caller names no number.
const EVENTS_DEFAULT: u32 = 200;

/// `GET …/replay`.
pub(crate) async fn replay(State(hub): Shared, Path(id): Path<String>, uri: Uri) -> Answer {
    let row = find(&hub, &id).await?;
    let query = query_pairs(&uri);
    let offset = number(&query, "offset")?.unwrap_or(0);
    let limit = number(&query, "limit")?.unwrap_or(u64::MAX);
    let conversation = hub.sessions.conversation(row.key, i64::MAX).await?;
    let (of_file, of_events) = (conversation.of_file.len(), conversation.of_events.len());
    let page = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let entries: Vec<Value> = conversation
        .entries()
        .into_iter()
        .skip(page(offset))
        .take(page(limit))
        .collect();
    let source = match (of_file, of_events) {
        (0, 0) => "none",
        (_, 0) => "session_entries",
        _ => "event_history",
    };
    Ok(Json(json!({
        "sessionId": id,
        "entriesSource": source,
        "sourceCounts": {"durableStream": 0, "sessionEntries": of_file, "eventHistory": of_events},
        "entries": entries,
    })))
}

/// `GET …/file`: the session file that was written to last. Not among the official routes: it lets
/// a lead in a fresh place go on with the file.
pub(crate) async fn session_file(State(hub): Shared, Path(id): Path<String>) -> Answer {
    let row = find(&hub, &id).await?;
    let file = hub.sessions.file(row.key).await?;
    let Some((path, content)) = file else {
        let message = format!("session `{id}` has no session file");
        return Err(Failure::new(StatusCode::NOT_FOUND, "NOT_FOUND", message));
    };
    Ok(Json(
        json!({"sessionId": id, "path": path, "content": content}),
    ))
}

/// `GET …/participants`.
pub(crate) async fn participants(State(hub): Shared, Path(id): Path<String>, uri: Uri) -> Answer {
    let row = find(&hub, &id).await?;
    let query = query_pairs(&uri);
    let (limit, offset) = paging(&query, LIST_MAX)?;
    let gone_too = flag(&query, "includeDisconnected");
    let rows = hub
        .sessions
        .store
        .read(move |db| store::participants(db, row.key, gone_too, limit, offset))
        .await?;
    let participants: Vec<Value> = rows
        .iter()
        .map(|row| {
            let connected = iso(row.connected_at);
            let mut participant = json!({
                "id": row.id,
                // The public schema knows no other roles of participants.
                "role": if row.role == "sub_agent" { "lead" } else { row.role.as_str() },
                "transport": row.transport,
                "connectedAt": connected,
            });
            if let (Some(gone), Some(fields)) = (row.disconnected_at, participant.as_object_mut()) {
                fields.insert("disconnectedAt".into(), iso(gone).into());
            }
            participant
        })
        .collect();
    Ok(Json(json!({"sessionId": id, "participants": participants})))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct History {
    session_id: String,
    events: Vec<HistoryEvent>,
    total: u64,
    limit: u32,
    offset: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HistoryEvent {
    id: i64,
    category: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<String>,
    payload: Box<RawValue>,
    occurred_at: String,
    ingested_at: String,
    event: String,
}

/// The two fields that history lifts out of the payload.
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lifted {
    agent: Option<Value>,
    agent_name: Option<Value>,
    agent_role: Option<Value>,
    task_id: Option<Value>,
}

impl From<EventRow> for HistoryEvent {
    fn from(row: EventRow) -> Self {
        let lifted: Lifted = serde_json::from_str(&row.data).unwrap_or_default();
        let text = |value: Option<Value>| value.and_then(|value| Some(value.as_str()?.to_owned()));
        let agents = [lifted.agent, lifted.agent_name, lifted.agent_role];
        Self {
            id: row.id,
            category: category(&row.name).to_owned(),
            agent: agents.into_iter().find_map(text),
            task_id: text(lifted.task_id),
            payload: RawValue::from_string(row.data).unwrap_or_default(),
            occurred_at: iso(row.at),
            ingested_at: iso(row.at),
            event: row.name,
        }
    }
}

/// `GET …/events/history`: the newest, or backwards from those by `beforeId`, or from the oldest by
/// `offset`; either way a page is oldest first. The official clients ask for one page, by its size
/// alone, to show what has happened last.
pub(crate) async fn event_history(
    State(hub): Shared,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<axum::response::Response, Failure> {
    let row = find(&hub, &id).await?;
    let query = query_pairs(&uri);
    let (limit, offset) = paging(&query, EVENTS_DEFAULT)?;
    let before = number(&query, "beforeId")?;
    let upto = before.map_or(i64::MAX, |id| i64::try_from(id).unwrap_or(i64::MAX) - 1);
    let page = EventPage {
        after: 0,
        upto,
        limit,
        offset,
        newest: before.is_some() || !query.iter().any(|(name, _)| name == "offset"),
        of: Of::All,
    };
    let (rows, total) = hub
        .sessions
        .store
        .read(move |db| {
            let rows = store::events(db, row.key, page)?;
            Ok((rows, store::event_count(db, row.key)?))
        })
        .await?;
    let history = History {
        session_id: id,
        events: rows.into_iter().map(HistoryEvent::from).collect(),
        total,
        limit,
        offset,
    };
    Ok(axum::response::IntoResponse::into_response(Json(history)))
}
