//! A session's events: by the page, or as a stream of server-sent events.
//!
//! A cursor is the `seq` of the last event that its reader has. It never skips or repeats one:
//! events that are no longer kept are told as a `gap`, which has the last missing `seq` for its
//! id. A reader that is slow is read for from the journal when it takes more; nothing waits for it
//! in memory but the batch that it is at.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::host::HostedSession;
use super::routes::Query;
use super::server::Api;
use super::status::find;
use crate::ids::{SessionId, TurnId};
use crate::journal::{JournalError, StoredBatch, Tail, TurnState};

/// Comments between events: proxies cut connections that are silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Events of a page where nobody says how many, and the most that one may have.
const PAGE: u32 = 1000;
const MOST: u32 = 10_000;

/// The size at which a page ends although it may have more events.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

const STREAM: &str = "text/event-stream";

pub(super) async fn events(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Failure> {
    let query = Query::read(&uri, &["after", "limit", "follow", "turn"])?;
    let hosted = find(&api, &id)?;
    let accept = headers.get(header::ACCEPT).map(|value| value.to_str());
    let is_stream = matches!(accept, Some(Ok(text)) if text.contains(STREAM));
    let after = query.value("after", "a seq")?;
    let follow = query.switch("follow")?;
    if !is_stream {
        if follow == Some(true) {
            let message = format!("a page cannot follow: ask with `Accept: {STREAM}`");
            return Err(Failure::invalid(message));
        }
        let limit = query.value("limit", "a number of events")?.unwrap_or(PAGE);
        let reader = Reader::open(&hosted, &query, after, false).await?;
        return page(reader, limit.clamp(1, MOST)).await;
    }
    if query.text("limit").is_some() {
        return Err(Failure::invalid("`limit` is for pages, not for streams"));
    }
    let last_id = headers.get("last-event-id");
    let last_id = last_id.map(|value| {
        let seq = value
            .to_str()
            .ok()
            .and_then(|text| text.trim().parse().ok());
        seq.ok_or_else(|| Failure::invalid("the Last-Event-ID is no seq"))
    });
    // A browser that reconnects sends it beside the address that it began with.
    let after = last_id.transpose()?.or(after);
    let reader = Reader::open(&hosted, &query, after, follow.unwrap_or(true)).await?;
    Ok(server_sent(reader, api.tasks.stopping().clone()))
}

/// A reader's place in a session, and where it ends.
struct Reader {
    session: SessionId,
    tail: Tail,
    /// Only this turn's events.
    turn: Option<TurnId>,
    /// The last event to be read; more are waited for where it is absent.
    until: Option<u64>,
    /// The session's last event when this began.
    last: u64,
    is_over: bool,
}

/// What comes next of a session.
enum Next {
    Batch(StoredBatch),
    /// Nothing yet.
    Waiting,
    /// All that was asked for has been read.
    Over,
}

impl Reader {
    async fn open(
        hosted: &HostedSession,
        query: &Query,
        after: Option<u64>,
        follow: bool,
    ) -> Result<Self, Failure> {
        let (journal, id) = (&hosted.journal, &hosted.id);
        // Asked before the turn: one that has not begun begins after it.
        let last = journal.last_seq(id).await?;
        let mut from = after.unwrap_or(0);
        if from > last {
            return Err(Failure::ahead(from, last));
        }
        let mut until = (!follow).then_some(last);
        let turn = query.value("turn", "a turn's id")?;
        if let Some(turn) = turn {
            let found = journal.turn(id, turn).await?;
            let found = found.ok_or_else(|| Failure::unknown_turn(id, &turn.to_string()))?;
            let begins = found.first_seq.map_or(last, |first| first.get() - 1);
            from = from.max(begins);
            if found.state == TurnState::Ended {
                // Nothing more comes of it, also where its end is no longer kept.
                until = Some(journal.last_seq(id).await?);
            }
        }
        Ok(Self {
            session: id.clone(),
            tail: journal.tail(id, from),
            turn,
            until,
            last,
            is_over: false,
        })
    }

    fn is_at_end(&self) -> bool {
        self.is_over
            || self
                .until
                .is_some_and(|until| self.tail.position() >= until)
    }

    /// What is committed already.
    async fn try_next(&mut self) -> Result<Next, JournalError> {
        if self.is_at_end() {
            return Ok(Next::Over);
        }
        match self.tail.try_next().await? {
            Some(batch) => Ok(Next::Batch(batch)),
            // What was there at the beginning has been removed since.
            None if self.until.is_some() => Ok(Next::Over),
            None => Ok(Next::Waiting),
        }
    }

    /// Calls `each` with the gap before the batch, if there is one, and with its events that were
    /// asked for, until `each` wants no more; the place of the last one that it had.
    fn read(
        &mut self,
        before: u64,
        batch: &StoredBatch,
        mut each: impl FnMut(u64, &[u8]) -> bool,
    ) -> u64 {
        let first = batch.first.get();
        let mut place = before;
        if first > before + 1 {
            let gap = gap(&self.session, before + 1, first - 1);
            place = first - 1;
            if !each(place, &gap) {
                return place;
            }
        }
        for (seq, line) in (first..).zip(batch.lines()) {
            if self.until.is_some_and(|until| seq > until) {
                break;
            }
            place = seq;
            let Some(part) = self.part(line) else {
                continue;
            };
            self.is_over = part == Part::Last;
            if !each(seq, line) || self.is_over {
                break;
            }
        }
        place
    }

    /// Whether the event was asked for.
    fn part(&self, line: &[u8]) -> Option<Part> {
        let Some(turn) = self.turn else {
            return Some(Part::One);
        };
        let head: Head = serde_json::from_slice(line).ok()?;
        if head.turn_id != Some(turn) {
            return None;
        }
        Some(if head.kind == "end" {
            Part::Last
        } else {
            Part::One
        })
    }
}

#[derive(PartialEq, Eq)]
enum Part {
    One,
    /// A turn's `end` is its last event.
    Last,
}

/// What of an event says whether it is asked for.
#[derive(Deserialize)]
struct Head<'a> {
    turn_id: Option<TurnId>,
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
}

/// Events that are no longer kept.
fn gap(session: &SessionId, from: u64, to: u64) -> Vec<u8> {
    serde_json::json!({
        "session_id": session,
        "type": "gap",
        "from_seq": from,
        "to_seq": to,
        "why": "these events are no longer kept",
    })
    .to_string()
    .into_bytes()
}

async fn page(mut reader: Reader, limit: u32) -> Result<Response, Failure> {
    let mut body = br#"{"events":["#.to_vec();
    let mut count = 0;
    let mut place = reader.tail.position();
    while count < limit && body.len() < PAGE_BYTES {
        let Next::Batch(batch) = reader.try_next().await? else {
            break;
        };
        place = reader.read(place, &batch, |_, line| {
            if count > 0 {
                body.push(b',');
            }
            body.extend_from_slice(line);
            count += 1;
            count < limit && body.len() < PAGE_BYTES
        });
    }
    let is_over = reader.is_over;
    let last = reader.last;
    let end = format!(r#"],"next_after":{place},"last_seq":{last},"turn_ended":{is_over}}}"#);
    body.extend_from_slice(end.as_bytes());
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn server_sent(reader: Reader, stop: CancellationToken) -> Response {
    let place = reader.tail.position();
    // Made by hand as it is polled: a reader that takes nothing costs no task and no queue.
    let chunks = stream::unfold(Some((reader, place, stop)), |state| async move {
        let (mut reader, mut place, stop) = state?;
        let chunk = match chunk(&mut reader, &mut place, &stop).await {
            Ok(chunk) => chunk,
            Err(error) => {
                tracing::warn!(%error, session = %reader.session, "an event stream ends");
                return None;
            }
        };
        match chunk {
            Chunk::Events(bytes) => {
                Some((Ok::<_, JournalError>(bytes), Some((reader, place, stop))))
            }
            Chunk::Last(bytes) => Some((Ok(bytes), None)),
            Chunk::Leaving => None,
        }
    });
    let headers = [
        (header::CONTENT_TYPE, STREAM),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Body::from_stream(chunks)).into_response()
}

enum Chunk {
    Events(Bytes),
    /// What tells the reader that there is no more.
    Last(Bytes),
    /// The daemon goes; the reader may come back with its cursor.
    Leaving,
}

async fn chunk(
    reader: &mut Reader,
    place: &mut u64,
    stop: &CancellationToken,
) -> Result<Chunk, JournalError> {
    loop {
        let batch = match reader.try_next().await? {
            Next::Batch(batch) => batch,
            Next::Over => {
                let text = format!("event: complete\ndata: {{\"last_seq\":{place}}}\n\n");
                return Ok(Chunk::Last(text.into()));
            }
            Next::Waiting => {
                tokio::select! {
                    batch = reader.tail.next() => batch?,
                    () = tokio::time::sleep(KEEP_ALIVE) => {
                        return Ok(Chunk::Events(Bytes::from_static(b":\n\n")));
                    }
                    () = stop.cancelled() => return Ok(Chunk::Leaving),
                }
            }
        };
        let mut out = Vec::with_capacity(batch.body.len() + 64);
        *place = reader.read(*place, &batch, |seq, line| {
            // Writing to memory cannot fail; a stored line holds no line break.
            write!(out, "id: {seq}\ndata: ").ok();
            out.extend_from_slice(line);
            out.extend_from_slice(b"\n\n");
            true
        });
        if !out.is_empty() {
            return Ok(Chunk::Events(out.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_names_what_is_missing() {
        let session = "s1".parse().unwrap();
        let gap: serde_json::Value = serde_json::from_slice(&gap(&session, 3, 9)).unwrap();
        assert_eq!(gap["type"], "gap");
        assert_eq!((&gap["from_seq"], &gap["to_seq"]), (&3.into(), &9.into()));
    }
}
