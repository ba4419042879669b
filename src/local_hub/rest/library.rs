//! What every kind of record in the library has in common: finding, storing, removing.

use axum::http::StatusCode;
use serde_json::{Map, Value};

use super::Failure;
use crate::clock::Clock;
use crate::clock::iso;
use crate::local_hub::server::Hub;
use crate::local_hub::store::{Kind, Record, delete_record, find_record, list_records, put_record};

/// Who owns everything: this Hub knows one user.
pub(super) const OWNER: &str = "local";

/// A record that is not stored yet.
pub(super) fn fresh(prefix: &str, name: String, body: Map<String, Value>) -> Record {
    let now = Clock.wall();
    Record {
        id: format!("{prefix}_{}", Clock.new_uuid().simple()),
        name,
        created_at: now,
        updated_at: now,
        body,
    }
}

/// Stores it; `what` is the word for one of its kind.
pub(super) async fn put(
    hub: &Hub,
    kind: Kind,
    what: &str,
    record: Record,
) -> Result<Record, Failure> {
    let store = &hub.sessions.store;
    let stored = record.clone();
    if store.call(move |db| put_record(db, kind, &stored)).await? {
        return Ok(record);
    }
    let message = format!(
        "there is a {what} `{}` already; choose another name",
        record.name
    );
    Err(Failure::bad_request(message))
}

pub(super) async fn all(hub: &Hub, kind: Kind) -> Result<Vec<Record>, Failure> {
    let store = &hub.sessions.store;
    Ok(store.read(move |db| list_records(db, kind)).await?)
}

pub(super) async fn find(hub: &Hub, kind: Kind, what: &str, id: &str) -> Result<Record, Failure> {
    let key = id.to_owned();
    let store = &hub.sessions.store;
    let found = store.read(move |db| find_record(db, kind, &key)).await?;
    found.ok_or_else(|| missing(what, id))
}

pub(super) async fn delete(hub: &Hub, kind: Kind, what: &str, id: &str) -> Result<(), Failure> {
    let key = id.to_owned();
    let store = &hub.sessions.store;
    if store.call(move |db| delete_record(db, kind, &key)).await? {
        Ok(())
    } else {
        Err(missing(what, id))
    }
}

fn missing(what: &str, id: &str) -> Failure {
    let message = format!("there is no {what} `{id}`");
    Failure::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
}

/// A record as answers carry it: its own fields and those that all have.
pub(super) fn shown(record: &Record) -> Map<String, Value> {
    let mut shown = record.body.clone();
    shown.insert("id".into(), record.id.clone().into());
    shown.insert("createdAt".into(), iso(record.created_at).into());
    shown.insert("updatedAt".into(), iso(record.updated_at).into());
    shown
}

/// Takes over the fields that are named, absent ones left as they are, nulls removed.
pub(super) fn take(from: &mut Map<String, Value>, names: &[&str], to: &mut Map<String, Value>) {
    for name in names {
        match from.remove(*name) {
            Some(Value::Null) => drop(to.remove(*name)),
            Some(value) => drop(to.insert((*name).to_owned(), value)),
            None => {}
        }
    }
}

/// A field's strings.
pub(super) fn texts(fields: &Map<String, Value>, name: &str) -> Vec<String> {
    let list = fields.get(name).and_then(Value::as_array);
    let texts = list.into_iter().flatten().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// A field's text.
pub(super) fn text(fields: &Map<String, Value>, name: &str) -> String {
    fields
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}
