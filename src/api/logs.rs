//! What an agent's CLI wrote, as it wrote it, with the session's secrets masked.
//!
//! It is read from the newest run of a turn, and what may be the start of a secret is held back
//! until it is known to be none. Bytes that are no UTF-8 are shown as U+FFFD. Runs are removed
//! some time after their turn; the events stay longer.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::host::{HostedSession, LogSource};
use super::routes::Query;
use super::server::Api;
use super::status::{find, led_now};
use crate::ids::{SpoolOffset, TurnId};
use crate::journal::{TurnState, TurnSummary};
use crate::redact::Redactor;
use crate::spool::{RunDir, Tail};

/// How often a growing file is looked at while somebody follows it.
const LOOK: Duration = Duration::from_millis(200);

/// The longest last line that is shown whole where fewer bytes were asked for.
const LONGEST: u64 = 1 << 20;

/// Turns that are looked through for the newest one with a run.
const TURNS: u32 = 100;

pub(super) async fn logs(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Failure> {
    let query = Query::read(&uri, &["turn", "stream", "tail", "follow"])?;
    let hosted = find(&api, &id)?;
    let turn = turn(&hosted, query.value("turn", "a turn's id")?).await?;
    let stderr = match query.text("stream") {
        None | Some("output") => false,
        Some("stderr") => true,
        Some(other) => {
            let message = format!("`stream` is `{other}`, not output or stderr");
            return Err(Failure::invalid(message));
        }
    };
    let tail = query.value("tail", "a number of bytes")?;
    let follow = query.switch("follow")?.unwrap_or(false);
    let Some(LogSource { runs, redactor }) = led_now(&hosted).map(|led| led.logs) else {
        let message = format!("session {id} is not led at the moment");
        return Err(Failure::later("setting_up", message));
    };
    let run = turn.run.ok_or_else(|| gone(&turn))?;
    let folder = RunDir::new(runs.join(run.to_string()));
    let path = if stderr {
        folder.stderr()
    } else {
        folder.spool()
    };
    if !folder.path().is_dir() {
        return Err(gone(&turn));
    }
    let pages = pages(&path, stderr, tail).map_err(|_| gone(&turn))?;
    let reader = Reader {
        hosted,
        turn: turn.id,
        redactor,
        pages,
        bytes: Vec::new(),
        held: String::new(),
        follow,
        stop: api.tasks.stopping().clone(),
    };
    let chunks = stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Ok(Some(chunk)) => Some((Ok::<_, io::Error>(chunk), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    let kind = "text/plain; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(chunks)).into_response())
}

/// The turn that was asked for, else the newest that has a run.
async fn turn(hosted: &HostedSession, id: Option<TurnId>) -> Result<TurnSummary, Failure> {
    let (journal, session) = (&hosted.journal, &hosted.id);
    if let Some(id) = id {
        let found = journal.turn(session, id).await?;
        return found.ok_or_else(|| Failure::unknown_turn(session, &id.to_string()));
    }
    let turns = journal.newest_turns(session, TURNS).await?;
    let newest = turns.into_iter().rev().find(|turn| turn.run.is_some());
    newest.ok_or_else(|| {
        let message = format!("no agent has run in session {session} yet");
        let hint = "its events say what it is at";
        Failure::new(StatusCode::NOT_FOUND, "no_logs", message, hint)
    })
}

fn gone(turn: &TurnSummary) -> Failure {
    let message = format!("the raw output of turn {} is not there", turn.id);
    let hint = "it is removed some time after the turn; the turn's events are kept longer";
    Failure::new(StatusCode::GONE, "logs_gone", message, hint)
}

/// The files to read, one after the other, each from its place.
fn pages(path: &std::path::Path, stderr: bool, tail: Option<u64>) -> io::Result<Vec<Page>> {
    let mut files = Vec::new();
    if stderr {
        let mut older = path.as_os_str().to_owned();
        older.push(".1");
        files.push(PathBuf::from(older));
    }
    files.push(path.to_owned());
    // A CLI that has written nothing to stderr has no file of it.
    files.retain(|file| file.exists());
    let mut wanted = tail.unwrap_or(u64::MAX);
    let mut pages = Vec::new();
    // The newest last; the newest is read from as far back as was asked for, then the one before.
    for file in files.iter().rev() {
        if wanted == 0 && file != path {
            break;
        }
        let length = file.metadata()?.len();
        let mut from = length.saturating_sub(wanted);
        if pages.is_empty() && wanted > 0 {
            from = from.min(last_line(file, length)?);
        }
        wanted = wanted.saturating_sub(length);
        // From the byte before: if that ends a line, nothing is skipped.
        let from = from.saturating_sub(1);
        pages.push(Page {
            tail: Tail::open(file, SpoolOffset::new(from))?,
            is_mid_line: from > 0,
        });
    }
    Ok(pages)
}

/// Where the last line begins: a record of a CLI may be longer than what was asked for. Of one that
/// is longer than [`LONGEST`], nothing is shown.
fn last_line(path: &std::path::Path, length: u64) -> io::Result<u64> {
    let begins = length.saturating_sub(LONGEST);
    let mut tail = Tail::open(path, SpoolOffset::new(begins))?;
    let mut found = if begins == 0 { 0 } else { length };
    loop {
        let at = tail.offset().get();
        let chunk = tail.read()?;
        let chunk = chunk
            .get(..usize::try_from(length.saturating_sub(at)).unwrap_or(usize::MAX))
            .unwrap_or(chunk);
        if chunk.is_empty() {
            return Ok(found);
        }
        // the line end of the last line itself begins no other
        let ends = memchr::memrchr_iter(b'\n', chunk).map(|end| at + end as u64 + 1);
        found = ends.clone().find(|end| *end < length).unwrap_or(found);
    }
}

/// A file that is read.
struct Page {
    tail: Tail,
    /// It is read from somewhere in a line, which may be in a secret: what follows it is shown.
    is_mid_line: bool,
}

impl Page {
    /// The next bytes to show, if there are any.
    fn read(&mut self) -> io::Result<Option<&[u8]>> {
        if self.is_mid_line {
            let begins = self.tail.offset();
            let chunk = self.tail.read()?;
            if chunk.is_empty() {
                return Ok(None);
            }
            if let Some(end) = memchr::memchr(b'\n', chunk) {
                self.is_mid_line = false;
                self.tail.go_to(begins.advanced(end as u64 + 1));
            }
            return Ok(Some(&[]));
        }
        let chunk = self.tail.read()?;
        Ok((!chunk.is_empty()).then_some(chunk))
    }
}

struct Reader {
    hosted: HostedSession,
    turn: TurnId,
    redactor: Arc<Redactor>,
    /// What is to be read, the next one last.
    pages: Vec<Page>,
    /// The start of a character whose end has not come yet.
    bytes: Vec<u8>,
    /// What may be the start of a secret.
    held: String,
    follow: bool,
    stop: CancellationToken,
}

impl Reader {
    /// The next masked lines; nothing at the end.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            // Asked before reading: what was written before the end is there after it.
            let is_over = !self.follow || self.is_ended().await;
            let Some(page) = self.pages.last_mut() else {
                return Ok(self.masked(true));
            };
            if let Some(chunk) = page.read()? {
                self.bytes.extend_from_slice(chunk);
                if let Some(text) = self.masked(false) {
                    return Ok(Some(text));
                }
                continue;
            }
            if self.pages.len() > 1 || is_over {
                self.pages.pop();
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.stop.cancelled() => return Ok(None),
            }
        }
    }

    async fn is_ended(&self) -> bool {
        let turn = self.hosted.journal.turn(&self.hosted.id, self.turn).await;
        !matches!(turn, Ok(Some(turn)) if turn.state != TurnState::Ended)
    }

    /// What may be sent of the text so far, masked; at the end, all of it.
    fn masked(&mut self, at_end: bool) -> Option<Bytes> {
        let whole = match std::str::from_utf8(&self.bytes) {
            // A character that the chunk's end has cut.
            Err(error) if error.error_len().is_none() && !at_end => error.valid_up_to(),
            _ => self.bytes.len(),
        };
        let rest = self.bytes.split_off(whole);
        let text = std::mem::replace(&mut self.bytes, rest);
        self.held.push_str(&String::from_utf8_lossy(&text));
        let (mut out, held) = self.redactor.streamed(&self.held);
        self.held = held;
        if at_end {
            out.push_str(&std::mem::take(&mut self.held));
        }
        (!out.is_empty()).then(|| out.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_line_longer_than_was_asked_for_is_shown_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool.raw");
        let last = "x".repeat(600_000);
        for text in [
            format!("first\n{last}\n"),
            format!("first\n{last}"),
            last.clone(),
        ] {
            std::fs::write(&path, &text).unwrap();
            let begins = u64::try_from(text.find('x').unwrap()).unwrap();
            let length = u64::try_from(text.len()).unwrap();
            assert_eq!(last_line(&path, length).unwrap(), begins);
        }
    }

    #[test]
    fn the_tail_of_a_log_begins_with_a_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stderr.log");
        std::fs::write(&path, "the key is secret\nnew\n").unwrap();
        std::fs::write(dir.path().join("stderr.log.1"), "old\n").unwrap();
        let read = |tail| {
            let mut text = Vec::new();
            for mut page in pages(&path, true, tail).unwrap().into_iter().rev() {
                while let Some(chunk) = page.read().unwrap() {
                    text.extend_from_slice(chunk);
                }
            }
            String::from_utf8(text).unwrap()
        };
        assert_eq!(read(None), "old\nthe key is secret\nnew\n");
        assert_eq!(read(Some(8)), "new\n");
        assert_eq!(read(Some(4)), "new\n");
        assert_eq!(read(Some(3)), "new\n");
        assert_eq!(read(Some(0)), "");
        assert_eq!(read(Some(24)), "the key is secret\nnew\n");
    }
}
