//! The library of skills, and buckets of them.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::library::{all, delete, fresh, put, shown, take, text, texts};
use super::shape::{Shape, check, require};
use super::{Answer, Failure, Shared, object};
use crate::local_hub::server::Hub;
use crate::local_hub::store::{Kind, Record};

const FIELDS: &[(&str, Shape)] = &[
    ("repo", Shape::Filled),
    ("skillId", Shape::Filled),
    ("name", Shape::Filled),
    ("description", Shape::Text),
    ("url", Shape::Text),
    ("source", Shape::Text),
    ("content", Shape::Text),
];

const BUCKET_FIELDS: &[(&str, Shape)] = &[
    ("name", Shape::Filled),
    ("description", Shape::Text),
    ("savedSkillIds", Shape::Texts),
];

pub(crate) async fn list(State(hub): Shared) -> Answer {
    let skills = all(&hub, Kind::Skill).await?;
    let skills: Vec<_> = skills.iter().map(shown).collect();
    Ok(Json(json!({"skills": skills})))
}

/// Saves a skill; one that is there already, by repository and id, is brought up to date.
pub(crate) async fn save(
    State(hub): Shared,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let mut fields = object(&body)?;
    require(&fields, &["repo", "skillId", "name"])?;
    check(&fields, FIELDS)?;
    let mut skill = Map::new();
    skill.insert("source".into(), "registry".into());
    let names: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
    take(&mut fields, &names, &mut skill);
    if text(&skill, "source") == "custom" && text(&skill, "content").trim().is_empty() {
        return Err(Failure::bad_request("content must be the skill's SKILL.md"));
    }
    let name = format!("{}/{}", text(&skill, "repo"), text(&skill, "skillId"));
    let known = all(&hub, Kind::Skill).await?;
    let mut record = fresh("skill", name.clone(), skill);
    if let Some(known) = known.into_iter().find(|known| known.name == name) {
        record.id = known.id;
        record.created_at = known.created_at;
    }
    let record = put(&hub, Kind::Skill, "skill", record).await?;
    Ok((StatusCode::CREATED, Json(json!({"skill": shown(&record)}))))
}

pub(crate) async fn remove(State(hub): Shared, Path(id): Path<String>) -> Answer {
    delete(&hub, Kind::Skill, "skill", &id).await?;
    Ok(Json(json!({"ok": true})))
}

pub(crate) async fn buckets(State(hub): Shared) -> Answer {
    let skills = all(&hub, Kind::Skill).await?;
    let buckets = all(&hub, Kind::Bucket).await?;
    let buckets: Vec<_> = buckets
        .iter()
        .map(|bucket| shown_bucket(bucket, &skills))
        .collect();
    Ok(Json(json!({"buckets": buckets})))
}

pub(crate) async fn create_bucket(
    State(hub): Shared,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let mut fields = object(&body)?;
    require(&fields, &["name"])?;
    check(&fields, BUCKET_FIELDS)?;
    let skills = all(&hub, Kind::Skill).await?;
    known_skills(&skills, &texts(&fields, "savedSkillIds"))?;
    let mut bucket = Map::new();
    take(
        &mut fields,
        &["name", "description", "savedSkillIds"],
        &mut bucket,
    );
    let bucket = fresh("bucket", text(&bucket, "name"), bucket);
    let bucket = put(&hub, Kind::Bucket, "bucket", bucket).await?;
    let answer = json!({"bucket": shown_bucket(&bucket, &skills)});
    Ok((StatusCode::CREATED, Json(answer)))
}

pub(crate) async fn remove_bucket(State(hub): Shared, Path(id): Path<String>) -> Answer {
    delete(&hub, Kind::Bucket, "bucket", &id).await?;
    Ok(Json(json!({"ok": true})))
}

/// What a client that keeps skills on its own disk writes there.
pub(crate) async fn files(State(hub): Shared) -> Answer {
    let skills = all(&hub, Kind::Skill).await?;
    let files: Vec<Value> = skills
        .iter()
        .filter(|skill| skill.body.contains_key("content"))
        .map(|skill| {
            let id = text(&skill.body, "skillId");
            json!({"path": format!("{id}/SKILL.md"), "content": skill.body.get("content")})
        })
        .collect();
    Ok(Json(
        json!({"ok": true, "count": files.len(), "skills": files}),
    ))
}

/// A bucket with its skills; those that were removed from the library are in it no more.
fn shown_bucket(bucket: &Record, skills: &[Record]) -> Map<String, Value> {
    let mut answer = shown(bucket);
    answer.remove("savedSkillIds");
    let skills: Vec<_> = texts(&bucket.body, "savedSkillIds")
        .into_iter()
        .filter_map(|id| skills.iter().find(|skill| skill.id == *id))
        .map(shown)
        .collect();
    answer.insert("skillCount".into(), skills.len().into());
    answer.insert("skills".into(), json!(skills));
    answer
}

pub(super) fn known_skills(skills: &[Record], ids: &[String]) -> Result<(), Failure> {
    let unknown = |id: &&String| !skills.iter().any(|skill| skill.id == **id);
    match ids.iter().find(unknown) {
        Some(id) => Err(Failure::bad_request(format!(
            "there is no saved skill `{id}`; GET /api/hub/skills/library lists them"
        ))),
        None => Ok(()),
    }
}

/// References to saved skills and those of buckets, each once, as sessions and agents carry them:
/// what the library holds later does not change them.
pub(super) async fn references(
    hub: &Hub,
    skill_ids: &[String],
    bucket_ids: &[String],
) -> Result<Vec<Value>, Failure> {
    let skills = all(hub, Kind::Skill).await?;
    known_skills(&skills, skill_ids)?;
    let buckets = all(hub, Kind::Bucket).await?;
    let mut ids = skill_ids.to_vec();
    for id in bucket_ids {
        let bucket = buckets.iter().find(|bucket| bucket.id == *id);
        let bucket = bucket.ok_or_else(|| {
            let hint = "GET /api/hub/skills/buckets lists them";
            Failure::bad_request(format!("there is no skill bucket `{id}`; {hint}"))
        })?;
        ids.extend(texts(&bucket.body, "savedSkillIds"));
    }
    let mut references = Vec::new();
    for (place, id) in ids.iter().enumerate() {
        let is_first = ids.iter().position(|other| other == id) == Some(place);
        let skill = skills.iter().find(|skill| skill.id == *id);
        if let Some(skill) = skill.filter(|_| is_first) {
            let mut body = skill.body.clone();
            let mut reference = Map::new();
            let names = ["skillId", "repo", "name", "url", "content"];
            take(&mut body, &names, &mut reference);
            references.push(Value::Object(reference));
        }
    }
    Ok(references)
}
