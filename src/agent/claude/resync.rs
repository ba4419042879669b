//! Lines that are no single record: glued ones, noise in front, and a record inside another.
//!
//! Claude Code writes some records (seen: `rate_limit_event`) without a lock, so that one may land
//! in the middle of another, its newline cutting that one in two. Inside a valid record
//! `{"type":"` can stand only where an object begins, never within a string (its quotes would be
//! escaped), so it marks where to look. What cannot be put together stays as it is.

use memchr::memmem;
use serde_json::value::RawValue;

use super::record::Record;
use super::{Claude, corrupt, raw, text};
use crate::agent::Adapter as _;
use crate::event::Event;

/// The record types that may stand at the top of a line.
pub(super) const TYPES: &[&str] = &[
    "system",
    "assistant",
    "user",
    "stream_event",
    "result",
    "rate_limit_event",
    "tool_progress",
    "tool_use_summary",
    "auth_status",
    "prompt_suggestion",
    "conversation_reset",
    "control_request",
    "control_response",
    "control_cancel_request",
    "keep_alive",
];

const MARK: &[u8] = b"{\"type\":\"";

/// How many places of one line are tried: each may cost a scan of the rest of it.
const ATTEMPTS: usize = 64;

/// Pieces of a broken line, in order.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    /// A whole record.
    Record(&'a [u8]),
    /// Bytes between records.
    Noise(&'a [u8]),
}

/// The longest half of a cut record that is kept until its other half comes.
const FRAGMENT_LIMIT: usize = 1 << 20;

impl Claude {
    /// A line that is no record: noise, or records that were mixed up.
    pub(super) fn broken(&mut self, bytes: &[u8], out: &mut Vec<Event>) {
        if let Some(mut whole) = self.fragment.take() {
            let half = whole.len();
            whole.extend_from_slice(bytes);
            if is_record(&whole) {
                out.push(corrupt(
                    "a record that another one had cut in two was put together",
                ));
                self.piece(&whole, out);
                return;
            }
            whole.truncate(half);
            out.push(raw(&whole));
        }
        let pieces = pieces(bytes);
        let records = pieces
            .iter()
            .filter(|piece| matches!(piece, Piece::Record(_)));
        if records.count() == 0 {
            if bytes.starts_with(b"{\"") {
                out.push(corrupt("a record is incomplete; its text is kept as it is"));
            }
            out.push(raw(bytes));
            return;
        }
        out.push(corrupt(
            "several records, or a record and other output, share a line",
        ));
        match pieces.as_slice() {
            [Piece::Noise(head), Piece::Record(inner), Piece::Noise(tail)]
                if is_record(&[*head, *tail].concat()) =>
            {
                self.piece(inner, out);
                self.piece(&[*head, *tail].concat(), out);
            }
            [Piece::Noise(head), Piece::Record(inner)]
                if head.starts_with(b"{\"") && head.len() <= FRAGMENT_LIMIT =>
            {
                self.piece(inner, out);
                self.fragment = Some(head.to_vec());
            }
            _ => {
                for piece in pieces {
                    match piece {
                        Piece::Record(record) => self.piece(record, out),
                        Piece::Noise(noise) => out.push(raw(noise)),
                    }
                }
            }
        }
    }

    /// A record out of a broken line. It ends a turn only if it is of this conversation: what
    /// other programs print must not.
    fn piece(&mut self, bytes: &[u8], out: &mut Vec<Event>) {
        let text = text(bytes);
        let Ok(record) = serde_json::from_str::<Record<'_>>(&text) else {
            out.push(raw(bytes));
            return;
        };
        let ours = self.agent_session() == record.session_id.as_deref();
        if &*record.kind == "result" && !ours {
            out.push(raw(bytes));
        } else {
            self.record(&record, &text, out);
        }
    }
}

/// Takes a broken line apart. With no record in it, it is one piece of noise.
fn pieces(line: &[u8]) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = line;
    let mut search = 0;
    for _ in 0..ATTEMPTS {
        let Some(at) = memmem::find(rest.get(search..).unwrap_or_default(), MARK) else {
            break;
        };
        let at = search + at;
        let Some(record) = record_at(rest.get(at..).unwrap_or_default()) else {
            search = at + 1;
            continue;
        };
        let noise = rest.get(..at).unwrap_or_default();
        if !noise.trim_ascii().is_empty() {
            pieces.push(Piece::Noise(noise));
        }
        pieces.push(Piece::Record(record));
        rest = rest.get(at + record.len()..).unwrap_or_default();
        search = 0;
    }
    if !rest.trim_ascii().is_empty() {
        pieces.push(Piece::Noise(rest));
    }
    pieces
}

/// The record that begins with `bytes`, if one does.
fn record_at(bytes: &[u8]) -> Option<&[u8]> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<&RawValue>();
    let value = values.next()?.ok()?.get().as_bytes();
    is_record(value).then_some(value)
}

/// Whether `bytes` are one whole record of a known type.
pub(super) fn is_record(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Record<'_>>(bytes).is_ok_and(|record| TYPES.contains(&&*record.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &[u8] = br#"{"type":"system","subtype":"status"}"#;
    const B: &[u8] = br#"{"type":"rate_limit_event","x":{"type":"y"}}"#;

    #[test]
    fn glued_records_come_apart() {
        let line = [A, B, b"tail"].concat();
        assert_eq!(
            pieces(&line),
            [Piece::Record(A), Piece::Record(B), Piece::Noise(b"tail")]
        );
    }

    #[test]
    fn a_record_inside_another_leaves_its_two_halves() {
        let (head, tail) = A.split_at(20);
        let line = [head, B, tail].concat();
        assert_eq!(
            pieces(&line),
            [Piece::Noise(head), Piece::Record(B), Piece::Noise(tail)]
        );
    }

    #[test]
    fn an_object_of_another_kind_is_no_record() {
        let line = br#"{"type":"stream_event","event":{"type":"message_stop"},"cut"#;
        assert_eq!(pieces(line), [Piece::Noise(line.as_slice())]);
    }
}
