//! `input.raw`: every frame that was sent to the CLI's stdin, and when in terms of its output.
//!
//! ```text
//! {"spool":<bytes of output before it>,"bytes":<length>}\n
//! <the frame>\n
//! ```
//!
//! A frame is in the file before the CLI can see it; the file may hold one that never arrived.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::files;
use crate::ids::SpoolOffset;

/// A frame that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// How long the spool was when it was sent.
    pub at: SpoolOffset,
    /// The frame.
    pub frame: Vec<u8>,
    /// How many bytes of the file it takes.
    pub record: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    spool: SpoolOffset,
    bytes: usize,
}

/// The writing side.
#[derive(Debug)]
pub struct InputLog {
    file: File,
    bytes: u64,
}

impl InputLog {
    /// Creates the file, or goes on with it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = files::append_private(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes })
    }

    /// Records a frame; how long the file is with it.
    pub fn record(&mut self, at: SpoolOffset, frame: &[u8]) -> io::Result<SpoolOffset> {
        let header = Header {
            spool: at,
            bytes: frame.len(),
        };
        let mut record = serde_json::to_vec(&header)?;
        record.push(b'\n');
        record.extend_from_slice(frame);
        record.push(b'\n');
        self.file.write_all(&record)?;
        self.bytes += record.len() as u64;
        Ok(SpoolOffset::new(self.bytes))
    }
}

/// The frames of a file's content; a torn last one is left out.
pub fn read_inputs(mut content: &[u8]) -> Vec<Input> {
    let mut inputs = Vec::new();
    while let Some((input, rest)) = first_input(content) {
        inputs.push(input);
        content = rest;
    }
    inputs
}

fn first_input(content: &[u8]) -> Option<(Input, &[u8])> {
    let line_end = memchr::memchr(b'\n', content)?;
    let header: Header = serde_json::from_slice(content.get(..line_end)?).ok()?;
    let body = content.get(line_end + 1..)?;
    let frame = body.get(..header.bytes)?;
    let rest = body.get(header.bytes..)?.strip_prefix(b"\n")?;
    let input = Input {
        at: header.spool,
        frame: frame.to_vec(),
        record: (content.len() - rest.len()) as u64,
    };
    Some((input, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_with_their_place_and_a_torn_one_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("input.raw");
        let mut log = InputLog::open(&path).unwrap();
        let first = log.record(SpoolOffset::START, b"{\"a\":1}\n").unwrap();
        let frame = b"\n\xff{\"spool\":1}";
        let end = log.record(SpoolOffset::new(70), frame).unwrap();
        let content = std::fs::read(&path).unwrap();
        assert_eq!(end.get(), content.len() as u64);
        let inputs = read_inputs(&content);
        assert_eq!(inputs[0].record, first.get());
        assert_eq!(inputs.len(), 2);
        assert_eq!(inputs[1].at, SpoolOffset::new(70));
        assert_eq!(inputs[1].frame, b"\n\xff{\"spool\":1}");
        assert_eq!(read_inputs(&content[..content.len() - 1]).len(), 1);
    }
}
