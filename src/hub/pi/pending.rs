//! Adjacent deltas, joined until something else happens or they are due.

use serde_json::Value;

use super::frame::{Class, Frame, encode};
use super::message::Kind;
use crate::ids::Seq;

/// Joined deltas go out at this many bytes even when nothing else happens.
pub(super) const MAX_JOINED: usize = 16 * 1024;

/// What a delta adds to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A block of the open assistant message.
    Message { kind: Kind, block: usize },
    /// A sub-agent's text.
    Task {
        task: String,
        agent: String,
        kind: Kind,
    },
    /// A running tool's output.
    Tool { call: String },
}

/// Deltas that are not yet a frame.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) target: Target,
    pub(super) text: String,
    id: String,
    seq: Seq,
}

impl Pending {
    pub(super) fn new(target: Target, text: &str, id: String, seq: Seq) -> Self {
        Self {
            target,
            text: text.to_owned(),
            id,
            seq,
        }
    }

    /// Whether this adds to the open message's last block, as a further piece of `kind` would.
    pub(super) fn is_block(&self, kind: Kind) -> bool {
        matches!(&self.target, Target::Message { kind: own, .. } if *own == kind)
    }

    /// Joins one more piece of the same target.
    pub(super) fn join(&mut self, text: &str, id: String, seq: Seq) {
        self.text.push_str(text);
        self.id = id;
        self.seq = seq;
    }

    /// The frame, once its other fields are known.
    pub(super) fn into_frame(self, event: &'static str, fields: &Value) -> Frame {
        Frame {
            id: self.id,
            seq: self.seq,
            event,
            data: encode(event, fields),
            class: Class::Delta,
        }
    }
}
