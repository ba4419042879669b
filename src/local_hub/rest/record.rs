//! A session's record as list items and details show it, and as requests change it.
//!
//! Optional fields are absent, never null: the official schemas refuse nulls.

use rusqlite::Connection;
use serde_json::{Map, Value, json};

use super::Failure;
use super::shape::{self, Shape};
use crate::clock::{Timestamp, iso};
use crate::local_hub::room::Snapshot;
use crate::local_hub::server::Hub;
use crate::local_hub::sessions::last_activity;
use crate::local_hub::sse::with_iso;
use crate::local_hub::store::{SessionRow, StoreError, newest_event, participant_count};

/// The status of a paused session whose lead is being started.
pub(super) const RESUMING: &str = "resuming";

/// Where a session is in its life, as the public states derive from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// No lead has ever been there.
    Provisioning,
    /// A lead is connected, its agent at work or not.
    Running { busy: bool },
    /// The lead is gone.
    Paused,
    /// For reading only.
    Archived,
}

impl Standing {
    /// The standing of a session with that live side.
    pub(crate) fn of(row: &SessionRow, live: Option<&Snapshot>) -> Self {
        match live {
            _ if row.archived => Self::Archived,
            Some(live) if live.lead_connected => Self::Running {
                busy: live.is_streaming(),
            },
            _ if row.lead_seen => Self::Paused,
            _ => Self::Provisioning,
        }
    }

    pub(crate) const fn status(self) -> &'static str {
        match self {
            Self::Provisioning => "created",
            Self::Running { busy: true } => "active",
            Self::Running { busy: false } => "idle",
            Self::Paused => "paused",
            Self::Archived => "archived",
        }
    }

    const fn bucket(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Running { .. } => "running",
            Self::Paused => "paused",
            Self::Archived => "history",
        }
    }
}

/// The standing of a session right now.
pub(super) fn standing(hub: &Hub, row: &SessionRow) -> Standing {
    let live = hub.sessions.peek(&row.id).map(|room| room.snapshot());
    Standing::of(row, live.as_ref())
}

/// What the creator asked for.
pub(super) fn spec(row: &SessionRow) -> Map<String, Value> {
    serde_json::from_str(&row.spec).unwrap_or_default()
}

pub(super) fn visibility(spec: &Map<String, Value>) -> &str {
    text(spec, "visibility").unwrap_or("private")
}

pub(super) fn workflow_mode(spec: &Map<String, Value>) -> &str {
    text(spec, "workflowMode").unwrap_or("standard")
}

fn text<'a>(spec: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    spec.get(key).and_then(Value::as_str)
}

/// What a session's fields must be for answers to carry them back.
const FIELDS: &[(&str, Shape)] = &[
    ("label", Shape::Text),
    ("agent", Shape::Text),
    ("defaultAgent", Shape::Text),
    (
        "visibility",
        Shape::OneOf(&["private", "organization", "collaborate"]),
    ),
    ("workflowMode", Shape::OneOf(&["standard", "loop"])),
    ("tags", Shape::Texts),
    ("enabledAgents", Shape::Texts),
    ("savedSkillIds", Shape::Texts),
    ("skillBucketIds", Shape::Texts),
    ("workspaceId", Shape::Text),
    ("skills", Shape::Skills),
    ("repos", Shape::Objects),
    ("repo", Shape::Object),
    ("metadata", Shape::Object),
    ("env", Shape::Object),
    ("loop", Shape::Object),
];

/// Refuses fields of a type that answers could not carry back.
pub(super) fn check(fields: &Map<String, Value>) -> Result<(), Failure> {
    let mut fields = fields.clone();
    // That is how a default agent is taken away again.
    fields.retain(|key, value| !(key == "defaultAgent" && value.is_null()));
    shape::check(&fields, FIELDS)
}

/// Changes a record as a PATCH says; returns the answer.
pub(super) fn merge(row: &mut SessionRow, changes: Map<String, Value>) -> Map<String, Value> {
    let mut spec = spec(row);
    for (key, value) in changes {
        match key.as_str() {
            "label" => value
                .as_str()
                .unwrap_or_default()
                .clone_into(&mut row.label),
            "defaultAgent" if value.is_null() => {
                spec.remove("defaultAgent");
            }
            "agent" | "defaultAgent" | "visibility" | "workflowMode" | "loop" | "tags"
            | "enabledAgents" | "skills" | "metadata" | "savedSkillIds" | "skillBucketIds" => {
                spec.insert(key, value);
            }
            _ => {} // not something that can change
        }
    }
    let mut answer = Map::new();
    answer.insert("sessionId".into(), row.id.clone().into());
    answer.insert("label".into(), row.label.clone().into());
    answer.insert("visibility".into(), visibility(&spec).into());
    for key in [
        "tags",
        "skills",
        "defaultAgent",
        "enabledAgents",
        "metadata",
    ] {
        copy(&spec, key, &mut answer);
    }
    row.spec = Value::Object(spec).to_string();
    answer
}

fn copy(from: &Map<String, Value>, key: &str, to: &mut Map<String, Value>) {
    if let Some(value) = from.get(key).filter(|value| !value.is_null()) {
        to.insert(key.into(), value.clone());
    }
}

/// What other tables have of a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beside {
    newest: Option<(i64, Timestamp)>,
    /// How many have ever taken part.
    ever: u64,
}

impl Beside {
    pub(super) fn read(db: &Connection, row: &SessionRow) -> rusqlite::Result<Self> {
        Ok(Self {
            newest: newest_event(db, row.key)?,
            ever: participant_count(db, row.key)?,
        })
    }
}

/// A session as the list has it.
pub(super) fn item(hub: &Hub, row: &SessionRow, beside: Beside) -> Map<String, Value> {
    let live = hub.sessions.peek(&row.id).map(|room| room.snapshot());
    describe(hub, row, beside, live.as_ref())
}

fn describe(
    hub: &Hub,
    row: &SessionRow,
    beside: Beside,
    live: Option<&Snapshot>,
) -> Map<String, Value> {
    let spec = spec(row);
    let standing = Standing::of(row, live);
    let running = matches!(standing, Standing::Running { .. });
    let is_paused = standing == Standing::Paused;
    let is_resuming = is_paused && hub.waking.is_running(&row.id);
    let viewers = live.map_or(0, |live| {
        let all = live.participants.len();
        all.saturating_sub(usize::from(live.lead_connected))
    });
    let item = json!({
        "sessionId": row.id,
        "label": row.label,
        "status": if is_resuming { RESUMING } else { standing.status() },
        "mode": "sandbox",
        "visibility": visibility(&spec),
        "workflowMode": workflow_mode(&spec),
        "createdAt": iso(row.created_at),
        "lastActivityAt": iso(last_activity(row, beside.newest)),
        "taskCount": live.map_or(0, |live| live.activity.task_count()),
        "subAgentCount": live.map_or(0, |live| live.activity.sub_agent_count()),
        "observerCount": viewers,
        "participantCount": beside.ever,
        "tags": spec.get("tags").cloned().unwrap_or_else(|| json!([])),
        "skills": spec.get("skills").cloned().unwrap_or_else(|| json!([])),
        "bucket": standing.bucket(),
        "runtimeAvailable": running,
        "controlAvailable": running,
        "wakeAvailable": is_paused && hub.waking.is_possible(row),
        "historyOnly": standing == Standing::Archived,
        "liveExpected": standing != Standing::Archived,
    });
    let Value::Object(mut item) = item else {
        return Map::new();
    };
    for key in [
        "repo",
        "repos",
        "enabledAgents",
        "defaultAgent",
        "workspace",
        "builder",
    ] {
        copy(&spec, key, &mut item);
    }
    if let Some(told) = live.and_then(|live| live.activity.loop_state.as_ref()) {
        for (from, to) in [("status", "loopStatus"), ("iteration", "loopIteration")] {
            if let Some(value) = told.get(from) {
                item.insert(to.into(), value.clone());
            }
        }
    }
    item
}

/// A session with all that is known of it, among it what a lead has to clone.
pub(super) async fn detail(hub: &Hub, row: &SessionRow) -> Result<Map<String, Value>, StoreError> {
    let live = hub.sessions.room(row).await?.snapshot();
    let session = row.clone();
    let reading = hub
        .sessions
        .store
        .read(move |db| Beside::read(db, &session));
    let mut detail = describe(hub, row, reading.await?, Some(&live));
    let spec = spec(row);
    for key in [
        "env",
        "metadata",
        "agent",
        "branch",
        "workspaceId",
        "loop",
        "dependencies",
        "setupScript",
        "systemPrompt",
        "systemPromptMode",
    ] {
        copy(&spec, key, &mut detail);
    }
    let participants: Vec<Value> = live.participants.iter().map(with_iso).collect();
    let more = [
        ("task", row.task.clone().into()),
        ("updatedAt", iso(row.updated_at).into()),
        ("tasks", live.activity.tasks()),
        ("participants", participants.into()),
        ("agentActivity", live.activity.agents()),
    ];
    detail.extend(more.map(|(key, value)| (key.to_owned(), value)));
    if let (false, Some(why)) = (live.lead_connected, hub.waking.failure(&row.id)) {
        detail.insert("error".into(), why.into());
    }
    Ok(detail)
}
