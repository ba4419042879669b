//! Reading server-sent events, as far as the API sends them.

use bytes::BytesMut;

/// Reads a stream as it comes in chunks.
#[derive(Debug, Default)]
pub(super) struct Reader {
    buffer: BytesMut,
    /// What of the buffer holds no line break.
    searched: usize,
    message: Message,
}

/// A message of the stream.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// Its kind; absent on an event of the session.
    pub(super) event: Option<String>,
    /// The cursor to go on after.
    pub(super) id: Option<u64>,
    /// What it holds.
    pub(super) data: Vec<u8>,
}

impl Reader {
    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next message that is there whole.
    pub(super) fn next(&mut self) -> Option<Message> {
        loop {
            let rest = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(end) = memchr::memchr(b'\n', rest) else {
                self.searched = self.buffer.len();
                return None;
            };
            let line = self.buffer.split_to(self.searched + end + 1);
            self.searched = 0;
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            if !line.is_empty() {
                self.field(line);
                continue;
            }
            let message = std::mem::take(&mut self.message);
            // A comment alone makes no message.
            if message != Message::default() {
                return Some(message);
            }
        }
    }

    fn field(&mut self, line: &[u8]) {
        if let Some(data) = line.strip_prefix(b"data: ") {
            self.message.data.extend_from_slice(data);
        } else if let Some(id) = line.strip_prefix(b"id: ") {
            self.message.id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
        } else if let Some(event) = line.strip_prefix(b"event: ") {
            self.message.event = Some(String::from_utf8_lossy(event).into_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_the_same_however_they_are_chunked() {
        let text = b":\n\nid: 7\ndata: {\"a\":\"b\"}\n\nevent: complete\ndata: {}\n\nid: 8\nda";
        for size in 1..text.len() {
            let mut reader = Reader::default();
            let mut messages = Vec::new();
            for chunk in text.chunks(size) {
                reader.push(chunk);
                while let Some(message) = reader.next() {
                    messages.push(message);
                }
            }
            let one = Message {
                event: None,
                id: Some(7),
                data: b"{\"a\":\"b\"}".to_vec(),
            };
            let two = Message {
                event: Some("complete".to_owned()),
                id: None,
                data: b"{}".to_vec(),
            };
            assert_eq!(messages, [one, two], "chunks of {size}");
        }
    }
}
