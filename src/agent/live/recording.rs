//! A dialog as somebody recorded it, both directions in one file.
//!
//! Two forms are known: JSON lines `{"dir": ">" or "<", "msg": FRAME}`, and text lines
//! `SECONDS > FRAME`. `>` is what was sent to the CLI. Lines that are neither (`!`: what became of
//! the process) are passed over.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::ids::SpoolOffset;

/// Both sides of a dialog.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// What the CLI said.
    pub output: Vec<u8>,
    /// What was said to it, each with how much of the output was there by then.
    pub input: Vec<(SpoolOffset, Vec<u8>)>,
}

#[derive(Deserialize)]
struct Recorded<'a> {
    #[serde(borrow)]
    dir: &'a str,
    #[serde(borrow)]
    msg: &'a RawValue,
}

/// The dialog; nothing where the file holds none.
pub fn read(file: &[u8]) -> Option<Recording> {
    let mut recording = Recording::default();
    for line in file.split(|byte| *byte == b'\n') {
        let timed = || timed(line);
        let json = serde_json::from_slice::<Recorded<'_>>(line).ok();
        let json = json.map(|line| (line.dir, line.msg.get().as_bytes()));
        match json.or_else(timed) {
            Some(("<", frame)) => {
                recording.output.extend_from_slice(frame);
                recording.output.push(b'\n');
            }
            Some((">", frame)) => {
                let at = SpoolOffset::new(recording.output.len() as u64);
                recording.input.push((at, frame.to_vec()));
            }
            _ => {}
        }
    }
    (recording != Recording::default()).then_some(recording)
}

/// `   1.513 > {"type": …}`
fn timed(line: &[u8]) -> Option<(&str, &[u8])> {
    let line = line.trim_ascii_start();
    let at = line.iter().position(|byte| *byte == b' ')?;
    let (time, rest) = line.split_at(at);
    std::str::from_utf8(time).ok()?.parse::<f64>().ok()?;
    let (direction, frame) = rest.get(1..)?.split_at_checked(1)?;
    let frame = frame.strip_prefix(b" ")?;
    Some((std::str::from_utf8(direction).ok()?, frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_anything_else_is_none() {
        let sent = |at, frame: &[u8]| (SpoolOffset::new(at), frame.to_vec());
        let json =
            b"{\"dir\":\"<\",\"msg\":{\"a\":2}}\n{\"dir\": \">\", \"t\": 0.1,\"msg\":{\"id\": 1}}";
        let recording = read(json).unwrap();
        assert_eq!(recording.output, b"{\"a\":2}\n");
        assert_eq!(recording.input, [sent(8, b"{\"id\": 1}")]);
        let text = b"   1.513 > {\"a\": 1}\n   2.0 < {\"b\":2}\n   8.654 ! exit 0\n";
        let recording = read(text).unwrap();
        assert_eq!(recording.output, b"{\"b\":2}\n");
        assert_eq!(recording.input, [sent(0, b"{\"a\": 1}")]);
        assert_eq!(read(b"{\"type\":\"result\"}\n"), None);
        assert_eq!(read(b""), None);
    }
}
