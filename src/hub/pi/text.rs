//! Text that grows without bound, kept within one: its head for the end, its tail for the way.

/// How much of a message's text is kept for its final frame, in bytes.
const HEAD: usize = 192 * 1024;
/// How much of its end an update repeats at most, in bytes: an update repeats the message so far,
/// so without a limit a long answer would cost the square of its length.
pub(super) const WINDOW: usize = 16 * 1024;

/// Cuts `text` to at most `limit` bytes, at a character, and says how much is missing.
pub(super) fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let (head, rest) = text.split_at(text.floor_char_boundary(limit));
    format!("{head}…[+{} bytes]", rest.len())
}

/// Like [`cut`], but keeps the end.
pub(super) fn cut_front(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let (lost, tail) = text.split_at(text.ceil_char_boundary(text.len() - limit));
    format!("[+{} bytes]…{tail}", lost.len())
}

/// A text in the making.
#[derive(Debug, Clone, Default)]
pub(super) struct Growing {
    head: String,
    tail: String,
    len: usize,
}

impl Growing {
    pub(super) fn push(&mut self, text: &str) {
        let full = self.head.len() < self.len;
        self.len += text.len();
        if !full {
            let room = HEAD - self.head.len();
            self.head
                .push_str(text.split_at(text.floor_char_boundary(room)).0);
        }
        self.tail.push_str(text);
        if self.tail.len() > 2 * WINDOW {
            let keep = self.tail.ceil_char_boundary(self.tail.len() - WINDOW);
            self.tail.drain(..keep);
        }
    }

    /// The text as far as it is kept, with a marker for the rest.
    pub(super) fn whole(&self) -> String {
        if self.head.len() == self.len {
            self.head.clone()
        } else {
            format!("{}…[+{} bytes]", self.head, self.len - self.head.len())
        }
    }

    /// The end of the text, with a marker for what lies before.
    pub(super) fn recent(&self) -> String {
        if self.len <= WINDOW {
            return self.head.clone();
        }
        let from = self
            .tail
            .ceil_char_boundary(self.tail.len().saturating_sub(WINDOW));
        let tail = self.tail.split_at(from).1;
        format!("[+{} bytes]…{tail}", self.len - tail.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_falls_between_characters_and_counts_bytes() {
        assert_eq!(cut("añb", 2), "a…[+3 bytes]");
        assert_eq!(cut_front("añb", 2), "[+3 bytes]…b");
        assert_eq!(cut("añb", 4), "añb");
    }

    #[test]
    fn a_long_text_keeps_its_head_and_its_tail_in_bounded_memory() {
        let mut text = Growing::default();
        let piece = "héllo ";
        for _ in 0..200_000 {
            text.push(piece);
        }
        assert!(text.head.len() <= HEAD && text.tail.len() <= 2 * WINDOW + piece.len());
        assert!(text.whole().starts_with("héllo "));
        assert!(text.whole().ends_with(" bytes]"));
        assert!(text.recent().ends_with("héllo "));
        assert!(text.recent().len() < WINDOW + 40);
        let mut short = Growing::default();
        short.push("ab");
        assert_eq!((short.whole(), short.recent()), ("ab".into(), "ab".into()));
    }
}
