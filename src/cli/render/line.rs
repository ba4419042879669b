//! Text made safe and short for one terminal line.

use crate::frame::uncoloured;

/// Characters of a summary line.
const SUMMARY: usize = 120;

/// `text` with every control character but newline and tab replaced, so that a terminal shows it
/// and does nothing else.
pub(in crate::cli) fn harmless(text: &str) -> String {
    text.chars()
        .filter(|c| *c != '\r')
        .map(|c| if is_hostile(c) { '\u{fffd}' } else { c })
        .collect()
}

/// C0, DEL, C1, and the marks that reorder text (they make code read as what it is not).
const fn is_hostile(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` as CLIs and tools print it, harmless and without its colours.
pub(in crate::cli) fn readable(text: &str) -> String {
    harmless(&uncoloured(text))
}

/// The first line of `text`, harmless, without its colours, and cut with an ellipsis.
pub(in crate::cli) fn summary(text: &str) -> String {
    first_line(&uncoloured(text))
}

/// The first line of `text`, harmless, with a mark for all that a terminal would not show, and cut
/// with an ellipsis: of what is about to be done, nothing may be hidden.
pub(super) fn first_line(text: &str) -> String {
    let trimmed = text.trim();
    let line = trimmed.lines().next().unwrap_or_default();
    let mut short: String = harmless(line).chars().take(SUMMARY).collect();
    if line.chars().count() > SUMMARY || trimmed.lines().nth(1).is_some() {
        short.push('…');
    }
    short
}

/// `1234567` as `1,234,567`.
pub(in crate::cli) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Milliseconds as `0.8 s`, `42 s`, `3 min 20 s`, `2 h 5 min`.
pub(in crate::cli) fn duration(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0..10 => format!("{}.{} s", seconds, millis % 1000 / 100),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_escape_sequence_reaches_the_terminal() {
        let hostile = "a\x1b]52;c;aGk=\x07b\r\nc\u{9b}31md\u{202e}e\tf";
        assert_eq!(
            harmless(hostile),
            "a\u{fffd}]52;c;aGk=\u{fffd}b\nc\u{fffd}31md\u{fffd}e\tf"
        );
    }

    #[test]
    fn a_summary_is_one_line_and_says_when_it_left_something_out() {
        assert_eq!(summary("  one\n"), "one");
        assert_eq!(summary("one\ntwo"), "one…");
        assert_eq!(summary(&"é".repeat(121)), format!("{}…", "é".repeat(120)));
        assert_eq!(summary(""), "");
        assert_eq!(summary("\x1b[31m\n\x1b[1mFAIL\x1b[0m\x1b[K"), "FAIL");
        assert_eq!(first_line("rm \x1b[8m-rf"), "rm \u{fffd}[8m-rf");
    }

    #[test]
    fn numbers_and_times_read_as_people_write_them() {
        assert_eq!(
            [grouped(0), grouped(999), grouped(1000)],
            ["0", "999", "1,000"]
        );
        assert_eq!(grouped(1_234_567), "1,234,567");
        let texts = [840, 42_000, 200_000, 7_500_000].map(duration);
        assert_eq!(texts, ["0.8 s", "42 s", "3 min 20 s", "2 h 5 min"]);
    }
}
