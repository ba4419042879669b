//! Output above, the prompt line below: neither garbles the other. Pure: bytes out, no terminal.
//!
//! The last two rows are drawn anew with each change: the output's line that has not ended yet,
//! cut so that it never wraps, and the prompt line, of which the part around the cursor is shown.
//! Everything above is written once and belongs to the terminal, which scrolls and keeps it.

/// What is on the last two rows.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// Output since the last line break, with its colours.
    partial: String,
    /// Rows that are drawn and will be drawn anew.
    rows: usize,
}

/// The prompt line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prompt<'a> {
    /// What stands before it.
    pub(super) mark: &'a str,
    pub(super) line: &'a [char],
    /// Characters before the cursor.
    pub(super) cursor: usize,
}

impl Screen {
    /// Adds output and draws what is below it; `width` in columns.
    pub(super) fn draw(&mut self, output: &str, prompt: Prompt<'_>, width: usize) -> String {
        let mut out = self.erase();
        let mut lines = output.split('\n');
        self.partial.push_str(lines.next().unwrap_or_default());
        for line in lines {
            out.push_str(&self.partial);
            out.push_str("\r\n");
            line.clone_into(&mut self.partial);
        }
        while let Some((head, tail)) = cut(&self.partial, width) {
            out.push_str(&head);
            out.push_str("\r\n");
            self.partial = tail;
        }
        if !self.partial.is_empty() {
            out.push_str(&self.partial);
            out.push_str("\x1b[0m\r\n");
            self.rows = 1;
        }
        draw_prompt(&mut out, prompt, width);
        self.rows += 1;
        out
    }

    /// Ends: the prompt line goes, the output stays.
    pub(super) fn leave(&mut self) -> String {
        let mut out = self.erase();
        if !self.partial.is_empty() {
            out.push_str(&std::mem::take(&mut self.partial));
            out.push_str("\x1b[0m\r\n");
        }
        out
    }

    fn erase(&mut self) -> String {
        let mut out = String::new();
        match std::mem::take(&mut self.rows) {
            0 => {}
            1 => out.push_str("\r\x1b[J"),
            rows => out.extend(["\r\x1b[", &(rows - 1).to_string(), "A\x1b[J"]),
        }
        out
    }
}

fn draw_prompt(out: &mut String, prompt: Prompt<'_>, width: usize) {
    let mark = prompt.mark.chars().count();
    // One column stays free: a terminal that has just filled its last one may wrap or not.
    let room = width.saturating_sub(mark + 1).max(1);
    let before = prompt.line.get(..prompt.cursor).unwrap_or_default();
    let after = prompt.line.get(prompt.cursor..).unwrap_or_default();
    // The part that ends at the cursor, and what fits of what follows.
    let mut used = 0;
    let from = before
        .iter()
        .rposition(|c| {
            used += columns(*c);
            used > room
        })
        .map_or(0, |at| at + 1);
    let before = before.get(from..).unwrap_or_default();
    let column = before.iter().map(|c| columns(*c)).sum::<usize>();
    let mut left = room.saturating_sub(column);
    let after = after.iter().take_while(|c| {
        let wide = columns(**c);
        let fits = wide <= left;
        left = left.saturating_sub(wide);
        fits
    });
    out.push_str(prompt.mark);
    out.extend(before.iter().chain(after).map(|c| visible(*c)));
    out.extend(["\r\x1b[", &(mark + column).to_string(), "C"]);
}

/// A pasted line break must not move the cursor.
fn visible(c: char) -> char {
    match c {
        '\n' | '\r' => '⏎',
        c if c.is_control() => ' ',
        c => c,
    }
}

/// A line that is too wide, in two: at the last blank that fits, else anywhere. Colours go on in
/// the second part.
fn cut(line: &str, width: usize) -> Option<(String, String)> {
    let width = width.max(8);
    let (mut used, mut blank, mut style) = (0, None, "");
    let mut chars = line.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\x1b' {
            let end = line.get(at..).and_then(|rest| rest.find('m'));
            let end = end.map_or(line.len(), |end| at + end + 1);
            style = line.get(at..end).unwrap_or_default();
            while chars.next_if(|(next, _)| *next < end).is_some() {}
            continue;
        }
        used += columns(c);
        if used > width {
            let (head, tail) = match blank {
                Some((at, style)) => (line.get(..at)?, (style, line.get(at + 1..)?)),
                None => (line.get(..at)?, (style, line.get(at..)?)),
            };
            let style = Some(tail.0).filter(|style| *style != "\x1b[0m");
            let style = style.unwrap_or_default();
            let reset = if style.is_empty() { "" } else { "\x1b[0m" };
            return Some((format!("{head}{reset}"), format!("{style}{}", tail.1)));
        }
        if c == ' ' && at > 0 {
            blank = Some((at, style));
        }
    }
    None
}

/// The columns that a character takes, by the ranges that terminals agree on.
const fn columns(c: char) -> usize {
    match c as u32 {
        // Combining marks, joiners, selectors.
        0x300..=0x36f | 0x200b..=0x200f | 0x20d0..=0x20ff | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f680..=0x1f6ff
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A terminal that knows what we send it.
    struct Terminal {
        rows: Vec<Vec<char>>,
        row: usize,
        column: usize,
    }

    impl Terminal {
        fn new() -> Self {
            Self {
                rows: vec![Vec::new()],
                row: 0,
                column: 0,
            }
        }

        fn write(&mut self, text: &str) {
            let mut chars = text.chars();
            while let Some(c) = chars.next() {
                match c {
                    '\r' => self.column = 0,
                    '\n' => {
                        self.row += 1;
                        if self.row == self.rows.len() {
                            self.rows.push(Vec::new());
                        }
                    }
                    '\x1b' => {
                        assert_eq!(chars.next(), Some('['));
                        let mut digits = String::new();
                        let end = loop {
                            match chars.next().unwrap() {
                                c if c.is_ascii_digit() => digits.push(c),
                                c => break c,
                            }
                        };
                        let count = digits.parse().unwrap_or(1);
                        match end {
                            'A' => self.row -= count,
                            'C' => self.column += count,
                            'J' => {
                                self.rows.truncate(self.row + 1);
                                self.rows[self.row].truncate(self.column);
                            }
                            'm' => {}
                            other => panic!("{other}"),
                        }
                    }
                    c => {
                        let row = &mut self.rows[self.row];
                        row.resize(row.len().max(self.column + 1), ' ');
                        row[self.column] = c;
                        self.column += 1;
                    }
                }
            }
        }

        fn text(&self) -> Vec<String> {
            self.rows.iter().map(|row| row.iter().collect()).collect()
        }
    }

    fn prompt(line: &[char], cursor: usize) -> Prompt<'_> {
        Prompt {
            mark: "> ",
            line,
            cursor,
        }
    }

    #[test]
    fn output_goes_on_above_while_a_line_is_typed() {
        let (mut screen, mut terminal) = (Screen::default(), Terminal::new());
        let typed: Vec<char> = "fix it".chars().collect();
        for (count, piece) in ["I lo", "ok at", " it.\nThen", " more", "\n"]
            .iter()
            .enumerate()
        {
            terminal.write(&screen.draw(piece, prompt(&typed[..=count], count + 1), 40));
        }
        assert_eq!(terminal.text(), ["I look at it.", "Then more", "> fix i"]);
        assert_eq!(terminal.column, 7);
        terminal.write(&screen.leave());
        assert_eq!(terminal.text(), ["I look at it.", "Then more", ""]);
    }

    #[test]
    fn a_long_line_is_cut_at_a_blank_and_keeps_its_colour() {
        let (mut screen, mut terminal) = (Screen::default(), Terminal::new());
        let out = screen.draw("\x1b[2mone two three four\x1b[0m", prompt(&[], 0), 10);
        assert_eq!(out.matches("\x1b[2m").count(), 2, "{out:?}");
        terminal.write(&out);
        assert_eq!(terminal.text(), ["one two", "three four", "> "]);
        assert_eq!(cut("aaaaaaaaaaaaaaa", 10).unwrap().0, "a".repeat(10));
        assert_eq!(cut("short", 10), None);
    }

    #[test]
    fn of_a_long_prompt_the_part_around_the_cursor_is_shown() {
        let line: Vec<char> = ('a'..='z').collect();
        let (mut screen, mut terminal) = (Screen::default(), Terminal::new());
        terminal.write(&screen.draw("", prompt(&line, 26), 10));
        assert_eq!(
            (terminal.text()[0].as_str(), terminal.column),
            ("> tuvwxyz", 9)
        );
        terminal.write(&screen.draw("", prompt(&line, 1), 10));
        assert_eq!(
            (terminal.text()[0].as_str(), terminal.column),
            ("> abcdefg", 3)
        );
    }

    #[test]
    fn wide_characters_count_twice() {
        let line: Vec<char> = "日本語🚀".chars().collect();
        let (mut screen, mut out) = (Screen::default(), String::new());
        out.push_str(&screen.draw("", prompt(&line, 4), 20));
        assert!(out.ends_with("\r\x1b[10C"), "{out:?}");
    }
}
