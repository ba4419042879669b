//! Unified diffs, from what a CLI says that it changed.

use std::fmt::Write as _;

use serde::Deserialize;

/// Lines that are shown before and behind a change.
const CONTEXT: usize = 3;

/// A hunk of a unified diff, as the `diff` package for JavaScript gives it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Hunk {
    pub(super) old_start: u64,
    pub(super) old_lines: u64,
    pub(super) new_start: u64,
    pub(super) new_lines: u64,
    pub(super) lines: Vec<String>,
}

/// The diff of an edit, from the CLI's own hunks (their lines carry `+`, `-` or a space).
pub(super) fn edited(path: &str, hunks: &[Hunk]) -> String {
    let mut diff = format!("--- a/{path}\n+++ b/{path}\n");
    for hunk in hunks {
        head(
            &mut diff,
            (hunk.old_start, hunk.old_lines),
            (hunk.new_start, hunk.new_lines),
        );
        for line in &hunk.lines {
            diff.push_str(line);
            diff.push('\n');
        }
    }
    diff
}

/// The diff of a new file: the CLI gives no hunks for it.
pub(super) fn created(path: &str, content: &str) -> String {
    let mut diff = format!("--- /dev/null\n+++ b/{path}\n");
    let lines = content.split_inclusive('\n');
    let count = lines.clone().count() as u64;
    if count > 0 {
        head(&mut diff, (0, 0), (1, count));
    }
    for line in lines {
        diff.push('+');
        diff.push_str(line);
        if !line.ends_with('\n') {
            diff.push_str("\n\\ No newline at end of file\n");
        }
    }
    diff
}

/// The diff between two whole texts: one hunk from the first line that differs to the last.
pub(super) fn between(path: &str, old: &str, new: &str) -> String {
    if old.is_empty() {
        return created(path, new);
    }
    let lines =
        |text: &'_ str| -> Vec<String> { text.split_inclusive('\n').map(str::to_owned).collect() };
    let (old, new) = (lines(old), lines(new));
    let same = |pairs: &mut dyn Iterator<Item = (&String, &String)>| -> usize {
        pairs.take_while(|(old, new)| old == new).count()
    };
    let head_len = same(&mut old.iter().zip(&new));
    let left = old.len().min(new.len()) - head_len;
    let tail_len = same(&mut old.iter().rev().zip(new.iter().rev())).min(left);
    let from = head_len.saturating_sub(CONTEXT);
    let after = tail_len.min(CONTEXT);
    let (old_end, new_end) = (old.len() - tail_len, new.len() - tail_len);
    let mut diff = format!("--- a/{path}\n+++ b/{path}\n");
    let counts = (old_end + after - from, new_end + after - from);
    let start = |count: usize| if count == 0 { from } else { from + 1 } as u64;
    head(
        &mut diff,
        (start(counts.0), counts.0 as u64),
        (start(counts.1), counts.1 as u64),
    );
    let mut put = |sign: char, lines: Option<&[String]>| {
        for line in lines.into_iter().flatten() {
            diff.push(sign);
            diff.push_str(line);
            if !line.ends_with('\n') {
                diff.push_str("\n\\ No newline at end of file\n");
            }
        }
    };
    put(' ', old.get(from..head_len));
    put('-', old.get(head_len..old_end));
    put('+', new.get(head_len..new_end));
    put(' ', old.get(old_end..old_end + after));
    diff
}

/// A patch under new headers: what stands before its first hunk is left out. `None` without hunks.
pub(super) fn patched(from: Option<&str>, to: Option<&str>, patch: &str) -> Option<String> {
    let first = patch.strip_prefix("@@").map(|_| 0);
    let at = first.or_else(|| patch.find("\n@@").map(|at| at + 1))?;
    let name = |side: char, path: Option<&str>| {
        path.map_or_else(|| "/dev/null".to_owned(), |path| format!("{side}/{path}"))
    };
    let hunks = patch.get(at..)?;
    let mut diff = format!("--- {}\n+++ {}\n{hunks}", name('a', from), name('b', to));
    if !diff.ends_with('\n') {
        diff.push('\n');
    }
    Some(diff)
}

fn head(diff: &mut String, old: (u64, u64), new: (u64, u64)) {
    let result = writeln!(diff, "@@ -{},{} +{},{} @@", old.0, old.1, new.0, new.1);
    debug_assert!(result.is_ok(), "writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_keeps_its_hunks_under_new_headers() {
        let patch = "Index: /w/a\n===\n--- /w/a\n+++ /w/a\n@@ -1 +1 @@\n-x\n+y\n";
        assert_eq!(
            patched(Some("a"), Some("b"), patch).unwrap(),
            "--- a/a\n+++ b/b\n@@ -1 +1 @@\n-x\n+y\n"
        );
        assert_eq!(
            patched(None, Some("b"), "@@ -0,0 +1 @@\n+y").unwrap(),
            "--- /dev/null\n+++ b/b\n@@ -0,0 +1 @@\n+y\n"
        );
        assert_eq!(patched(None, Some("b"), "Index: b\n===\n"), None);
    }

    #[test]
    fn two_texts_differ_from_the_first_line_to_the_last_that_does() {
        let old = "1\n2\n3\n4\n5\nx\n6\n7\n8\n9\n";
        assert_eq!(
            between("a", old, &old.replace('x', "y\nz")),
            "--- a/a\n+++ b/a\n@@ -3,7 +3,8 @@\n 3\n 4\n 5\n-x\n+y\n+z\n 6\n 7\n 8\n"
        );
        assert_eq!(
            between("a", "x\nx", "x\nx\nx"),
            "--- a/a\n+++ b/a\n@@ -1,2 +1,3 @@\n x\n+x\n x\n\\ No newline at end of file\n"
        );
        assert_eq!(
            between("a", "x\n", ""),
            "--- a/a\n+++ b/a\n@@ -1,1 +0,0 @@\n-x\n"
        );
        assert_eq!(between("a", "", "x\n"), created("a", "x\n"));
    }

    #[test]
    fn a_new_file_is_all_additions() {
        assert_eq!(
            created("a.txt", "x\ny"),
            "--- /dev/null\n+++ b/a.txt\n@@ -0,0 +1,2 @@\n+x\n+y\n\\ No newline at end of file\n"
        );
        assert_eq!(created("a.txt", ""), "--- /dev/null\n+++ b/a.txt\n");
    }
}
