//! Cuts JSON strings that are too long, byte by byte, so that the JSON stays valid.
//!
//! Structure passes through. Of a string over the limit the first bytes are kept, up to the last
//! whole character or escape (a `\uD83D\uDE00` pair is one), and `…[+N bytes]` says how many bytes
//! of it are gone. What stands before the first `{` is no JSON and passes untouched.

/// The longest unit that must not be cut apart: a surrogate pair.
const LONGEST_ESCAPE: usize = 12;

/// The transducer's state; `out` of all calls is the same buffer.
#[derive(Debug)]
pub(super) struct StringCap {
    limit: usize,
    place: Place,
    /// Bytes kept of the current string.
    kept: usize,
    /// Bytes left out of the current string.
    dropped: u64,
    /// Bytes left out of all strings.
    cut: u64,
    /// An escape that is not complete yet.
    escape: Escape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Before,
    Structure,
    String,
    /// In a string, past the limit; `true` after a backslash.
    Dropping(bool),
}

#[derive(Debug, Default)]
struct Escape {
    bytes: [u8; LONGEST_ESCAPE],
    len: usize,
}

impl StringCap {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            place: Place::Before,
            kept: 0,
            dropped: 0,
            cut: 0,
            escape: Escape::default(),
        }
    }

    /// Bytes left out so far.
    pub(super) fn cut(&self) -> u64 {
        self.cut
    }

    /// Passes `bytes` on to `out`.
    pub(super) fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while let Some((&byte, rest)) = bytes.split_first() {
            bytes = match self.place {
                Place::Before => self.pass_until(bytes, b'{', Place::Structure, out),
                Place::Structure => self.pass_until(bytes, b'"', Place::String, out),
                Place::Dropping(escaped) => self.drop_from(bytes, escaped, out),
                Place::String if self.escape.len > 0 => self.escaped(byte, bytes, rest, out),
                Place::String => self.string(bytes, out),
            };
        }
    }

    /// The line has ended, perhaps in the middle of a string.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if self.escape.len > 0 {
            self.keep_escape(out);
        }
        self.mark(out);
    }

    /// Passes everything up to and with `stop`, after which `then` begins.
    fn pass_until<'a>(
        &mut self,
        bytes: &'a [u8],
        stop: u8,
        then: Place,
        out: &mut Vec<u8>,
    ) -> &'a [u8] {
        let len = memchr::memchr(stop, bytes).map(|at| at + 1);
        let (pass, rest) = bytes.split_at(len.unwrap_or(bytes.len()));
        out.extend_from_slice(pass);
        if len.is_some() {
            self.place = then;
            self.kept = 0;
        }
        rest
    }

    /// In a string, within the limit, at no escape.
    fn string<'a>(&mut self, bytes: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let stop = memchr::memchr2(b'"', b'\\', bytes);
        let (run, rest) = bytes.split_at(stop.unwrap_or(bytes.len()));
        let room = self.limit.saturating_sub(self.kept);
        if run.len() > room {
            let (fits, over) = run.split_at(room);
            out.extend_from_slice(fits);
            self.kept += fits.len();
            self.trim_partial_character(out);
            self.place = Place::Dropping(false);
            return bytes.get(run.len() - over.len()..).unwrap_or_default();
        }
        out.extend_from_slice(run);
        self.kept += run.len();
        match rest.split_first() {
            Some((b'"', after)) => {
                out.push(b'"');
                self.place = Place::Structure;
                after
            }
            Some((_, after)) => {
                self.escape.start();
                after
            }
            None => rest,
        }
    }

    /// In a string, in an escape: takes `byte`, or ends the escape before it.
    fn escaped<'a>(
        &mut self,
        byte: u8,
        bytes: &'a [u8],
        rest: &'a [u8],
        out: &mut Vec<u8>,
    ) -> &'a [u8] {
        match self.escape.step(byte) {
            Step::More => rest,
            Step::Complete => {
                self.keep_escape(out);
                rest
            }
            Step::EndsBefore => {
                self.keep_escape(out);
                bytes
            }
            Step::SecondIsAnother => {
                // `\uD83D` and then `\n`: two units
                self.escape.len -= 1;
                self.keep_escape(out);
                if self.place == Place::String {
                    self.escape.start();
                } else {
                    self.place = Place::Dropping(true);
                    self.dropped += 1;
                    self.cut += 1;
                }
                bytes
            }
        }
    }

    /// The collected escape is whole: keeps it if it fits.
    fn keep_escape(&mut self, out: &mut Vec<u8>) {
        let len = std::mem::take(&mut self.escape.len);
        if self.kept + len <= self.limit {
            out.extend_from_slice(self.escape.bytes.get(..len).unwrap_or_default());
            self.kept += len;
        } else {
            self.dropped += len as u64;
            self.cut += len as u64;
            self.place = Place::Dropping(false);
        }
    }

    /// In a string, past the limit: looks for its end.
    fn drop_from<'a>(&mut self, bytes: &'a [u8], escaped: bool, out: &mut Vec<u8>) -> &'a [u8] {
        let stop = if escaped {
            None
        } else {
            memchr::memchr2(b'"', b'\\', bytes)
        };
        let len = if escaped {
            1
        } else {
            stop.unwrap_or(bytes.len())
        };
        let (gone, rest) = bytes.split_at(len.min(bytes.len()));
        self.dropped += gone.len() as u64;
        self.cut += gone.len() as u64;
        self.place = Place::Dropping(false);
        match rest.split_first() {
            Some((b'"', after)) if stop.is_some() => {
                self.mark(out);
                out.push(b'"');
                self.place = Place::Structure;
                after
            }
            Some((_, after)) if stop.is_some() => {
                self.dropped += 1;
                self.cut += 1;
                self.place = Place::Dropping(true);
                after
            }
            _ => rest,
        }
    }

    fn mark(&mut self, out: &mut Vec<u8>) {
        if self.dropped > 0 {
            out.extend_from_slice(format!("…[+{} bytes]", self.dropped).as_bytes());
            self.dropped = 0;
        }
    }

    /// Takes back the start of a character whose end did not fit.
    fn trim_partial_character(&mut self, out: &mut Vec<u8>) {
        let tail = out.len().saturating_sub(4.min(self.kept));
        let last = out.get(tail..).unwrap_or_default();
        let Some(back) = last.iter().rev().position(|b| !(0x80..0xc0).contains(b)) else {
            return;
        };
        let lead = out.len() - 1 - back;
        let needs = match out.get(lead) {
            Some(0xf0..) => 4,
            Some(0xe0..) => 3,
            Some(0xc0..) => 2,
            _ => 1,
        };
        if needs > back + 1 {
            let gone = out.len() - lead;
            out.truncate(lead);
            self.kept -= gone;
            self.dropped += gone as u64;
            self.cut += gone as u64;
        }
    }
}

enum Step {
    More,
    Complete,
    /// The byte is not part of the escape.
    EndsBefore,
    /// A backslash was taken for a pair's second half, but it begins another escape.
    SecondIsAnother,
}

impl Escape {
    fn start(&mut self) {
        self.bytes[0] = b'\\';
        self.len = 1;
    }

    fn step(&mut self, byte: u8) -> Step {
        match self.len {
            1 => match byte {
                b'u' => self.take(byte, false),
                _ => self.take(byte, true),
            },
            2..=4 | 8..=10 if byte.is_ascii_hexdigit() => self.take(byte, false),
            5 if byte.is_ascii_hexdigit() => {
                let high = matches!(
                    self.bytes,
                    [
                        _,
                        _,
                        b'd' | b'D',
                        b'8' | b'9' | b'a' | b'b' | b'A' | b'B',
                        ..
                    ]
                );
                self.take(byte, !high)
            }
            6 if byte == b'\\' => self.take(byte, false),
            7 if byte == b'u' => self.take(byte, false),
            7 => Step::SecondIsAnother,
            11 if byte.is_ascii_hexdigit() => self.take(byte, true),
            _ => Step::EndsBefore,
        }
    }

    fn take(&mut self, byte: u8, last: bool) -> Step {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
        if last { Step::Complete } else { Step::More }
    }
}
