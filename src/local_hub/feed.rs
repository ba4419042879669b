//! What one viewer sees, in order and without gaps, however slowly it reads.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::json;
use serde_json::value::RawValue;

use super::frame::{self, Frame};
use super::room::{Inlet, Participant, Room};
use super::store::{EventPage, EventRow, Of, Store, StoreError, events};
use crate::clock::Clock;

/// Events read from the store at a time: a few of the largest frames that a lead sends.
const PAGE: u32 = 64;

/// What happens to a viewer that falls behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenBehind {
    /// It reads what it missed from the store. What is never stored (the remote control's
    /// answers) is not for it anyway; who is present it is told anew.
    Reread,
    /// It is disconnected, to come back and be hydrated.
    Disconnect,
}

/// Why a feed ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedEnd {
    #[error("the viewer reads too slowly; reconnect")]
    Behind,
    #[error("the viewer has left")]
    Left,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A viewer's events.
pub(crate) struct Feed {
    room: Arc<Room>,
    store: Arc<Store>,
    viewer: Participant,
    when_behind: WhenBehind,
    inlet: Inlet,
    /// Read from the store, not yet handed out.
    backlog: VecDeque<Frame>,
    /// All events up to here are handed out or in the backlog.
    read: i64,
    /// The inlet has everything after this.
    live_after: i64,
}

impl Feed {
    /// The feed of a viewer that has just entered and knows all events up to `known`.
    pub(crate) fn new(
        (room, store): (Arc<Room>, Arc<Store>),
        viewer: Participant,
        when_behind: WhenBehind,
        inlet: Inlet,
        known: i64,
    ) -> Self {
        Self {
            room,
            store,
            viewer,
            when_behind,
            inlet,
            backlog: VecDeque::new(),
            read: known,
            live_after: known,
        }
    }

    /// The next frame. Cancel-safe: a frame is taken only when it is returned.
    pub(crate) async fn next(&mut self) -> Result<Frame, FeedEnd> {
        loop {
            if let Some(frame) = self.backlog.pop_front() {
                return Ok(frame);
            }
            if self.read < self.live_after {
                self.read_page().await?;
                continue;
            }
            match self.inlet.recv().await {
                Some(frame) => {
                    self.note(&frame);
                    return Ok(frame);
                }
                None => self.reenter()?,
            }
        }
    }

    /// The next frame if one is at hand.
    pub(crate) fn try_next(&mut self) -> Option<Frame> {
        if let Some(frame) = self.backlog.pop_front() {
            return Some(frame);
        }
        if self.read < self.live_after {
            return None;
        }
        let frame = self.inlet.try_recv()?;
        self.note(&frame);
        Some(frame)
    }

    fn note(&mut self, frame: &Frame) {
        if let Some(id) = frame.id {
            self.read = id;
            self.live_after = id;
        }
    }

    fn reenter(&mut self) -> Result<(), FeedEnd> {
        if self.when_behind == WhenBehind::Disconnect {
            return Err(FeedEnd::Behind);
        }
        let (inlet, snapshot) = self
            .room
            .reenter_viewer(&self.viewer)
            .ok_or(FeedEnd::Left)?;
        tracing::debug!(viewer = %self.viewer.id, from = self.read, "a slow viewer reads from the store");
        self.inlet = inlet;
        self.live_after = snapshot.published;
        let present: Vec<_> = snapshot
            .participants
            .iter()
            .map(Participant::to_json)
            .collect();
        self.backlog.push_back(frame::presence(
            &self.room.id,
            "presence_update",
            json!({"participants": present}),
            Clock.wall(),
        ));
        Ok(())
    }

    async fn read_page(&mut self) -> Result<(), FeedEnd> {
        let filter = self.room.filter(&self.viewer).ok_or(FeedEnd::Left)?;
        let (key, after, upto) = (self.room.key, self.read, self.live_after);
        let page = EventPage {
            after,
            upto,
            limit: PAGE,
            offset: 0,
            newest: false,
            of: Of::Published,
        };
        let rows = self.store.read(move |db| events(db, key, page)).await?;
        self.read = rows.last().map_or(upto, |row| row.id);
        let session = &self.room.id;
        let wanted = rows.into_iter().filter(|row| filter.passes(&row.name));
        self.backlog
            .extend(wanted.map(|row| frame_of(session, row)));
        Ok(())
    }
}

fn frame_of(session: &str, row: EventRow) -> Frame {
    // It was JSON when it was stored; a file that someone has edited still reads.
    let data = RawValue::from_string(row.data).unwrap_or_default();
    frame::broadcast(session, Some(row.id), &row.name, &data, row.at)
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.room.leave_viewer(&self.viewer);
    }
}
