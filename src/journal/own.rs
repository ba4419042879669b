//! The lines that the journal itself adds: a gap where events cannot be had, and notices.
//!
//! A gap stands in the place of the last event that it covers: its `seq` is its `to_seq`. A cursor
//! on it therefore goes on with the event behind the hole, and places stay without holes.

use uuid::Uuid;

use super::JournalError;
use crate::clock::Timestamp;
use crate::event::{Event, Header, NoticeLevel};
use crate::ids::{EventId, Seq, SessionId};

/// Why events cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The machine stopped before the disk had them.
    PowerCut,
    /// What is on the disk is not what was stored.
    Corrupt,
    /// They were delivered, and are no longer kept.
    Retention,
}

impl Why {
    const fn text(self) -> &'static str {
        match self {
            Self::PowerCut => "power_cut",
            Self::Corrupt => "corrupt",
            Self::Retention => "retention",
        }
    }
}

/// Events that cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) why: Why,
}

impl Hole {
    /// The event that stands in its place.
    pub(super) fn event(self) -> Event {
        Event::Gap {
            from_seq: self.from,
            to_seq: self.to,
            why: self.why.text().to_owned(),
        }
    }
}

/// A notice.
pub(super) fn notice(level: NoticeLevel, code: &str, text: String) -> Event {
    let code = code.to_owned();
    Event::Notice { level, code, text }
}

/// An event as a line with its newline. Its id follows from its place: there is one of it.
pub(super) fn line(
    session: &SessionId,
    agent: &str,
    seq: u64,
    at: Timestamp,
    event: &Event,
) -> Result<Vec<u8>, JournalError> {
    let unwritable = |error| JournalError::Corrupt(format!("an event has no JSON: {error}"));
    let origin = Uuid::new_v5(&Uuid::NAMESPACE_OID, session.as_str().as_bytes());
    let header = Header {
        seq: Seq::new(seq).unwrap_or(Seq::FIRST),
        event_id: EventId::derive(origin, seq),
        at,
        session_id: session.clone(),
        turn_id: None,
        attempt: None,
        agent: agent.to_owned(),
    };
    let mut line = Vec::new();
    let json = serde_json::to_vec(event).map_err(unwritable)?;
    header.write_line(&json, &mut line).map_err(unwritable)?;
    line.push(b'\n');
    Ok(line)
}
