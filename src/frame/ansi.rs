//! What a terminal leaves around JSON lines.
//!
//! Claude Code 2.1.197 writes its terminal reset in front of a record (after SIGINT) and behind
//! the last one (at exit), and the terminal echoes `^C` in front of a record. Neither CLI ever
//! writes a raw ESC inside a JSON line, so taking sequences away cannot harm one.

use std::borrow::Cow;

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;

/// `line` without escape sequences, control bytes and BOM in front, and without a `^C` echo that
/// stands right before a record.
pub(super) fn strip_lead(line: &[u8]) -> &[u8] {
    if line.first() == Some(&b'{') {
        return line;
    }
    let shown = skip_controls(line);
    let mut probe = shown;
    while let [b'^', b'@'..=b'_', rest @ ..] = probe {
        probe = skip_controls(rest);
    }
    if probe.first() == Some(&b'{') {
        probe
    } else {
        shown
    }
}

/// `tail` without any escape sequence, also one that was cut off.
pub fn without_sequences(tail: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(ESC, tail) else {
        return Cow::Borrowed(tail);
    };
    let (plain, mut rest) = tail.split_at(first);
    let mut kept = plain.to_vec();
    while let [byte, after @ ..] = rest {
        rest = match sequence(rest) {
            Some(len) => rest.get(len..).unwrap_or_default(),
            None if *byte == ESC => &[],
            None => {
                // SI (0x0f) belongs to the reset of Claude Code: `ESC ( B SI`
                if *byte != 0x0f {
                    kept.push(*byte);
                }
                after
            }
        };
    }
    Cow::Owned(kept)
}

/// `text` without the escape sequences that are whole, as its terminal would have shown it. The rest
/// stays: what is shown to a person must still be made harmless.
pub fn uncoloured(text: &str) -> Cow<'_, str> {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(at) = memchr::memchr(ESC, rest.as_bytes()) {
        let (plain, escaped) = rest.split_at(at);
        kept.push_str(plain);
        // A sequence ends within a character where there is none: an ESC in front of text.
        let after = sequence(escaped.as_bytes()).and_then(|len| escaped.get(len..));
        rest = after.unwrap_or_else(|| {
            kept.push('\u{1b}');
            escaped.get(1..).unwrap_or_default()
        });
    }
    if kept.is_empty() && rest.len() == text.len() {
        return Cow::Borrowed(text);
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

fn skip_controls(mut bytes: &[u8]) -> &[u8] {
    loop {
        bytes = match bytes {
            [0xef, 0xbb, 0xbf, rest @ ..] | [0..=0x08 | 0x0b..=0x1a, rest @ ..] => rest,
            _ => match sequence(bytes) {
                Some(len) => bytes.get(len..).unwrap_or_default(),
                None => return bytes,
            },
        };
    }
}

/// The length of the escape sequence at the start, if a whole one is there (ECMA-48).
fn sequence(bytes: &[u8]) -> Option<usize> {
    let [ESC, kind, rest @ ..] = bytes else {
        return None;
    };
    match kind {
        b'[' => {
            let last = rest.iter().position(|b| !(0x20..=0x3f).contains(b))?;
            (0x40..=0x7e).contains(rest.get(last)?).then_some(last + 3)
        }
        b']' | b'P' | b'X' | b'^' | b'_' => {
            let last = rest.iter().position(|b| *b == BEL || *b == ESC)?;
            match rest.get(last..)? {
                [BEL, ..] => Some(last + 3),
                [ESC, b'\\', ..] => Some(last + 4),
                _ => None,
            }
        }
        0x20..=0x2f => {
            let last = rest.iter().position(|b| !(0x20..=0x2f).contains(b))?;
            Some(last + 3)
        }
        _ => Some(2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESET: &[u8] = b"\x1b[?1006l\x1b[?1003l\x1b[?1002l\x1b[?1000l\x1b(B\x0f\x1b[>4m\x1b[<u\
        \x1b[?1004l\x1b[?2031l\x1b[?2004l\x1b[?25h\x1b7\x1b[r\x1b8\x1b]0;\x07";

    #[test]
    fn the_terminal_reset_in_front_of_a_record_is_taken_away() {
        let line = [RESET, b"^C\x1b[?25h{\"a\":1}"].concat();
        assert_eq!(strip_lead(&line), b"{\"a\":1}");
        assert_eq!(strip_lead(b"\xef\xbb\xbf\r{}"), b"{}");
    }

    #[test]
    fn the_terminal_reset_behind_the_last_record_is_taken_away() {
        assert_eq!(without_sequences(RESET).as_ref(), b"");
        let cut = [b"{\"a\":".as_slice(), RESET, b"\x1b]0;tit"].concat();
        assert_eq!(without_sequences(&cut).as_ref(), b"{\"a\":");
    }

    #[test]
    fn coloured_text_loses_its_colours_and_nothing_else() {
        let coloured = "\x1b[0m\x1b[1;31mError:\x1b[39m a\x1b(Bb \x1b]0;title\x07\x1b]8;;u\x1b\\c";
        assert_eq!(uncoloured(coloured), "Error: ab c");
        assert_eq!(uncoloured("plain é"), "plain é");
        for cut in ["a\x1b", "a\x1b[3", "a\x1b]0;title", "a\x1bé"] {
            assert_eq!(uncoloured(cut), cut);
        }
        assert_eq!(uncoloured("\x1b[31m"), "");
    }

    #[test]
    fn text_that_only_looks_like_an_echo_stays() {
        assert_eq!(strip_lead(b"^Caret text"), b"^Caret text");
        assert_eq!(strip_lead(b"\x1b[31mError"), b"Error");
        assert_eq!(strip_lead(b"\ttabbed"), b"\ttabbed");
        assert_eq!(strip_lead(b"\x1b]0;unterminated"), b"\x1b]0;unterminated");
    }
}
