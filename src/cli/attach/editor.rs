//! A line that is being typed: keys in, a text and a cursor out. Pure.
//!
//! Knows the keys that every terminal sends, and pasted text as such (bracketed paste), so that
//! its line breaks do not send it off piece by piece.

/// What a key did, where it did more than change the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// Enter: the line, which is empty from then on.
    Line(String),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D on an empty line.
    End,
    /// Ctrl-L.
    Redraw,
}

/// The most lines that are remembered.
const REMEMBERED: usize = 200;

/// The longest line, in characters: what is pasted beyond it is lost, not the terminal.
const LONGEST: usize = 256 * 1_024;

/// The line, the cursor, and what was typed before.
#[derive(Debug, Default)]
pub(super) struct Editor {
    line: Vec<char>,
    /// Characters before the cursor.
    cursor: usize,
    earlier: Vec<String>,
    /// Which of the earlier lines is shown.
    shown: Option<usize>,
    /// Bytes of a character or an escape sequence that has not ended.
    pending: Vec<u8>,
    pasting: bool,
}

impl Editor {
    /// Takes in what the terminal sent.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut keys = Vec::new();
        for byte in bytes {
            self.pending.push(*byte);
            if let Some(key) = self.step() {
                keys.push(key);
            }
        }
        keys
    }

    /// The line as it stands, and the characters before the cursor.
    pub(super) fn line(&self) -> (&[char], usize) {
        (&self.line, self.cursor)
    }

    /// Forgets the line.
    pub(super) fn clear(&mut self) {
        self.line.clear();
        self.cursor = 0;
        self.shown = None;
    }

    fn step(&mut self) -> Option<Key> {
        match self.pending.as_slice() {
            [0x1b] | [0x1b, b'[' | b'O'] => None,
            [0x1b, b'[', .., last] if !(0x40..=0x7e).contains(last) => {
                if self.pending.len() > 16 {
                    self.pending.clear();
                }
                None
            }
            [0x1b, ..] => {
                let sequence = std::mem::take(&mut self.pending);
                self.escape(&sequence);
                None
            }
            [byte] if *byte < 0x20 || *byte == 0x7f => {
                let byte = *byte;
                self.pending.clear();
                self.control(byte)
            }
            bytes => {
                match std::str::from_utf8(bytes) {
                    Ok(text) => {
                        let typed = text.chars().next();
                        self.pending.clear();
                        if let Some(typed) = typed {
                            self.insert(typed);
                        }
                    }
                    // The rest of the character is still to come.
                    Err(error) if error.error_len().is_none() => {}
                    Err(_) => self.pending.clear(),
                }
                None
            }
        }
    }

    fn insert(&mut self, typed: char) {
        if self.line.len() < LONGEST {
            self.line.insert(self.cursor, typed);
            self.cursor += 1;
        }
    }

    fn control(&mut self, byte: u8) -> Option<Key> {
        if self.pasting {
            match byte {
                b'\r' | b'\n' => self.insert('\n'),
                b'\t' => self.insert('\t'),
                _ => {}
            }
            return None;
        }
        match byte {
            b'\r' | b'\n' => return Some(Key::Line(self.take())),
            3 => return Some(Key::Interrupt),
            4 if self.line.is_empty() => return Some(Key::End),
            4 => self.delete(),
            12 => return Some(Key::Redraw),
            1 => self.cursor = 0,
            5 => self.cursor = self.line.len(),
            2 => self.left(),
            6 => self.right(),
            8 | 0x7f if self.cursor > 0 => {
                self.left();
                self.delete();
            }
            11 => self.line.truncate(self.cursor),
            21 => {
                self.line.drain(..self.cursor);
                self.cursor = 0;
            }
            23 => self.delete_word(),
            14 => self.later(),
            16 => self.earlier(),
            b'\t' => self.insert('\t'),
            _ => {}
        }
        None
    }

    fn escape(&mut self, sequence: &[u8]) {
        match sequence.get(1..).unwrap_or_default() {
            b"[200~" => self.pasting = true,
            b"[201~" => self.pasting = false,
            b"[A" | b"OA" => self.earlier(),
            b"[B" | b"OB" => self.later(),
            b"[C" | b"OC" => self.right(),
            b"[D" | b"OD" => self.left(),
            b"[H" | b"OH" | b"[1~" | b"[7~" => self.cursor = 0,
            b"[F" | b"OF" | b"[4~" | b"[8~" => self.cursor = self.line.len(),
            b"[3~" => self.delete(),
            _ => {}
        }
    }

    fn left(&mut self) {
        self.cursor = self.cursor.saturating_sub(1);
    }

    fn right(&mut self) {
        self.cursor = (self.cursor + 1).min(self.line.len());
    }

    fn delete(&mut self) {
        if self.cursor < self.line.len() {
            self.line.remove(self.cursor);
        }
    }

    /// Back to the beginning of the word before the cursor.
    fn delete_word(&mut self) {
        let before = self.line.get(..self.cursor).unwrap_or_default();
        let word = before.iter().rposition(|c| !c.is_whitespace());
        let begin = word.and_then(|end| {
            let word = before.get(..end)?;
            Some(
                word.iter()
                    .rposition(|c| c.is_whitespace())
                    .map_or(0, |at| at + 1),
            )
        });
        let begin = begin.unwrap_or(0);
        self.line.drain(begin..self.cursor);
        self.cursor = begin;
    }

    fn take(&mut self) -> String {
        let line: String = self.line.drain(..).collect();
        self.clear();
        if !line.trim().is_empty() && self.earlier.last() != Some(&line) {
            if self.earlier.len() == REMEMBERED {
                self.earlier.remove(0);
            }
            self.earlier.push(line.clone());
        }
        line
    }

    fn earlier(&mut self) {
        let next = self.shown.unwrap_or(self.earlier.len()).checked_sub(1);
        if let Some(next) = next {
            self.show(Some(next));
        }
    }

    fn later(&mut self) {
        if let Some(shown) = self.shown {
            self.show(Some(shown + 1).filter(|next| *next < self.earlier.len()));
        }
    }

    fn show(&mut self, which: Option<usize>) {
        let line = which.and_then(|index| self.earlier.get(index));
        self.line = line.map_or_else(Vec::new, |line| line.chars().collect());
        self.cursor = self.line.len();
        self.shown = which;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(keys: &str) -> (String, usize) {
        let mut editor = Editor::default();
        assert_eq!(editor.feed(keys.as_bytes()), []);
        let (line, cursor) = editor.line();
        (line.iter().collect(), cursor)
    }

    #[test]
    fn keys_edit_the_line() {
        assert_eq!(after("abc\x7f\x01X"), ("Xab".to_owned(), 1));
        assert_eq!(after("abc\x1b[D\x1b[D\x1b[3~"), ("ac".to_owned(), 1));
        assert_eq!(after("one two  \x17"), ("one ".to_owned(), 4));
        assert_eq!(after("grüße 🚀\x7f"), ("grüße ".to_owned(), 6));
        assert_eq!(after("abc\x02\x15"), ("c".to_owned(), 0));
        assert_eq!(after("abc\x1bOH\x0b"), (String::new(), 0));
    }

    #[test]
    fn lines_come_with_enter_and_are_remembered() {
        let mut editor = Editor::default();
        let keys = editor.feed(b"one\rtwo\r");
        assert_eq!(keys, [Key::Line("one".into()), Key::Line("two".into())]);
        editor.feed(b"\x1b[A\x1b[A");
        assert_eq!(editor.line().0, ['o', 'n', 'e']);
        editor.feed(b"\x1b[B\x1b[B");
        assert_eq!(editor.line().0, [] as [char; 0]);
    }

    #[test]
    fn pasted_line_breaks_do_not_send_anything() {
        let mut editor = Editor::default();
        assert_eq!(editor.feed(b"\x1b[200~a\rb\x03\x1b[201~"), []);
        assert_eq!(editor.feed(b"\r"), [Key::Line("a\nb".into())]);
    }

    #[test]
    fn interrupt_and_end_are_told() {
        let mut editor = Editor::default();
        assert_eq!(editor.feed(b"\x03"), [Key::Interrupt]);
        assert_eq!(editor.feed(b"x\x04"), []);
        editor.clear();
        assert_eq!(editor.feed(b"\x04"), [Key::End]);
    }

    #[test]
    fn any_bytes_are_survived() {
        let mut editor = Editor::default();
        for byte in 0..=255u8 {
            for other in [0x1b, byte, 0xff, b'[', b'9'] {
                editor.feed(&[byte, other]);
                let (line, cursor) = editor.line();
                assert!(cursor <= line.len());
            }
        }
    }
}
