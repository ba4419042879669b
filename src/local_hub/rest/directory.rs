//! What a Hub of many people knows and this one has little of: users, GitHub accounts, to-dos.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Uri;
use serde_json::{Value, json};

use super::library::OWNER;
use super::{Answer, LIST_MAX, Shared, find, paging, query_pairs};
use crate::clock::iso;

/// The one user that this Hub knows: whoever holds its key, or sits at this machine.
pub(crate) async fn users(State(hub): Shared, uri: Uri) -> Answer {
    let query = query_pairs(&uri);
    let (limit, offset) = paging(&query, LIST_MAX)?;
    let search = query.iter().find(|(name, _)| name == "search");
    let search = search.map_or_else(String::new, |(_, value)| value.to_lowercase());
    let since = iso(hub.started_at);
    let user = json!({
        "userId": OWNER,
        "displayName": "Local user",
        "email": "local@localhost",
        "provider": "local",
        "lastLoginAt": since,
        "lastSeenAt": since,
        "createdAt": since,
    });
    let matches = "local user".contains(&search);
    let users: Vec<Value> = if matches && offset == 0 && limit > 0 {
        vec![user]
    } else {
        Vec::new()
    };
    Ok(Json(json!({
        "users": users,
        "total": u32::from(matches),
        "limit": limit,
        "offset": offset,
    })))
}

/// No account is connected: repositories are cloned by their address.
pub(crate) async fn github_accounts() -> Json<Value> {
    Json(json!({"connected": false, "accounts": []}))
}

pub(crate) async fn github_repos(uri: Uri) -> Json<Value> {
    let query = query_pairs(&uri);
    let account = query.iter().find(|(name, _)| name == "accountId");
    let account = account.map_or("", |(_, value)| value.as_str());
    Json(json!({"accountId": account, "totalCount": 0, "repositories": []}))
}

/// No tool of this Hub makes to-dos, so there are none, and the answer says why.
pub(crate) async fn todos(State(hub): Shared, Path(id): Path<String>) -> Answer {
    let row = find(&hub, &id).await?;
    Ok(Json(json!({
        "sessionId": row.id,
        "ok": true,
        "op": "session_todo_list",
        "count": 0,
        "summary": {"open": 0, "in_progress": 0, "done": 0, "closed": 0, "cancelled": 0},
        "todos": [],
        "unavailable": true,
        "message": "this Hub has no to-do service",
    })))
}
