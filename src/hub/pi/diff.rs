//! What an edit changed, in the form in which viewers show it: Pi 0.74.2's `details.diff`.
//!
//! Each line is a sign (`+`, `-` or a blank), the line's number and its text. Viewers show nothing
//! else of an edit that succeeded, so one without it looks as if nothing had been done.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::text::cut;

/// The longest diff in an event, in bytes.
const MAX_DIFF: usize = 32 * 1024;

/// Where CLIs put what an edit replaces and by what, in their arguments.
const REPLACED: [(&str, &str); 4] = [
    ("old_string", "new_string"), // Claude Code, Gemini CLI
    ("oldString", "newString"),   // OpenCode
    ("old_text", "new_text"),     // Gemini CLI, live
    ("oldText", "newText"),       // Pi
];

/// `details` of an edit: from its unified diff, else from what it was asked to replace.
pub(super) fn details(unified: Option<&str>, args: &Value) -> Option<Map<String, Value>> {
    let (diff, first) = match unified.and_then(numbered) {
        Some((diff, first)) => (diff, first),
        None => (replaced(args)?, None),
    };
    let mut details = Map::new();
    details.insert("diff".to_owned(), cut(&diff, MAX_DIFF).into());
    if let Some(first) = first {
        details.insert("firstChangedLine".to_owned(), json!(first));
    }
    Some(details)
}

/// A unified diff with the lines' numbers, and the new file's first line that changed. Nothing
/// where it has no hunk.
fn numbered(unified: &str) -> Option<(String, Option<u64>)> {
    let (mut out, mut first) = (String::new(), None);
    // Lines left of the hunk, old and new: what follows a hunk is no part of it.
    let (mut old, mut new) = ((0, 0), (0, 0));
    for line in unified.lines() {
        if let Some(hunk) = line.strip_prefix("@@ ") {
            (old, new) = hunk_head(hunk)?;
            if !out.is_empty() {
                out.push_str("  ...\n");
            }
            continue;
        }
        let sign = line.chars().next().unwrap_or(' ');
        let text = line.get(1..).unwrap_or_default();
        let (of_old, of_new) = (sign != '+', sign != '-');
        if !matches!(sign, '+' | '-' | ' ') || (of_old && old.1 == 0) || (of_new && new.1 == 0) {
            continue; // a file's head, or `\ No newline at end of file`
        }
        if sign != ' ' {
            first = first.or(Some(new.0));
        }
        let number = if of_new { new.0 } else { old.0 };
        // Written to a text: that cannot fail.
        writeln!(out, "{sign}{number:>4} {text}").ok();
        for (side, counts) in [(&mut old, of_old), (&mut new, of_new)] {
            if counts {
                *side = (side.0.saturating_add(1), side.1.saturating_sub(1));
            }
        }
    }
    out.pop();
    (!out.is_empty()).then_some((out, first))
}

type Span = (u64, u64);

/// `-1,4 +1,5 @@ …`: the first line and the number of lines of both sides.
fn hunk_head(head: &str) -> Option<(Span, Span)> {
    let mut words = head.split(' ');
    let mut span = |sign: char| {
        let word = words.next()?.strip_prefix(sign)?;
        let (start, count) = word.split_once(',').unwrap_or((word, "1"));
        Some((start.parse().ok()?, count.parse().ok()?))
    };
    Some((span('-')?, span('+')?))
}

/// What was asked for, as far as the arguments say it: where it stands in the file they do not.
fn replaced(args: &Value) -> Option<String> {
    let pair = |edit: &Value| {
        REPLACED.iter().find_map(|(old, new)| {
            let text = |name: &str| edit.get(name)?.as_str().map(str::to_owned);
            Some((text(old)?, text(new)?))
        })
    };
    let pairs: Vec<_> = match args.get("edits").and_then(Value::as_array) {
        Some(edits) => edits.iter().filter_map(pair).collect(),
        None => pair(args).into_iter().collect(),
    };
    let mut out = String::new();
    for (old, new) in pairs {
        for (sign, text) in [('-', old), ('+', new)] {
            for line in text.lines() {
                writeln!(out, "{sign} {line}").ok();
            }
        }
    }
    out.pop();
    (!out.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unified_diff_gets_its_lines_numbers() {
        let unified = "--- a/x\n+++ b/x\n@@ -1,3 +1,4 @@\n a\n-b\n+c\n+d\n e\n@@ -10 +11 @@\n-y\n+z\n\
                       \\ No newline at end of file\n";
        let details = details(Some(unified), &json!({})).unwrap();
        let lines: Vec<&str> = details["diff"].as_str().unwrap().lines().collect();
        assert_eq!(
            lines,
            [
                "    1 a", "-   2 b", "+   2 c", "+   3 d", "    4 e", "  ...", "-  10 y",
                "+  11 z"
            ]
        );
        assert_eq!(details["firstChangedLine"], 2);
    }

    #[test]
    fn an_edit_without_a_diff_shows_what_it_replaces() {
        let by = |args: Value| Some(details(None, &args)?["diff"].as_str().unwrap().to_owned());
        let told = Some("- a\n+ b\n+ c".to_owned());
        for (old, new) in REPLACED {
            assert_eq!(by(json!({old: "a", new: "b\nc"})), told);
        }
        assert_eq!(
            by(json!({"edits": [{"oldText": "a", "newText": "b\nc"}]})),
            told
        );
        for none in [json!({}), json!({"edits": 7}), json!("x"), Value::Null] {
            assert_eq!(by(none), None);
        }
    }

    #[test]
    fn whatever_calls_itself_a_diff_is_bounded_and_breaks_nothing() {
        let long = format!("@@ -1,1 +1,9999999 @@\n{}", "+é\n".repeat(1 << 16));
        let told = details(Some(&long), &json!({})).unwrap();
        assert!(told["diff"].as_str().unwrap().len() < MAX_DIFF + 64);
        for odd in [
            "",
            "@@ ",
            "@@ -x +1 @@\n+a",
            "no diff\n+a\n",
            "@@ -1,18446744073709551616 +1 @@",
            "@@ -1 +18446744073709551615,2 @@\n+a\n+b\n+c",
            "@@ -1 +1 @@\né\n",
        ] {
            drop(details(Some(odd), &json!({})));
        }
    }
}
