//! Sessions in which somebody writes an agent.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::library::{find as find_record, text};
use super::record::visibility;
use super::shape::{Shape, check};
use super::{Failure, Shared, find, object};
use crate::local_hub::server::Hub;
use crate::local_hub::store::Kind;

const FIELDS: &[(&str, Shape)] = &[
    ("label", Shape::Text),
    ("prompt", Shape::Text),
    ("mode", Shape::OneOf(&["new", "edit", "from_session"])),
    (
        "visibility",
        Shape::OneOf(&["private", "organization", "collaborate"]),
    ),
    ("sourceSessionId", Shape::Text),
    ("targetAgentId", Shape::Text),
    ("targetAgentSlug", Shape::Text),
];

/// `POST /hub/session/builder`.
pub(crate) async fn create(
    State(hub): Shared,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let fields = object(&body)?;
    check(&fields, FIELDS)?;
    let builder = describe(&hub, &fields).await?;
    let task = match text(&fields, "prompt") {
        prompt if prompt.trim().is_empty() => "Write a custom agent.".to_owned(),
        prompt => prompt,
    };
    let mut spec = Map::new();
    for key in ["label", "visibility"] {
        if let Some(value) = fields.get(key) {
            spec.insert(key.into(), value.clone());
        }
    }
    spec.insert("builder".into(), builder);
    let visibility = visibility(&spec).to_owned();
    let row = hub.sessions.create(task, spec).await?;
    let answer = json!({
        "sessionId": row.id,
        "status": "created",
        "mode": "sandbox",
        "visibility": visibility,
    });
    Ok((StatusCode::CREATED, Json(answer)))
}

async fn describe(hub: &Hub, fields: &Map<String, Value>) -> Result<Value, Failure> {
    let source = text(fields, "sourceSessionId");
    let target = match text(fields, "targetAgentId") {
        id if id.trim().is_empty() => text(fields, "targetAgentSlug"),
        id => id,
    };
    let mode = match text(fields, "mode").as_str() {
        "" if !source.is_empty() => "from_session",
        "" if !target.is_empty() => "edit",
        "" | "new" => "new",
        "edit" => "edit",
        _ => "from_session",
    };
    let mut builder = Map::new();
    builder.insert("mode".into(), mode.into());
    if mode == "from_session" {
        if source.trim().is_empty() {
            let message = "sourceSessionId is missing: which session is the agent made from?";
            return Err(Failure::bad_request(message));
        }
        let row = find(hub, &source).await?;
        let from = json!({"sessionId": row.id, "label": row.label});
        builder.insert("sourceSession".into(), from);
    }
    if mode == "edit" {
        if target.trim().is_empty() {
            let message = "targetAgentId or targetAgentSlug is missing: which agent is edited?";
            return Err(Failure::bad_request(message));
        }
        let agent = find_record(hub, Kind::Agent, "agent", &target).await?;
        let edited = json!({
            "agentId": agent.id,
            "slug": agent.name,
            "displayName": text(&agent.body, "displayName"),
        });
        builder.insert("targetAgent".into(), edited);
    }
    Ok(Value::Object(builder))
}
