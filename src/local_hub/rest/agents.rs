//! Agents that people write: a draft that changes, and versions of it as they were published.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use serde_json::{Map, Value, json};

use super::library::{OWNER, all, find, fresh, put, shown, take, text, texts};
use super::shape::{Shape, check, require};
use super::skills::references;
use super::{Answer, Failure, Shared, flag, object, query_pairs};
use crate::clock::Clock;
use crate::clock::iso;
use crate::local_hub::server::Hub;
use crate::local_hub::store::{Kind, Record};

const LEVELS: &[&str] = &["off", "minimal", "low", "medium", "high", "xhigh"];

const FIELDS: &[(&str, Shape)] = &[
    ("slug", Shape::Filled),
    ("displayName", Shape::Filled),
    ("description", Shape::Text),
    ("instructions", Shape::Text),
    ("model", Shape::Text),
    ("thinkingLevel", Shape::OneOf(LEVELS)),
    ("headlessCompatible", Shape::Flag),
    ("tools", Shape::Texts),
    ("serviceTools", Shape::Texts),
    ("savedSkillIds", Shape::Texts),
    ("companionAgents", Shape::Texts),
];

/// Fields that a PATCH may take away with null.
const OPTIONAL: &[&str] = &["description", "model", "thinkingLevel"];

/// The fields of a draft as it is stored; skills are stored as references.
const DRAFT: &[&str] = &[
    "slug",
    "displayName",
    "description",
    "instructions",
    "model",
    "thinkingLevel",
    "headlessCompatible",
    "tools",
    "serviceTools",
    "companionAgents",
];

pub(crate) async fn list(State(hub): Shared, uri: Uri) -> Answer {
    let archived_too = flag(&query_pairs(&uri), "includeArchived");
    let versions = all(&hub, Kind::AgentVersion).await?;
    let agents = all(&hub, Kind::Agent).await?;
    let agents: Vec<_> = agents
        .iter()
        .filter(|agent| archived_too || !is_archived(agent))
        .map(|agent| detail(agent, &versions))
        .collect();
    Ok(Json(json!({"agents": agents})))
}

pub(crate) async fn create(
    State(hub): Shared,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let fields = object(&body)?;
    require(&fields, &["slug", "displayName", "instructions"])?;
    let mut draft = Map::new();
    draft.insert("headlessCompatible".into(), true.into());
    for list in ["tools", "serviceTools", "savedSkills", "companionAgents"] {
        draft.insert(list.into(), json!([]));
    }
    let body = changed(&hub, draft, fields).await?;
    let record = fresh("agent", text(&body, "slug"), body);
    let agent = put(&hub, Kind::Agent, "agent", record).await?;
    let answer = json!({"agent": detail(&agent, &[])});
    Ok((StatusCode::CREATED, Json(answer)))
}

pub(crate) async fn show(State(hub): Shared, Path(id): Path<String>) -> Answer {
    let agent = find(&hub, Kind::Agent, "agent", &id).await?;
    answer(&hub, &agent).await
}

pub(crate) async fn update(State(hub): Shared, Path(id): Path<String>, body: Bytes) -> Answer {
    let fields = object(&body)?;
    let mut agent = find(&hub, Kind::Agent, "agent", &id).await?;
    agent.body = changed(&hub, agent.body, fields).await?;
    agent.name = text(&agent.body, "slug");
    agent.updated_at = Clock.wall();
    let agent = put(&hub, Kind::Agent, "agent", agent).await?;
    answer(&hub, &agent).await
}

/// Publishes the draft as its next version, unless it is published as it is.
pub(crate) async fn publish(State(hub): Shared, Path(id): Path<String>) -> Answer {
    let mut agent = find(&hub, Kind::Agent, "agent", &id).await?;
    let versions = all(&hub, Kind::AgentVersion).await?;
    let latest = latest(&agent, &versions);
    if latest.is_none_or(|latest| snapshot(&latest.body) != snapshot(&agent.body)) {
        let number = latest.map_or(0, version) + 1;
        let mut body = snapshot(&agent.body);
        body.insert("agentId".into(), agent.id.clone().into());
        body.insert("version".into(), number.into());
        body.insert("createdByUserId".into(), OWNER.into());
        let record = fresh("agentver", format!("{}/{number}", agent.id), body);
        put(&hub, Kind::AgentVersion, "version", record).await?;
    }
    agent.body.remove("archived");
    let agent = put(&hub, Kind::Agent, "agent", agent).await?;
    answer(&hub, &agent).await
}

pub(crate) async fn archive(State(hub): Shared, Path(id): Path<String>) -> Answer {
    let mut agent = find(&hub, Kind::Agent, "agent", &id).await?;
    agent.body.insert("archived".into(), true.into());
    agent.updated_at = Clock.wall();
    let agent = put(&hub, Kind::Agent, "agent", agent).await?;
    answer(&hub, &agent).await
}

/// The published versions, newest first.
pub(crate) async fn versions(State(hub): Shared, Path(id): Path<String>) -> Answer {
    let agent = find(&hub, Kind::Agent, "agent", &id).await?;
    let versions = all(&hub, Kind::AgentVersion).await?;
    let mut own: Vec<_> = of(&agent, &versions).map(shown).collect();
    own.reverse();
    Ok(Json(json!({"versions": own})))
}

/// The published agents among these names, as a lead's `init` carries them: all published ones where
/// nobody chose any.
pub(crate) async fn offered(hub: &Hub, chosen: Option<&Value>) -> Result<Vec<Value>, Failure> {
    let chosen = chosen.and_then(Value::as_array);
    let versions = all(hub, Kind::AgentVersion).await?;
    let agents = all(hub, Kind::Agent).await?;
    let is_chosen = |agent: &&Record| {
        let named = |list: &Vec<Value>| list.iter().any(|name| *name == agent.name.as_str());
        !is_archived(agent) && chosen.is_none_or(named)
    };
    let published = agents
        .iter()
        .filter(is_chosen)
        .filter_map(|agent| latest(agent, &versions));
    Ok(published.map(|version| offer(&version.body)).collect())
}

fn offer(version: &Map<String, Value>) -> Value {
    let mut offer = Map::new();
    let description = match text(version, "description") {
        empty if empty.is_empty() => text(version, "displayName"),
        description => description,
    };
    for (key, value) in [
        ("name", text(version, "slug")),
        ("description", description),
        ("systemPrompt", text(version, "instructions")),
        ("displayName", text(version, "displayName")),
        ("source", "custom".to_owned()),
    ] {
        offer.insert(key.into(), value.into());
    }
    let mut version = version.clone();
    take(
        &mut version,
        &["model", "thinkingLevel", "tools"],
        &mut offer,
    );
    Value::Object(offer)
}

async fn changed(
    hub: &Hub,
    mut body: Map<String, Value>,
    mut fields: Map<String, Value>,
) -> Result<Map<String, Value>, Failure> {
    let mut given = fields.clone();
    given.retain(|key, value| !(value.is_null() && OPTIONAL.contains(&key.as_str())));
    check(&given, FIELDS)?;
    if fields.contains_key("savedSkillIds") {
        let skills = references(hub, &texts(&fields, "savedSkillIds"), &[]).await?;
        body.insert("savedSkills".into(), skills.into());
    }
    take(&mut fields, DRAFT, &mut body);
    Ok(body)
}

async fn answer(hub: &Hub, agent: &Record) -> Answer {
    let versions = all(hub, Kind::AgentVersion).await?;
    Ok(Json(json!({"agent": detail(agent, &versions)})))
}

fn is_archived(agent: &Record) -> bool {
    agent.body.contains_key("archived")
}

fn of<'a>(agent: &'a Record, versions: &'a [Record]) -> impl Iterator<Item = &'a Record> {
    versions
        .iter()
        .filter(|version| version.body.get("agentId").and_then(Value::as_str) == Some(&agent.id))
}

/// Versions are stored in the order of their numbers.
fn latest<'a>(agent: &'a Record, versions: &'a [Record]) -> Option<&'a Record> {
    of(agent, versions).last()
}

fn version(record: &Record) -> u64 {
    let number = record.body.get("version").and_then(Value::as_u64);
    number.unwrap_or_default()
}

/// What makes an agent what it is.
fn snapshot(body: &Map<String, Value>) -> Map<String, Value> {
    let mut snapshot = Map::new();
    let mut body = body.clone();
    take(&mut body, DRAFT, &mut snapshot);
    take(&mut body, &["savedSkills"], &mut snapshot);
    snapshot
}

fn detail(agent: &Record, versions: &[Record]) -> Map<String, Value> {
    let latest = latest(agent, versions);
    let mut detail = shown(agent);
    detail.remove("archived");
    let lifecycle = match latest {
        _ if is_archived(agent) => "archived",
        Some(_) => "published",
        None => "draft",
    };
    let visibility = if latest.is_some() {
        "org"
    } else {
        "private_draft"
    };
    let differs = latest.is_none_or(|latest| snapshot(&latest.body) != snapshot(&agent.body));
    for (key, value) in [
        ("ownerUserId", Value::from(OWNER)),
        ("lifecycle", lifecycle.into()),
        ("visibility", visibility.into()),
        ("hasPublishedVersion", latest.is_some().into()),
        ("hasUnpublishedChanges", differs.into()),
        ("draft", snapshot(&agent.body).into()),
    ] {
        detail.insert(key.into(), value);
    }
    if let Some(latest) = latest {
        detail.insert("latestPublishedVersion".into(), version(latest).into());
        detail.insert("latestPublishedAt".into(), iso(latest.created_at).into());
        detail.insert("published".into(), shown(latest).into());
    }
    detail
}
