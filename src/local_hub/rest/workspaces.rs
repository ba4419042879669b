//! Workspaces: repositories, skills, a setup script and a prompt that sessions are made from.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::library::{self, OWNER, all, find, fresh, put, shown, take, text, texts};
use super::shape::{Shape, check, require};
use super::skills::{known_skills, references};
use super::{Answer, Failure, Shared, object};
use crate::clock::Clock;
use crate::clock::iso;
use crate::local_hub::server::Hub;
use crate::local_hub::store::{Kind, Record};

const FIELDS: &[(&str, Shape)] = &[
    ("name", Shape::Filled),
    ("description", Shape::Text),
    ("scope", Shape::OneOf(&["user", "org"])),
    ("repos", Shape::Objects),
    ("dependencies", Shape::Texts),
    ("setupScript", Shape::Text),
    ("systemPrompt", Shape::Text),
    ("systemPromptMode", Shape::OneOf(&["append", "overwrite"])),
    ("savedSkillIds", Shape::Texts),
    ("skillBucketIds", Shape::Texts),
    ("enabledAgents", Shape::Texts),
];

/// What a workspace selects: one of them has to be there, or it is no workspace.
const SELECTIONS: [&str; 7] = [
    "repos",
    "dependencies",
    "setupScript",
    "systemPrompt",
    "savedSkillIds",
    "skillBucketIds",
    "enabledAgents",
];

pub(crate) async fn list(State(hub): Shared) -> Answer {
    let workspaces = all(&hub, Kind::Workspace).await?;
    let workspaces: Vec<_> = workspaces.iter().map(detail).collect();
    Ok(Json(json!({"workspaces": workspaces})))
}

pub(crate) async fn create(
    State(hub): Shared,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let fields = object(&body)?;
    require(&fields, &["name"])?;
    let body = changed(&hub, Map::new(), fields).await?;
    let record = fresh("workspace", text(&body, "name"), body);
    let record = put(&hub, Kind::Workspace, "workspace", record).await?;
    let answer = json!({"workspace": detail(&record)});
    Ok((StatusCode::CREATED, Json(answer)))
}

pub(crate) async fn show(State(hub): Shared, Path(id): Path<String>) -> Answer {
    let record = find(&hub, Kind::Workspace, "workspace", &id).await?;
    Ok(Json(json!({"workspace": detail(&record)})))
}

pub(crate) async fn update(State(hub): Shared, Path(id): Path<String>, body: Bytes) -> Answer {
    let fields = object(&body)?;
    let mut record = find(&hub, Kind::Workspace, "workspace", &id).await?;
    record.body = changed(&hub, record.body, fields).await?;
    record.name = text(&record.body, "name");
    record.updated_at = Clock.wall();
    let record = put(&hub, Kind::Workspace, "workspace", record).await?;
    Ok(Json(json!({"workspace": detail(&record)})))
}

pub(crate) async fn remove(State(hub): Shared, Path(id): Path<String>) -> Answer {
    library::delete(&hub, Kind::Workspace, "workspace", &id).await?;
    Ok(Json(json!({"ok": true})))
}

/// There are no snapshots here: each session prepares its own workspace when it starts, and the
/// answer says so.
pub(crate) async fn refresh_snapshot(State(hub): Shared, Path(id): Path<String>) -> Answer {
    let record = find(&hub, Kind::Workspace, "workspace", &id).await?;
    let mut detail = detail(&record);
    let snapshot = json!({
        "status": "unavailable",
        "updatedAt": iso(Clock.wall()),
        "error": "this Hub makes no snapshots; each session prepares its workspace when it starts",
    });
    detail.insert("snapshot".into(), snapshot);
    Ok(Json(json!({"workspace": detail})))
}

/// Checks how packages are written; whether there are such packages, a session's setup shows.
pub(crate) async fn validate_dependencies(body: Bytes) -> Answer {
    let fields = object(&body)?;
    require(&fields, &["dependencies"])?;
    check(&fields, &[("dependencies", Shape::Texts)])?;
    let (mut valid, mut invalid) = (Vec::new(), Vec::new());
    for package in texts(&fields, "dependencies") {
        if is_package(&package) {
            valid.push(package);
        } else {
            invalid.push(json!({
                "package": package,
                "error": "not a package name: lower-case letters, digits, + - and ., then an optional =VERSION",
                "searchUrl": "https://packages.debian.org/",
            }));
        }
    }
    Ok(Json(
        json!({"success": true, "data": {"valid": valid, "invalid": invalid}}),
    ))
}

/// Debian Policy 5.6.1 and 5.6.12.
fn is_package(spec: &str) -> bool {
    let (name, version) = match spec.split_once('=') {
        Some((name, version)) => (name, Some(version)),
        None => (spec, None),
    };
    let of = |text: &str, more: &str| {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(c);
        text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(legal)
    };
    let is_version = |text: &str| of(&text.to_ascii_lowercase(), ".+-~:");
    name.len() > 1 && of(name, "+-.") && version.is_none_or(is_version)
}

async fn changed(
    hub: &Hub,
    mut body: Map<String, Value>,
    mut fields: Map<String, Value>,
) -> Result<Map<String, Value>, Failure> {
    check(&fields, FIELDS)?;
    let names: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
    if !names.iter().any(|name| fields.contains_key(*name)) {
        return Err(Failure::bad_request(format!(
            "nothing to change; name at least one of {}",
            names.join(", ")
        )));
    }
    take(&mut fields, &names, &mut body);
    if !SELECTIONS.iter().any(|name| is_filled(body.get(*name))) {
        return Err(Failure::bad_request(format!(
            "a workspace needs at least one of {}",
            SELECTIONS.join(", ")
        )));
    }
    let skills = all(hub, Kind::Skill).await?;
    known_skills(&skills, &texts(&body, "savedSkillIds"))?;
    Ok(body)
}

fn is_filled(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::String(text)) => !text.trim().is_empty(),
        _ => false,
    }
}

fn detail(record: &Record) -> Map<String, Value> {
    let count = |name: &str| {
        let list = record.body.get(name).and_then(Value::as_array);
        list.map_or(0, Vec::len)
    };
    let lists = ["repos", "savedSkillIds", "skillBucketIds", "enabledAgents"];
    let mut detail = shown(record);
    for list in lists {
        detail.entry(list).or_insert_with(|| json!([]));
    }
    detail.entry("scope").or_insert_with(|| "user".into());
    detail.insert("ownerUserId".into(), OWNER.into());
    detail.insert("repoCount".into(), count("repos").into());
    let selections: usize = lists.into_iter().map(count).sum();
    detail.insert("selectionCount".into(), selections.into());
    detail
}

/// Completes a create request with what its workspace, saved skills and buckets stand for. What the
/// request itself says comes first; later changes of the library do not reach the session.
pub(super) async fn complete(hub: &Hub, spec: &mut Map<String, Value>) -> Result<(), Failure> {
    let mut skill_ids = texts(spec, "savedSkillIds");
    let mut bucket_ids = texts(spec, "skillBucketIds");
    if let Some(id) = spec.get("workspaceId").and_then(Value::as_str) {
        let Ok(workspace) = find(hub, Kind::Workspace, "workspace", id).await else {
            let hint = "GET /api/hub/workspaces lists them";
            let message = format!("there is no workspace `{id}`; {hint}");
            return Err(Failure::bad_request(message));
        };
        skill_ids.extend(texts(&workspace.body, "savedSkillIds"));
        bucket_ids.extend(texts(&workspace.body, "skillBucketIds"));
        inherit(&workspace, spec);
    }
    let mut found = references(hub, &skill_ids, &bucket_ids).await?;
    if !found.is_empty() {
        let named = spec.get("skills").and_then(Value::as_array).cloned();
        let mut skills = named.unwrap_or_default();
        found.retain(|skill| !skills.contains(skill));
        skills.extend(found);
        spec.insert("skills".into(), skills.into());
    }
    Ok(())
}

fn inherit(workspace: &Record, spec: &mut Map<String, Value>) {
    let names_repo = ["repo", "repos"].iter().any(|key| spec.contains_key(*key));
    if let Some(repos) = workspace.body.get("repos").filter(|_| !names_repo) {
        if let Some(first) = repos.get(0) {
            spec.insert("repo".into(), first.clone());
        }
        spec.insert("repos".into(), repos.clone());
    }
    for key in [
        "enabledAgents",
        "dependencies",
        "setupScript",
        "systemPrompt",
        "systemPromptMode",
    ] {
        if let Some(value) = workspace.body.get(key).filter(|_| !spec.contains_key(key)) {
            spec.insert(key.to_owned(), value.clone());
        }
    }
    let scope = workspace.body.get("scope").cloned();
    let shown = json!({
        "id": workspace.id,
        "name": workspace.name,
        "scope": scope.unwrap_or_else(|| "user".into()),
    });
    spec.insert("workspace".into(), shown);
}

#[cfg(test)]
mod tests {
    use super::is_package;

    #[test]
    fn packages_are_written_as_debian_writes_them() {
        for good in [
            "git",
            "libssl3",
            "g++",
            "ca-certificates",
            "curl=7.88.1-10+deb12u5",
        ] {
            assert!(is_package(good), "{good}");
        }
        for bad in ["", "Git", "a b", "-rf", "git;id", "git=", "x"] {
            assert!(!is_package(bad), "{bad}");
        }
    }
}
