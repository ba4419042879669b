//! Following a session's events through everything that can happen to the daemon.
//!
//! The cursor moves with each event that is handed out, so that a connection that breaks anywhere
//! loses and repeats nothing: the next one goes on after it.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};

use super::sse::{Message, Reader};
use super::{Client, ClientError};
use crate::ids::{SessionId, TurnId};

/// The pause before the first try to reach the daemon again, and the longest one.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How often a session is asked for that was there before: a daemon that has just begun may still
/// be opening its sessions.
const OPENING: u32 = 30;

/// The daemon says something every 15 s; one that is silent for longer is not there any more.
const SILENCE: Duration = Duration::from_mins(1);

/// What comes next of a session.
#[derive(Debug)]
pub(in crate::cli) enum Step {
    /// An event's line.
    Line(Vec<u8>),
    /// All that was asked for is there.
    Complete,
    /// The daemon is gone and waited for; said once each time.
    Waiting(ClientError),
}

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, ClientError>> + Send>>;

/// A reader's place in a session.
pub(in crate::cli) struct Follower {
    client: Client,
    session: SessionId,
    turn: Option<TurnId>,
    after: u64,
    follow: bool,
    chunks: Option<Chunks>,
    reader: Reader,
    failures: u32,
    /// The daemon has answered before: that it is gone now will pass.
    was_there: bool,
}

impl Follower {
    /// Of the events after `after`; of all that are still to come too, where it is to `follow`.
    pub(in crate::cli) fn new(
        client: Client,
        session: SessionId,
        turn: Option<TurnId>,
        after: u64,
        follow: bool,
    ) -> Self {
        Self {
            client,
            session,
            turn,
            after,
            follow,
            chunks: None,
            reader: Reader::default(),
            failures: 0,
            was_there: false,
        }
    }

    /// The daemon has answered before, to another request.
    pub(in crate::cli) fn once_answered(mut self) -> Self {
        self.was_there = true;
        self
    }

    /// What comes next; waits for it, and for the daemon where it is gone.
    pub(in crate::cli) async fn next(&mut self) -> Result<Step, ClientError> {
        loop {
            if let Some(message) = self.reader.next() {
                return Ok(self.step(message));
            }
            match self.read().await {
                Ok(()) => self.failures = 0,
                Err(error) if self.will_pass(&error) => {
                    self.chunks = None;
                    self.reader = Reader::default();
                    self.failures += 1;
                    // A connection that breaks is made again; a daemon that is gone is waited for.
                    if self.failures == 2 {
                        return Ok(Step::Waiting(error));
                    }
                    let factor = 1_u32 << self.failures.min(8);
                    tokio::time::sleep((PAUSE * factor).min(LONGEST_PAUSE)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn will_pass(&self, error: &ClientError) -> bool {
        let opening = error.code() == Some("unknown_session") && self.failures < OPENING;
        self.was_there && (opening || error.is_passing())
    }

    /// Reads the next chunk, over a new connection where there is none.
    async fn read(&mut self) -> Result<(), ClientError> {
        if self.chunks.is_none() {
            let chunks = self
                .client
                .stream(&self.path(), "text/event-stream")
                .await?;
            self.chunks = Some(Box::pin(chunks));
            self.was_there = true;
        }
        let Some(chunks) = &mut self.chunks else {
            return Ok(());
        };
        let silent = |_| ClientError::Lost("nothing was heard of it for a minute".to_owned());
        match tokio::time::timeout(SILENCE, chunks.next())
            .await
            .map_err(silent)?
        {
            Some(chunk) => self.reader.push(&chunk?),
            None => return Err(ClientError::Lost("it has ended the stream".to_owned())),
        }
        Ok(())
    }

    fn step(&mut self, message: Message) -> Step {
        if message.event.as_deref() == Some("complete") {
            return Step::Complete;
        }
        self.after = message.id.unwrap_or(self.after);
        Step::Line(message.data)
    }

    fn path(&self) -> String {
        let (session, after, follow) = (&self.session, self.after, self.follow);
        let turn = self.turn.map(|turn| format!("&turn={turn}"));
        let turn = turn.unwrap_or_default();
        format!("/v1/sessions/{session}/events?after={after}&follow={follow}{turn}")
    }
}
