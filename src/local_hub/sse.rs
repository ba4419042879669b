//! Server-sent events: snapshot, hydration, then what happens.
//!
//! The official client ends its stream at the first event that it cannot decode, so nothing else
//! is ever sent here; comments keep quiet connections open.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::entries::newest_within;
use super::feed::{Feed, WhenBehind};
use super::filter::Filter;
use super::rest::{Failure, find, query_pairs};
use super::room::{Leash, Participant, Snapshot};
use super::server::Hub;
use super::sessions::participant;
use super::socket::HYDRATION_BYTES;
use super::store::SessionRow;
use crate::clock::iso;
use crate::hub::protocol::Role;

/// Comments between events: proxies cut connections that are silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How long a client may take no event at all before its stream is ended.
const SEND_PATIENCE: Duration = Duration::from_mins(1);

/// Chunks between the feed and the socket: one in each direction's hands is enough, the queue
/// that matters is the feed's.
const CHUNKS: usize = 4;

/// The size at which waiting events are handed on as one chunk.
const CHUNK_BYTES: usize = 64 * 1_024;

/// `GET /api/hub/session/{id}/events`.
pub(crate) async fn stream(
    State(hub): State<Arc<Hub>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Failure> {
    let session = find(&hub, &id).await?;
    let room = hub.sessions.room(&session).await?;
    let query = query_pairs(&uri);
    let subscribe = query.iter().find(|(name, _)| name == "subscribe");
    let filter = Filter::new(subscribe.map_or("", |(_, value)| value).split(','));
    let who = participant(Role::Observer, "sse");
    let leash = Leash::default();
    let (chunks, mut body) = mpsc::channel::<Bytes>(CHUNKS);
    let entered = room.enter_viewer(&who, filter, &leash);
    let (head, feed) = match entered {
        Ok((inlet, snapshot)) => {
            let shared = (Arc::clone(&room), Arc::clone(&hub.sessions.store));
            let known = snapshot.published;
            let feed = Feed::new(shared, who.clone(), WhenBehind::Reread, inlet, known);
            (head(&hub, &session, &snapshot).await?, Some(feed))
        }
        // Archived: there is history to show and nothing to wait for.
        Err(_) => (head(&hub, &session, &room.snapshot()).await?, None),
    };
    let pump = {
        let hub = Arc::clone(&hub);
        async move {
            if feed.is_some()
                && let Err(error) = hub.sessions.note_join(room.key, &who).await
            {
                tracing::warn!(%error, "an event stream is missing from the participants");
            }
            tokio::select! {
                () = pump(head, feed, chunks) => {}
                _ = leash.pulled() => {}
                () = hub.tasks.stopping().cancelled() => {}
            }
            hub.sessions.note_leave(room.key, &who).await;
        }
    };
    hub.tasks.spawn("hub-sse", pump);
    let body = futures_util::stream::poll_fn(move |context| {
        body.poll_recv(context)
            .map(|chunk| chunk.map(Ok::<_, Infallible>))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

/// Hands events to the socket until the client leaves or stops reading.
async fn pump(head: String, mut feed: Option<Feed>, chunks: mpsc::Sender<Bytes>) {
    let mut chunk = head;
    loop {
        let sent = chunks.send_timeout(Bytes::from(chunk), SEND_PATIENCE).await;
        if sent.is_err() {
            return;
        }
        chunk = tokio::select! {
            next = next(&mut feed) => match next {
                Some(chunk) => chunk,
                None => return,
            },
            () = tokio::time::sleep(KEEP_ALIVE) => ":\n\n".to_owned(),
            () = chunks.closed() => return,
        };
    }
}

/// The events at hand, at least one.
async fn next(feed: &mut Option<Feed>) -> Option<String> {
    let Some(feed) = feed else {
        return std::future::pending().await;
    };
    let mut frame = match feed.next().await {
        Ok(frame) => frame,
        Err(error) => {
            tracing::debug!(%error, "an event stream ends");
            return None;
        }
    };
    let mut chunk = String::new();
    loop {
        append(&mut chunk, frame.channel.name(), &frame.text);
        if chunk.len() >= CHUNK_BYTES {
            return Some(chunk);
        }
        match feed.try_next() {
            Some(next) => frame = next,
            None => return Some(chunk),
        }
    }
}

/// One event. A lead's data may hold line breaks between its tokens, which a `data:` line cannot.
fn append(out: &mut String, name: &str, text: &str) {
    out.push_str("event: ");
    out.push_str(name);
    for line in text.split(['\n', '\r']) {
        out.push_str("\ndata: ");
        out.push_str(line);
    }
    out.push_str("\n\n");
}

/// Snapshot and hydration.
async fn head(hub: &Hub, session: &SessionRow, snapshot: &Snapshot) -> Result<String, Failure> {
    let conversation = hub.sessions.conversation(session.key, snapshot.published);
    let entries = conversation.await?.entries();
    let participants: Vec<Value> = snapshot.participants.iter().map(with_iso).collect();
    let first = json!({
        "type": "snapshot",
        "sessionId": session.id,
        "label": session.label,
        "status": super::rest::Standing::of(session, Some(snapshot)).status(),
        "createdAt": iso(session.created_at),
        "mode": "sandbox",
        "participants": participants,
        "taskCount": snapshot.activity.task_count(),
        "agentActivity": snapshot.activity.agents(),
    });
    let mut second = json!({
        "type": "hydration",
        "sessionId": session.id,
        "entries": newest_within(entries, HYDRATION_BYTES),
        "tasks": snapshot.activity.tasks(),
    });
    if let (false, Some(fields)) = (session.task.is_empty(), second.as_object_mut()) {
        fields.insert("task".into(), session.task.clone().into());
    }
    let mut head = String::new();
    append(&mut head, "snapshot", &first.to_string());
    append(&mut head, "hydration", &second.to_string());
    Ok(head)
}

/// A participant as REST and snapshots have it: stamps are ISO text there.
pub(crate) fn with_iso(participant: &Participant) -> Value {
    json!({
        "id": participant.id,
        "role": participant.role,
        "transport": participant.transport,
        "connectedAt": iso(participant.connected_at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_between_tokens_do_not_end_an_event() {
        let mut out = String::new();
        append(&mut out, "broadcast", "{\"a\":\n1,\r\n\"b\":2}");
        assert_eq!(
            out,
            "event: broadcast\ndata: {\"a\":\ndata: 1,\ndata: \ndata: \"b\":2}\n\n"
        );
    }
}
