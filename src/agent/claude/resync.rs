//! Lines that are no single record: glued ones, noise in front, and a record inside another.
//!
//! Claude Code writes some records (seen: `rate_limit_event`) without a lock, so that one may land
//! in the middle of another, its newline cutting that one in two. Inside a valid record
//! `{"type":"` can stand only where an object begins, never within a string (its quotes would be
//! escaped), so it marks where to look. What cannot be put together stays as it is.

use memchr::memmem;
use serde_json::value::RawValue;

use super::record::Record;

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
pub(super) enum Piece<'a> {
    /// A whole record.
    Record(&'a [u8]),
    /// Bytes between records.
    Noise(&'a [u8]),
}

/// Takes a broken line apart. With no record in it, it is one piece of noise.
pub(super) fn pieces(line: &[u8]) -> Vec<Piece<'_>> {
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
