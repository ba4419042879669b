//! Unified diffs, from what Claude Code says that it changed.

use std::fmt::Write as _;

use super::record::Hunk;

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

fn head(diff: &mut String, old: (u64, u64), new: (u64, u64)) {
    let result = writeln!(diff, "@@ -{},{} +{},{} @@", old.0, old.1, new.0, new.1);
    debug_assert!(result.is_ok(), "writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_all_additions() {
        assert_eq!(
            created("a.txt", "x\ny"),
            "--- /dev/null\n+++ b/a.txt\n@@ -0,0 +1,2 @@\n+x\n+y\n\\ No newline at end of file\n"
        );
        assert_eq!(created("a.txt", ""), "--- /dev/null\n+++ b/a.txt\n");
    }
}
