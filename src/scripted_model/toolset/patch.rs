//! The patch format that OpenAI's models edit files with (`apply_patch`).
//!
//! It replaces whole lines, where scripts replace any text: a part of a line is completed with what
//! the tools showed of the file before, as a model would do it. A file that was not shown needs
//! whole lines in the script.

/// Creates a file or replaces it. The format ends every line, so the last one too.
pub(super) fn add(file: &str, content: &str) -> String {
    let mut lines = format!("*** Begin Patch\n*** Add File: {file}\n");
    push_lines(&mut lines, '+', content);
    lines.push_str("*** End Patch");
    lines
}

/// Replaces `old` by `new`.
pub(super) fn update(file: &str, old: &str, new: &str, results: &[String]) -> String {
    let (before, after) = results
        .iter()
        .rev()
        .find_map(|result| around(result, old))
        .unwrap_or_default();
    let mut lines = format!("*** Begin Patch\n*** Update File: {file}\n@@\n");
    push_lines(&mut lines, '-', &format!("{before}{old}{after}"));
    push_lines(&mut lines, '+', &format!("{before}{new}{after}"));
    lines.push_str("*** End Patch");
    lines
}

fn push_lines(lines: &mut String, sign: char, text: &str) {
    for line in text.lines() {
        lines.push(sign);
        lines.push_str(line);
        lines.push('\n');
    }
}

/// What stands beside `old` on its first and its last line.
fn around<'a>(shown: &'a str, old: &str) -> Option<(&'a str, &'a str)> {
    let (before, after) = shown.split_once(old)?;
    let before = before.rsplit('\n').next().unwrap_or_default();
    let after = if old.ends_with('\n') {
        ""
    } else {
        after.lines().next().unwrap_or_default()
    };
    Some((without_number(before), after))
}

/// OpenCode shows files with line numbers (`12: text`).
fn without_number(line: &str) -> &str {
    match line.trim_start().split_once(": ") {
        Some((number, rest))
            if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) =>
        {
            rest
        }
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_line_is_completed_by_what_was_shown_last() {
        let shown = [
            "x Helo y".to_owned(),
            "a\n  say \"Helo, $1!\"\nb\n".to_owned(),
        ];
        assert_eq!(
            update("/f", "Helo", "Hello", &shown),
            "*** Begin Patch\n*** Update File: /f\n@@\n-  say \"Helo, $1!\"\n+  say \"Hello, $1!\"\n*** End Patch"
        );
        let numbered = ["11: one Helo two\n12: b".to_owned()];
        assert!(update("/f", "Helo", "Hi", &numbered).contains("-one Helo two\n+one Hi two\n"));
    }

    #[test]
    fn whole_lines_need_no_showing() {
        assert_eq!(
            update("/f", "a\nb\n", "c\n", &[]),
            "*** Begin Patch\n*** Update File: /f\n@@\n-a\n-b\n+c\n*** End Patch"
        );
    }

    #[test]
    fn a_new_file_has_its_lines() {
        assert_eq!(
            add("/f", "one\n\ntwo"),
            "*** Begin Patch\n*** Add File: /f\n+one\n+\n+two\n*** End Patch"
        );
    }
}
