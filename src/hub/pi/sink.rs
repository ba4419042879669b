//! Where one event's frames go, numbered.

use serde::Serialize;

use super::frame::{Class, Frame, encode};
use crate::event::Header;
use crate::ids::{EventId, Seq};

/// Numbers the frames of one event.
pub(super) struct Sink<'a> {
    pub(super) frames: &'a mut Vec<Frame>,
    event_id: EventId,
    pub(super) seq: Seq,
    /// When the event was made, in ms.
    pub(super) at: u64,
    next: u32,
}

impl<'a> Sink<'a> {
    pub(super) fn new(header: &Header, frames: &'a mut Vec<Frame>) -> Self {
        Self {
            frames,
            event_id: header.event_id,
            seq: header.seq,
            at: header.at.millis(),
            next: 0,
        }
    }

    /// The id of the event's next frame.
    pub(super) fn next_id(&mut self) -> String {
        let id = format!("{}/{}", self.event_id, self.next);
        self.next += 1;
        id
    }

    /// Adds a frame that must arrive.
    pub(super) fn state(&mut self, event: &'static str, fields: &impl Serialize) {
        let id = self.next_id();
        self.push(id, event, fields, Class::State);
    }

    /// Adds a frame that may be left out.
    pub(super) fn delta(&mut self, event: &'static str, fields: &impl Serialize) {
        let id = self.next_id();
        self.push(id, event, fields, Class::Delta);
    }

    fn push(&mut self, id: String, event: &'static str, fields: &impl Serialize, class: Class) {
        self.frames.push(Frame {
            id,
            seq: self.seq,
            event,
            data: encode(event, fields),
            class,
        });
    }
}
