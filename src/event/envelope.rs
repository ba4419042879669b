//! The envelope: who, when and where of an event, flat beside its fields on one JSON line.
//!
//! Events are encoded once, by the turn that made them; the journal writer, which alone knows the
//! next `seq`, puts the header in front of those bytes. The line is then stored and sent as it is.

use std::fmt;

use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer, StringDeserializer};
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

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
#[derive(Debug, Clone, PartialEq)] // read by hand, below
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
        Ok(serde_json::from_slice(line)?)
    }

    /// The event's `type`, found without reading the rest of the line: the header holds no other
    /// object, and within a string the quotes would be escaped.
    pub fn type_of(line: &[u8]) -> Option<&[u8]> {
        const FIELD: &[u8] = b",\"type\":\"";
        let from = memchr::memmem::find(line, FIELD)? + FIELD.len();
        let rest = line.get(from..)?;
        rest.get(..memchr::memchr(b'"', rest)?)
    }
}

/// One pass over the line: the header's fields up to `type`, from there on the event's own.
impl<'de> Deserialize<'de> for Envelope {
    fn deserialize<D: Deserializer<'de>>(line: D) -> Result<Self, D::Error> {
        line.deserialize_map(LineVisitor)
    }
}

struct LineVisitor;

impl<'de> Visitor<'de> for LineVisitor {
    type Value = Envelope;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event's line: its header, then its type and fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope, A::Error> {
        let (mut seq, mut event_id, mut at, mut session_id) = (None, None, None, None);
        let (mut turn_id, mut attempt, mut agent) = (None, None, None);
        while let Some(field) = map.next_key::<Field>()? {
            match field {
                Field::Seq => seq = Some(map.next_value()?),
                Field::EventId => event_id = Some(map.next_value()?),
                Field::At => at = Some(map.next_value()?),
                Field::SessionId => session_id = Some(map.next_value()?),
                Field::TurnId => turn_id = Some(map.next_value()?),
                Field::Attempt => attempt = Some(map.next_value()?),
                Field::Agent => agent = Some(map.next_value()?),
                Field::Unknown => map.next_value::<IgnoredAny>().map(drop)?,
                Field::Type => {
                    let header = Header {
                        seq: seq.ok_or_else(|| A::Error::missing_field("seq"))?,
                        event_id: event_id.ok_or_else(|| A::Error::missing_field("event_id"))?,
                        at: at.ok_or_else(|| A::Error::missing_field("at"))?,
                        session_id: session_id
                            .ok_or_else(|| A::Error::missing_field("session_id"))?,
                        turn_id,
                        attempt,
                        agent: agent.ok_or_else(|| A::Error::missing_field("agent"))?,
                    };
                    let event = event(map.next_value()?, map)?;
                    return Ok(Envelope { header, event });
                }
            }
        }
        Err(A::Error::missing_field("type"))
    }
}

/// The event of the type `tag`, whose fields follow. What most lines are is read straight into its
/// fields; serde's own way for a tagged enum keeps all of them aside first, which costs as much
/// again as everything else about a line.
fn event<'de, A: MapAccess<'de>>(tag: String, map: A) -> Result<Event, A::Error> {
    let fields = MapAccessDeserializer::new;
    Ok(match tag.as_str() {
        "token" => {
            let said = Said::deserialize(fields(map))?;
            Event::Token {
                text: said.text,
                message_id: said.message_id,
                parent_call_id: said.parent_call_id,
            }
        }
        "thinking" => {
            let said = Said::deserialize(fields(map))?;
            Event::Thinking {
                text: said.text,
                message_id: said.message_id,
                parent_call_id: said.parent_call_id,
            }
        }
        "tool_end" => {
            let ended = Ended::deserialize(fields(map))?;
            Event::ToolEnd {
                call_id: ended.call_id,
                name: ended.name,
                output: ended.output,
                is_error: ended.is_error,
                exit_code: ended.exit_code,
                duration_ms: ended.duration_ms,
            }
        }
        _ => {
            let tag = Tag::Name(tag);
            Event::deserialize(MapAccessDeserializer::new(Tagged { tag, map }))?
        }
    })
}

/// The fields of [`Event::Token`] and [`Event::Thinking`].
#[derive(Deserialize)]
struct Said {
    text: String,
    message_id: Option<String>,
    parent_call_id: Option<String>,
}

/// The fields of [`Event::ToolEnd`].
#[derive(Deserialize)]
struct Ended {
    call_id: String,
    name: String,
    output: Option<String>,
    is_error: bool,
    exit_code: Option<i32>,
    duration_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Seq,
    EventId,
    At,
    SessionId,
    TurnId,
    Attempt,
    Agent,
    Type,
    #[serde(other)]
    Unknown,
}

/// A line's fields from `type` on, which has been read already and is given once more.
struct Tagged<A> {
    tag: Tag,
    map: A,
}

enum Tag {
    Name(String),
    Value(String),
    Given,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Tagged<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        match std::mem::replace(&mut self.tag, Tag::Given) {
            Tag::Name(tag) => {
                self.tag = Tag::Value(tag);
                seed.deserialize(BorrowedStrDeserializer::new("type"))
                    .map(Some)
            }
            Tag::Value(_) | Tag::Given => self.map.next_key_seed(seed),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        match std::mem::replace(&mut self.tag, Tag::Given) {
            Tag::Value(tag) => seed.deserialize(StringDeserializer::new(tag)),
            Tag::Name(_) | Tag::Given => self.map.next_value_seed(seed),
        }
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
        assert_eq!(Envelope::type_of(text.as_bytes()), Some(&b"token"[..]));
    }

    #[test]
    fn a_newer_versions_header_fields_are_passed_over_and_a_missing_one_is_not() {
        let line = |head: &str| {
            format!(
                r#"{{{head}"event_id":"b07ef8ad-8df1-5963-b460-ce8674e4aa58","at":1,"session_id":"s","agent":"a","type":"plan","items":[]}}"#
            )
        };
        let newer = line(r#""new":{"type":"x"},"seq":7,"#);
        let read = Envelope::parse(newer.as_bytes()).unwrap();
        assert_eq!(read.header.seq.get(), 7);
        assert_eq!(read.event, Event::Plan { items: Vec::new() });
        let error = Envelope::parse(line("").as_bytes()).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("`seq`"), "{cause}");
    }

    #[test]
    fn what_is_read_straight_is_what_the_vocabulary_says() {
        let head = r#""seq":7,"event_id":"b07ef8ad-8df1-5963-b460-ce8674e4aa58","at":1,"session_id":"s","agent":"a","#;
        for event in [
            r#""type":"token","text":"a\nb""#,
            r#""type":"token","text":"","message_id":"m","parent_call_id":"c","newer":{"x":[1]}"#,
            r#""type":"thinking","message_id":null,"text":"a""#,
            r#""type":"thinking","text":"a","parent_call_id":"c""#,
            r#""type":"tool_end","call_id":"c","name":"n","is_error":true"#,
            r#""type":"tool_end","call_id":"c","name":"n","output":"é","is_error":false,"exit_code":-1,"duration_ms":3"#,
        ] {
            let whole: Event = serde_json::from_str(&format!("{{{event}}}")).unwrap();
            let line = format!("{{{head}{event}}}");
            assert_eq!(Envelope::parse(line.as_bytes()).unwrap().event, whole);
            let again = serde_json::to_value(&whole).unwrap();
            let again: Event = serde_json::from_value(again).unwrap();
            assert_eq!(again, whole);
        }
        for event in [r#""type":"token""#, r#""type":"tool_end","call_id":"c""#] {
            assert!(Envelope::parse(format!("{{{head}{event}}}").as_bytes()).is_err());
        }
    }

    #[test]
    fn a_type_is_found_past_strings_that_look_like_one() {
        let line = br#"{"seq":1,"agent":"x,\"type\":\"no\"","type":"end","outcome":"completed"}"#;
        assert_eq!(Envelope::type_of(line), Some(&b"end"[..]));
        assert_eq!(Envelope::type_of(b"{}"), None);
    }
}
