//! From a line to the records in it, for CLIs that write one JSON object a line.
//!
//! Nearly every line is one record and is parsed once, where it lies. What is not is taken apart:
//! noise in front of a record (a terminal's echo, another stream), several records on one line, a
//! record that is cut. What cannot be read stays as `raw`, and what was mixed up is reported.

use serde::Deserialize;

use super::json::Text;
use super::lines::{self, Piece, corrupt, raw};
use crate::event::Event;
use crate::frame::Line;

/// What an adapter made of a record.
pub(super) enum Taken {
    /// It was read; the reason is for the case that it gave no event.
    Read(&'static str),
    /// It is JSON, but of no known kind or not of its kind's shape.
    Unknown,
    /// It is no record at all.
    Broken,
}

/// A CLI's records.
pub(super) trait Records {
    /// The values of `type` that a record may have at its top.
    const TYPES: &'static [&'static str];

    /// Takes one record.
    fn record(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Taken;
}

/// Takes a line. The reason is for the case that no event comes of it.
pub(super) fn take(
    adapter: &mut impl Records,
    line: &Line<'_>,
    out: &mut Vec<Event>,
) -> &'static str {
    let bytes = match lines::content(line, out) {
        Ok(bytes) => bytes,
        Err(reason) => return reason,
    };
    match adapter.record(bytes, out) {
        Taken::Read(reason) => reason,
        Taken::Unknown => {
            out.push(raw(bytes));
            ""
        }
        Taken::Broken => {
            broken(adapter, bytes, out);
            ""
        }
    }
}

fn broken<A: Records>(adapter: &mut A, bytes: &[u8], out: &mut Vec<Event>) {
    // one damaged byte in a text costs that character, not the record
    if std::str::from_utf8(bytes).is_err() {
        let text = String::from_utf8_lossy(bytes);
        if is_record::<A>(text.as_bytes()) {
            piece(adapter, text.as_bytes(), out);
            return;
        }
    }
    let pieces = lines::pieces(bytes, is_record::<A>);
    let records = pieces.iter().any(|piece| matches!(piece, Piece::Record(_)));
    let text = if records {
        "several records, or a record and other output, share a line"
    } else if bytes.starts_with(b"{\"") {
        "a record is incomplete; its text is kept as it is"
    } else {
        out.push(raw(bytes));
        return;
    };
    out.push(corrupt(text));
    for part in pieces {
        match part {
            Piece::Record(record) => piece(adapter, record, out),
            Piece::Noise(noise) => out.push(raw(noise)),
        }
    }
}

fn piece(adapter: &mut impl Records, bytes: &[u8], out: &mut Vec<Event>) {
    match adapter.record(bytes, out) {
        Taken::Read(_) => {}
        Taken::Unknown | Taken::Broken => out.push(raw(bytes)),
    }
}

fn is_record<A: Records>(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(borrow, rename = "type")]
        kind: Text<'a>,
    }
    serde_json::from_slice::<Typed<'_>>(bytes).is_ok_and(|record| A::TYPES.contains(&&*record.kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::lines::notice;
    use crate::event::NoticeLevel;
    use crate::frame::{FrameLimits, LineFramer};
    use crate::ids::SpoolOffset;

    struct Echo;

    impl Records for Echo {
        const TYPES: &'static [&'static str] = &["a", "b"];

        fn record(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Taken {
            if !is_record::<Self>(bytes) {
                return Taken::Broken;
            }
            out.push(notice(
                NoticeLevel::Info,
                "record",
                String::from_utf8_lossy(bytes).into_owned(),
            ));
            Taken::Read("")
        }
    }

    fn read(line: &[u8]) -> Vec<(String, String)> {
        let mut out = Vec::new();
        let mut framer = LineFramer::new(FrameLimits::default(), SpoolOffset::START);
        let mut sink = |line: Line<'_>| {
            take(&mut Echo, &line, &mut out);
        };
        framer.push(line, &mut sink);
        framer.finish(&mut sink);
        let told = |event: Event| match event {
            Event::Notice { code, text, .. } => (code, text),
            Event::Raw { text, .. } => ("raw".to_owned(), text),
            _ => unreachable!(),
        };
        out.into_iter().map(told).collect()
    }

    fn codes(line: &[u8]) -> Vec<String> {
        read(line).into_iter().map(|(code, _)| code).collect()
    }

    #[test]
    fn glued_records_come_apart_and_noise_stays() {
        assert_eq!(
            codes(br#"{"type":"a"} noise {"type":"b","x":{"type":"z"}}tail"#),
            ["stream_corrupt", "record", "raw", "record", "raw"]
        );
    }

    #[test]
    fn what_holds_no_record_stays_as_it_is() {
        assert_eq!(codes(b"Warning: a terminal"), ["raw"]);
        assert_eq!(codes(br#"{"type":"a","cut"#), ["stream_corrupt", "raw"]);
        assert_eq!(codes(br#"{"type":"other"}"#), ["stream_corrupt", "raw"]);
        assert!(codes(b"  \r\n").is_empty());
    }

    #[test]
    fn a_damaged_byte_costs_a_character_only() {
        let mut line = br#"{"type":"a","x":"y"}"#.to_vec();
        line[17] = 0xff;
        let made = read(&line);
        assert_eq!(made[0].0, "record");
        assert!(made[0].1.contains('\u{fffd}'));
    }
}
