//! Lines that are nearly what a CLI writes.

use crate::recordings::Recording;

/// Lines up to here are what CLIs write most.
const SHORT: usize = 8192;
/// The longest line that is put together of others.
const LONGEST: usize = 1 << 20;
/// Bytes that mean something to some layer: JSON, line ends, terminals, UTF-8.
const TELLING: &[u8] = b"{}[]\",:\\\n\r\x1b\0\x07^Cu0159etrunfalsx\xff\xc3\xed\xf0\x80";
/// Values that are put in place of others.
const VALUES: &[&str] = &[
    "null",
    "true",
    "0",
    "-1",
    "18446744073709551615",
    "1e999",
    "\"\"",
    "\"\\ud800\"",
    "[]",
    "{}",
    "[[[[[[]]]]]]",
    "{\"type\":\"result\"}",
    "\"a\\u0000b\"",
    "3.5",
];
/// How deep nesting goes that is put in: far over what parsers take.
const DEPTH: usize = 400;

/// Gives mutated lines, the same for the same seed.
pub(crate) struct Mutator {
    lines: Vec<Vec<u8>>,
    /// What is chosen from most of the time: a long line costs as much as a thousand others.
    short: Vec<usize>,
    long: Vec<usize>,
    state: u64,
}

impl Mutator {
    pub(crate) fn new(seed: u64, recordings: &[Recording]) -> Self {
        let lines: Vec<Vec<u8>> = recordings
            .iter()
            .flat_map(|recording| recording.stdout.split(|byte| *byte == b'\n'))
            .filter(|line| !line.is_empty())
            .map(<[u8]>::to_vec)
            .collect();
        let (short, long) = (0..lines.len()).partition(|at| lines[*at].len() < SHORT);
        Self {
            lines,
            short,
            long,
            state: seed,
        }
    }

    /// Puts the next line into `out`; now and then its end is missing, so that it runs into the
    /// next one.
    pub(crate) fn next_line(&mut self, out: &mut Vec<u8>) {
        let line = self.any_line();
        out.clear();
        out.extend_from_slice(&self.lines[line]);
        for _ in 0..=self.below(3) {
            self.mutate(out);
        }
        if self.below(50) != 0 {
            out.push(b'\n');
        }
    }

    fn any_line(&mut self) -> usize {
        let rare = self.below(500) == 0;
        let count = if rare {
            self.long.len()
        } else {
            self.short.len()
        };
        let at = self.below(count);
        let from = if rare { &self.long } else { &self.short };
        from.get(at).copied().unwrap_or_default()
    }

    fn mutate(&mut self, line: &mut Vec<u8>) {
        if line.is_empty() {
            return;
        }
        let at = self.below(line.len());
        match self.below(12) {
            0 => {} // as recorded, but among strangers
            1 => line[at] = TELLING[self.below(TELLING.len())],
            2 => line[at] ^= 1 << self.below(8),
            3 => line.insert(at, TELLING[self.below(TELLING.len())]),
            4 => line.truncate(at),
            5 => drop(line.drain(..at)),
            6 => {
                let end = (at + self.below(64)).min(line.len());
                line.drain(at..end);
            }
            7 => {
                let end = (at + self.below(256)).min(line.len());
                let piece = line[at..end].to_vec();
                line.splice(at..at, piece);
            }
            8 => self.mix(line, at),
            9 => self.replace_value(line, at),
            10 => {
                let deep = [b"[{\"a\":".repeat(DEPTH / 2), b"0".to_vec()].concat();
                line.splice(at..at, deep);
            }
            _ => self.swap_type(line),
        }
    }

    /// Another line's part in the middle, as processes that share a terminal do it.
    fn mix(&mut self, line: &mut Vec<u8>, at: usize) {
        let other = self.any_line();
        let other = &self.lines[other];
        if line.len() + other.len() < LONGEST {
            let other = other.clone();
            let cut = self.below(other.len() + 1);
            let part = if self.below(2) == 0 {
                &other[..cut]
            } else {
                &other[..]
            };
            line.splice(at..at, part.iter().copied());
        }
    }

    /// The value behind the next colon becomes another.
    fn replace_value(&mut self, line: &mut Vec<u8>, at: usize) {
        let Some(colon) = line[at..].iter().position(|byte| *byte == b':') else {
            return;
        };
        let from = at + colon + 1;
        let len = line[from..]
            .iter()
            .position(|byte| b",}]".contains(byte))
            .unwrap_or(0);
        let value = VALUES[self.below(VALUES.len())].bytes();
        line.splice(from..from + len, value);
    }

    /// A record's type, or a part's, as another line has it.
    fn swap_type(&mut self, line: &mut Vec<u8>) {
        const KEY: &[u8] = b"\"type\":\"";
        let other = self.any_line();
        let other = self.lines[other].clone();
        let find = |bytes: &[u8]| {
            let from = memchr::memmem::rfind(bytes, KEY)? + KEY.len();
            let len = memchr::memchr(b'"', &bytes[from..])?;
            Some(from..from + len)
        };
        if let (Some(old), Some(new)) = (find(line), find(&other)) {
            line.splice(old, other[new].iter().copied());
        }
    }

    /// A number below `limit`; `SplitMix64`.
    fn below(&mut self, limit: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        usize::try_from(bits % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }
}
