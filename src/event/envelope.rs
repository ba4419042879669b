//! The envelope: who, when and where of an event, flat beside its fields on one JSON line.
//!
//! Events are encoded once, by the turn that made them; the journal writer, which alone knows the
//! next `seq`, puts the header in front of those bytes. The line is then stored and sent as it is.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::event::Event;
use crate::ids::{EventId, Seq, SessionId, TurnId};

/// What an event's line says before its own fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Place in the session, from 1, without holes.
    pub seq: Seq,
    /// Stable over re-parses and re-sends.
    pub event_id: EventId,
    /// When the event was made, wall time.
    pub at: Timestamp,
    /// The Hub session.
    pub session_id: SessionId,
    /// The turn; absent on what belongs to the session as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn_id: Option<TurnId>,
    /// The attempt within the turn, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The agent's name, e.g. `claude`.
    pub agent: String,
}

/// An event with its header, read back from a line.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// Who, when, where.
    pub header: Header,
    /// What.
    pub event: Event,
}

/// A line that is no enveloped event.
#[derive(Debug, thiserror::Error)]
#[error("not an event line")]
pub struct EnvelopeError(#[from] serde_json::Error);

impl Header {
    /// Appends the whole line, without newline, to `out`. `event` is the event's own JSON object
    /// as `serde_json` writes it: never empty, since it holds at least its `type`.
    pub fn write_line(&self, event: &[u8], out: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        out.pop(); // the header's closing brace; the event's own closes the line
        out.push(b',');
        out.extend_from_slice(event.get(1..).unwrap_or_default());
        Ok(())
    }
}

impl Envelope {
    /// Reads one line, as [`Header::write_line`] wrote it.
    pub fn parse(line: &[u8]) -> Result<Self, EnvelopeError> {
        Ok(Self {
            header: serde_json::from_slice(line)?,
            event: serde_json::from_slice(line)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_line_is_one_flat_object_that_reads_back() {
        let header = Header {
            seq: Seq::FIRST,
            event_id: EventId::derive(Uuid::from_u128(1), 0),
            at: Timestamp::from_millis(1_795_220_000_000),
            session_id: "s1".parse().unwrap(),
            turn_id: None,
            attempt: None,
            agent: "claude".to_owned(),
        };
        let event = Event::Token {
            text: "a\nb".to_owned(),
            message_id: None,
            parent_call_id: None,
        };
        let mut line = Vec::new();
        header
            .write_line(&serde_json::to_vec(&event).unwrap(), &mut line)
            .unwrap();
        let text = String::from_utf8(line).unwrap();
        assert_eq!(
            text,
            r#"{"seq":1,"event_id":"b07ef8ad-8df1-5963-b460-ce8674e4aa58","at":1795220000000,"session_id":"s1","agent":"claude","type":"token","text":"a\nb"}"#
        );
        let back = Envelope::parse(text.as_bytes()).unwrap();
        assert_eq!(back, Envelope { header, event });
    }
}
