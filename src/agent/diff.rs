//! Unified diffs, from what a CLI says that it changed.

use std::fmt::Write as _;

use serde::Deserialize;

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
    fn a_new_file_is_all_additions() {
        assert_eq!(
            created("a.txt", "x\ny"),
            "--- /dev/null\n+++ b/a.txt\n@@ -0,0 +1,2 @@\n+x\n+y\n\\ No newline at end of file\n"
        );
        assert_eq!(created("a.txt", ""), "--- /dev/null\n+++ b/a.txt\n");
    }
}
