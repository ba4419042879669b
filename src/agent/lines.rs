//! Lines before their records are known: blank ones, cut ones, and those that are no single record.
//!
//! The agents' CLIs write one JSON object a line, with `type` as its first key. Inside a valid
//! record `{"type":"` can stand only where an object begins, never within a string (its quotes
//! would be escaped), so it marks where to look in a line that other output was mixed into. What
//! cannot be put together stays as it is.

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::{Event, NoticeLevel, RawStream};
use crate::frame::{Line, Loss};

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

/// The record that a line is, and its text: the line's own, or `mended`, where a string of it is no
/// UTF-8.
pub(super) fn record<'l, R: Deserialize<'l>>(
    line: &'l [u8],
    mended: &'l mut String,
) -> Option<(R, &'l [u8])> {
    if let Ok(record) = serde_json::from_slice(line) {
        return Some((record, line));
    }
    if std::str::from_utf8(line).is_ok() {
        return None;
    }
    *mended = String::from_utf8_lossy(line).into_owned();
    let text: &'l str = mended;
    let record = serde_json::from_str(text).ok()?;
    Some((record, text.as_bytes()))
}

/// What there is to read of a line; an error is the reason why that is nothing. What was cut from
/// it becomes a notice.
pub(super) fn content<'l>(line: &Line<'l>, out: &mut Vec<Event>) -> Result<&'l [u8], &'static str> {
    match line.loss {
        Loss::Oversized => {
            let span = [line.start.get(), line.end.get()];
            out.push(Event::Raw {
                stream: RawStream::Stdout,
                text: String::from_utf8_lossy(line.bytes).into_owned(),
                count: None,
                span: Some(span),
            });
            out.push(notice(
                NoticeLevel::Warning,
                "line_oversized",
                format!(
                    "a line of {} bytes is over the limit; only its start was kept",
                    span[1].saturating_sub(span[0])
                ),
            ));
            return Err("");
        }
        Loss::Capped(bytes) => out.push(notice(
            NoticeLevel::Warning,
            "output_cut",
            format!("strings over the limit were cut by {bytes} bytes in all"),
        )),
        Loss::None => {}
    }
    if line.bytes.trim_ascii().is_empty() {
        return Err("blank");
    }
    Ok(line.bytes)
}

/// Takes a broken line apart. With no record in it, it is one piece of noise.
pub(super) fn pieces(line: &[u8], is_record: fn(&[u8]) -> bool) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = line;
    let mut search = 0;
    for _ in 0..ATTEMPTS {
        let Some(at) = memmem::find(rest.get(search..).unwrap_or_default(), MARK) else {
            break;
        };
        let at = search + at;
        let Some(record) = record_at(rest.get(at..).unwrap_or_default(), is_record) else {
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
fn record_at(bytes: &[u8], is_record: fn(&[u8]) -> bool) -> Option<&[u8]> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<&RawValue>();
    let value = values.next()?.ok()?.get().as_bytes();
    is_record(value).then_some(value)
}

/// Output that is no known record.
pub(super) fn raw(bytes: &[u8]) -> Event {
    Event::Raw {
        stream: RawStream::Stdout,
        text: String::from_utf8_lossy(bytes).into_owned(),
        count: None,
        span: None,
    }
}

/// The output was mixed up.
pub(super) fn corrupt(text: &str) -> Event {
    notice(NoticeLevel::Warning, "stream_corrupt", text.to_owned())
}

/// Something a person should know.
pub(super) fn notice(level: NoticeLevel, code: &str, text: String) -> Event {
    Event::Notice {
        level,
        code: code.to_owned(),
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_record(bytes: &[u8]) -> bool {
        bytes.starts_with(br#"{"type":"system""#) || bytes.starts_with(br#"{"type":"rate_limit"#)
    }

    const A: &[u8] = br#"{"type":"system","subtype":"status"}"#;
    const B: &[u8] = br#"{"type":"rate_limit_event","x":{"type":"y"}}"#;

    #[test]
    fn glued_records_come_apart() {
        let line = [A, B, b"tail"].concat();
        assert_eq!(
            pieces(&line, is_record),
            [Piece::Record(A), Piece::Record(B), Piece::Noise(b"tail")]
        );
    }

    #[test]
    fn a_record_inside_another_leaves_its_two_halves() {
        let (head, tail) = A.split_at(20);
        let line = [head, B, tail].concat();
        assert_eq!(
            pieces(&line, is_record),
            [Piece::Noise(head), Piece::Record(B), Piece::Noise(tail)]
        );
    }

    #[test]
    fn an_object_of_another_kind_is_no_record() {
        let line = br#"{"type":"stream_event","event":{"type":"message_stop"},"cut"#;
        assert_eq!(pieces(line, is_record), [Piece::Noise(line.as_slice())]);
    }
}
