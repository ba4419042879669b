//! Checkpoints of real repositories: taken, shown and restored, by the program and by git.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)] // a test's own fixtures

#[path = "support/git.rs"]
mod own_git;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use agent_runner::workspace::{Checkpoint, CheckpointRequest, START, take_checkpoint};
use tempfile::TempDir;

/// A user that has nothing.
const NOBODY: u32 = 65_534;

/// A repository with one commit, as an agent finds it.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        bench.git(&["init", "-q", "-b", "main"]);
        bench.write(".gitignore", "ignored/\n");
        bench.write("kept.txt", "one\ntwo\n");
        bench.write("gone.txt", "gone\n");
        bench.git(&["add", "."]);
        bench.git(&["commit", "-q", "-m", "first"]);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn git(&self, words: &[&str]) -> String {
        own_git::git(self.dir.path(), words)
    }

    fn take(&self, name: &str) -> Checkpoint {
        take_checkpoint(&self.request(name)).unwrap().unwrap()
    }

    fn request(&self, name: &str) -> CheckpointRequest {
        CheckpointRequest {
            workspace: self.dir.path().to_owned(),
            session: "s1".to_owned(),
            name: name.to_owned(),
            author: None,
        }
    }

    fn runner(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_agent-runner"))
            .args(words)
            .current_dir(self.dir.path())
            .output()
            .unwrap()
    }

    fn said(&self, words: &[&str]) -> String {
        let output = self.runner(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the agent of a turn does: changes, makes and removes files, stages one of them.
    fn work(&self) {
        self.write("kept.txt", "one\n2\nthree\n");
        self.write("new/deep/file.txt", "new\n");
        self.write("ignored/secret.txt", "not to be kept\n");
        fs::remove_file(self.path("gone.txt")).unwrap();
        self.write("staged.txt", "staged\n");
        self.git(&["add", "staged.txt"]);
    }
}

#[test]
fn a_checkpoint_holds_every_file_and_changes_nothing() {
    let bench = Bench::new();
    assert_eq!(bench.take(START).files, 0);
    bench.work();
    let before = (
        bench.git(&["status", "--porcelain"]),
        bench.git(&["rev-parse", "HEAD"]),
    );
    let taken = bench.take("turn-1");
    let counts = (taken.files, taken.insertions, taken.deletions);
    assert_eq!(counts, (4, 4, 2));
    assert_eq!(taken.reference, "refs/agent-runner/s1/000002-turn-1");
    let after = (
        bench.git(&["status", "--porcelain"]),
        bench.git(&["rev-parse", "HEAD"]),
    );
    assert_eq!(before, after);
    let files = bench.git(&["ls-tree", "-r", "--name-only", &taken.reference]);
    assert_eq!(files, ".gitignore\nkept.txt\nnew/deep/file.txt\nstaged.txt");
    assert_eq!(bench.git(&["branch", "-a"]), "* main");
    bench.git(&["fsck", "--strict"]);
}

#[test]
fn a_turn_whose_end_is_tried_again_has_one_checkpoint() {
    let bench = Bench::new();
    bench.take(START);
    bench.work();
    let first = bench.take("turn-1");
    assert_eq!(bench.take("turn-1"), first);
    bench.write("later.txt", "l\n");
    assert_eq!(bench.take("turn-2").files, 1);
    let list = bench.said(&["diff", "--list"]);
    let names: Vec<_> = list
        .lines()
        .map(|line| line.split('\t').nth(1).unwrap())
        .collect();
    assert_eq!(names, [START, "turn-1", "turn-2"]);
}

#[test]
fn diff_shows_a_turn_or_all_that_the_session_did() {
    let bench = Bench::new();
    bench.take(START);
    bench.work();
    bench.take("turn-1");
    bench.write("later.txt", "later\n");
    let turn = bench.said(&["diff", "turn-1"]);
    assert!(turn.contains("-two\n+2\n+three\n"), "{turn}");
    assert!(!turn.contains("later.txt"), "{turn}");
    assert_eq!(bench.said(&["diff", "2", "--session", "s1"]), turn);
    let all = bench.said(&["diff"]);
    assert!(
        all.contains("+++ b/later.txt") && all.contains("+++ b/new/deep/file.txt"),
        "{all}"
    );
    let stat = bench.said(&["diff", "--stat"]);
    assert!(
        stat.contains("5 files changed, 5 insertions(+), 2 deletions(-)"),
        "{stat}"
    );
    // The patch is one that git itself can apply to what was there before.
    let patch = bench.path("ignored/all.patch");
    fs::write(&patch, &all).unwrap();
    bench.git(&["stash", "-q", "-u"]);
    bench.git(&["apply", "--check", patch.to_str().unwrap()]);
}

#[test]
fn restore_gives_back_the_files_and_can_itself_be_undone() {
    let bench = Bench::new();
    bench.take(START);
    bench.work();
    bench.take("turn-1");
    bench.write("kept.txt", "spoiled\n");
    let head = bench.git(&["rev-parse", "HEAD"]);
    let said = bench.said(&["restore", "start"]);
    assert_eq!(bench.read("kept.txt"), "one\ntwo\n");
    assert_eq!(bench.read("gone.txt"), "gone\n");
    assert!(!bench.path("new").exists() && !bench.path("staged.txt").exists());
    assert_eq!(bench.read("ignored/secret.txt"), "not to be kept\n");
    assert_eq!(bench.git(&["rev-parse", "HEAD"]), head);
    let undo = said.trim().split("agent-runner ").nth(1).unwrap();
    bench.said(&undo.split(' ').collect::<Vec<_>>());
    assert_eq!(bench.read("kept.txt"), "spoiled\n");
    assert_eq!(bench.read("new/deep/file.txt"), "new\n");
    assert!(!bench.path("gone.txt").exists());
}

#[test]
fn links_large_files_and_repositories_within_are_kept_as_what_they_are() {
    let bench = Bench::new();
    bench.take(START);
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "s").unwrap();
    symlink(outside.path(), bench.path("way-out")).unwrap();
    bench.write("large.bin", "");
    let large = fs::File::options()
        .write(true)
        .open(bench.path("large.bin"));
    large.unwrap().set_len(40 * 1024 * 1024).unwrap();
    bench.git(&["init", "-q", "inner"]);
    bench.write("inner/file.txt", "inner\n");
    bench.git(&["init", "-q", "other"]);
    bench.write("other/file.txt", "other\n");
    bench.git(&["-C", "other", "add", "."]);
    bench.git(&["-C", "other", "commit", "-q", "-m", "other"]);
    let taken = bench.take("turn-1");
    assert_eq!(taken.left_out, ["inner/", "large.bin", "other/"]);
    let link = format!("{}:way-out", taken.reference);
    assert_eq!(
        bench.git(&["cat-file", "-p", &link]),
        outside.path().display().to_string()
    );
    bench.said(&["restore", "start"]);
    assert!(bench.path("large.bin").exists() && !bench.path("way-out").is_symlink());
    assert_eq!(
        fs::read_to_string(outside.path().join("secret")).unwrap(),
        "s"
    );
    bench.said(&["restore", "turn-1"]);
    assert!(bench.path("way-out").is_symlink());
    assert_eq!(bench.read("inner/file.txt"), "inner\n");
}

#[test]
fn a_repository_without_a_commit_and_a_plain_folder_are_no_faults() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench { dir };
    assert_eq!(take_checkpoint(&bench.request(START)).unwrap(), None);
    let output = bench.runner(&["diff"]);
    assert_eq!(output.status.code(), Some(66));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is in no git repository"));
    bench.git(&["init", "-q"]);
    let commands = [
        (&["diff"][..], 66),
        (&["restore", "start"], 66),
        (&["diff", "--list"], 0),
    ];
    for (command, code) in commands {
        let output = bench.runner(command);
        assert_eq!(output.status.code(), Some(code), "{command:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains("has no checkpoint yet"),
            "{command:?}: {said}"
        );
    }
    bench.write("a.txt", "a\n");
    assert_eq!(bench.take(START).insertions, 1);
    let output = bench.runner(&["restore", "turn-9"]);
    assert_eq!(output.status.code(), Some(66));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("no checkpoint `turn-9` of session s1; `agent-runner diff --list`"),
        "{said}"
    );
}

#[tokio::test]
async fn another_users_workspace_is_worked_on_as_that_user() {
    if !rustix::process::getuid().is_root() {
        assert!(
            std::env::var_os("CI").is_none(),
            "needs root, to give a repository to another user"
        );
        println!("skipped: needs root, to give a repository to another user");
        return;
    }
    let bench = Bench::new();
    give(bench.dir.path(), NOBODY);
    let program = env!("CARGO_BIN_EXE_agent-runner");
    let output = Command::new(program)
        .args(["diff", "--list", "--workspace-dir"])
        .arg(bench.dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    // The agent's objects folder leads to what is not that user's: as that user it leads nowhere.
    let target = tempfile::tempdir().unwrap();
    fs::remove_dir_all(bench.path(".git/refs")).unwrap();
    symlink(target.path(), bench.path(".git/refs")).unwrap();
    let output = Command::new(program)
        .args(["restore", "start", "--workspace-dir"])
        .arg(bench.dir.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
    assert_eq!(bench.path("kept.txt").metadata().unwrap().uid(), NOBODY);
}

fn give(path: &Path, user: u32) {
    chown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), user);
        }
    }
}

/// A reference whose lock a killed process has left.
#[test]
fn a_lock_that_a_killed_checkpoint_left_keeps_none_from_being_taken() {
    let bench = Bench::new();
    bench.take(START);
    let lock = bench.path(".git/refs/agent-runner/s1/000002-turn-1.lock");
    fs::write(&lock, "").unwrap();
    bench.work();
    assert_eq!(bench.take("turn-1").files, 4);
    assert!(!lock.exists());
}

#[cfg(feature = "crash-points")]
#[test]
fn a_restore_that_dies_anywhere_is_done_by_the_next_and_loses_nothing() {
    use std::os::unix::process::ExitStatusExt as _;
    for point in [
        "restore.kept:1",
        "restore.file_removed:1",
        "restore.removed:1",
        "restore.file_written:1",
        "restore.file_written:2",
    ] {
        let bench = Bench::new();
        bench.take(START);
        bench.work();
        let worked = bench.git(&["status", "--porcelain"]);
        let died = Command::new(env!("CARGO_BIN_EXE_agent-runner"))
            .args(["restore", START])
            .current_dir(bench.dir.path())
            .env("AGENT_RUNNER_CRASH", point)
            .output()
            .unwrap();
        assert_eq!(died.status.signal(), Some(9), "{point}: {died:?}");
        bench.said(&["restore", START]);
        assert_eq!(bench.read("kept.txt"), "one\ntwo\n", "{point}");
        assert!(bench.path("gone.txt").exists() && !bench.path("new").exists());
        // What the killed one kept before it began is there.
        bench.said(&["restore", "before-restore-2"]);
        assert_eq!(bench.read("kept.txt"), "one\n2\nthree\n", "{point}");
        assert_eq!(bench.git(&["status", "--porcelain"]), worked, "{point}");
        bench.git(&["fsck", "--strict"]);
    }
}
