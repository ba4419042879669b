//! Digests of what was stored, to know it again: a bit that a disk has turned is found on reading.
//!
//! Not a defence against somebody who writes the file on purpose: they could write the digest, too.

/// Odd, with its bits spread evenly (the golden ratio): multiplying by it loses nothing.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// A digest over fields, each taken with its length.
///
/// Each step is a bijection of the state for a given word, and of the word for a given state. One
/// altered word therefore always alters the digest; several escape it once in 2^64.
#[derive(Debug, Clone, Copy)]
pub(super) struct Digest(u64);

impl Digest {
    /// Of nothing yet; `what` keeps kinds of rows apart.
    pub(super) const fn new(what: u8) -> Self {
        Self(what as u64)
    }

    /// Adds a number.
    pub(super) const fn number(self, number: u64) -> Self {
        Self((self.0 ^ number).wrapping_mul(MIX).rotate_left(29))
    }

    /// Adds bytes.
    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        let mut digest = self.number(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            digest = digest.number(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        digest.number(u64::from_le_bytes(last))
    }

    /// Adds text that may be absent.
    pub(super) fn text(self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.number(1).bytes(text.as_bytes()),
            None => self.number(0),
        }
    }

    /// As SQLite stores it.
    pub(super) const fn value(self) -> i64 {
        self.0.cast_signed()
    }
}

/// Of a batch of events and its place.
pub(super) fn of_batch(session: &str, first: u64, last: u64, body: &[u8]) -> i64 {
    let digest = Digest::new(b'e').bytes(session.as_bytes());
    digest.number(first).number(last).bytes(body).value()
}

/// Of what was promised with a turn.
pub(super) fn of_prompt(
    (turn, session): (&str, &str),
    command: Option<&str>,
    prompt: &str,
    author: Option<&str>,
    images: Option<&str>,
) -> i64 {
    let digest = Digest::new(b'p').bytes(turn.as_bytes());
    let digest = digest.bytes(session.as_bytes()).text(command);
    let digest = digest.bytes(prompt.as_bytes());
    // Without one it is what it was before there were authors.
    let digest = author.map_or(digest, |author| digest.bytes(author.as_bytes()));
    // Nor before there were images; a number keeps them from being an author.
    let digest = images.map_or(digest, |images| digest.number(2).bytes(images.as_bytes()));
    digest.value()
}

/// Of a turn's place in its spool.
pub(super) fn of_progress(turn: &str, offset: u64, ordinal_next: u64, adapter: &[u8]) -> i64 {
    let digest = Digest::new(b'o').bytes(turn.as_bytes());
    let digest = digest.number(offset).number(ordinal_next);
    digest.bytes(adapter).value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_turned_bit_shows() {
        let body: Vec<u8> = (0..100).collect();
        let whole = of_batch("s", 1, 5, &body);
        for bit in 0..body.len() * 8 {
            let mut altered = body.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(of_batch("s", 1, 5, &altered), whole, "bit {bit}");
        }
        for bit in 0..64 {
            assert_ne!(of_batch("s", 1 ^ (1 << bit), 5, &body), whole);
            assert_ne!(of_batch("s", 1, 5 ^ (1 << bit), &body), whole);
        }
        assert_ne!(of_batch("t", 1, 5, &body), whole);
        assert_ne!(of_batch("s", 1, 5, &[&body[..], b"\0"].concat()), whole);
    }

    #[test]
    fn what_is_absent_is_not_what_is_empty() {
        let of = |command, author| of_prompt(("t", "s"), command, "p", author, None);
        assert_ne!(of(None, None), of(Some(""), None));
        assert_ne!(of(None, None), of(None, Some("")));
        let with = of_prompt(("t", "s"), None, "p", None, Some("[]"));
        assert_ne!(of(None, Some("[]")), with);
    }
}
