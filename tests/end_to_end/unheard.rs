//! A command whose stdout or stderr takes nothing (its reader has gone, the disk is full) works on,
//! ends as its turn did, and panics at nothing.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{Command, Output, Stdio};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use crate::bench::Bench;
use crate::ground::config_with_work;

/// A file that takes nothing, as on a full disk.
fn full() -> Stdio {
    Stdio::from(File::options().write(true).open("/dev/full").unwrap())
}

/// A pipe whose reader has gone.
fn gone() -> Stdio {
    let (_reader, writer): (OwnedFd, OwnedFd) = pipe2(OFlag::O_CLOEXEC).unwrap();
    Stdio::from(writer)
}

fn run(bench: &Bench, words: &[&str], spoil: impl FnOnce(&mut Command)) -> Output {
    let config = config_with_work(bench, "", "");
    let mut command = bench.command(&["run", "--config", &config]);
    command.args(words).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    spoil(&mut command);
    command.spawn().unwrap().wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_turn_completes_where_stderr_takes_nothing() {
    for (case, stderr) in [("full", full()), ("gone", gone())] {
        let bench = Bench::new();
        let words = ["--log-level", "trace", "Do it."];
        let done = run(&bench, &words, |command| {
            command.stderr(stderr);
        });
        let shown = text(&done.stdout);
        assert_eq!(done.status.code(), Some(0), "{case}: {shown}");
        assert!(shown.contains("completed in"), "{case}: {shown}");
    }
}

#[test]
fn a_turn_completes_where_stdout_takes_nothing_and_a_full_disk_is_told() {
    for (case, stdout, told) in [("full", full(), true), ("gone", gone(), false)] {
        let bench = Bench::new();
        let words = ["--output", "jsonl", "Do it."];
        let done = run(&bench, &words, |command| {
            command.stdout(stdout);
        });
        let said = text(&done.stderr);
        assert_eq!(done.status.code(), Some(0), "{case}: {said}");
        let times = said.matches("cannot write to stdout").count();
        assert_eq!(times, usize::from(told), "{case}: {said}");
    }
}

#[test]
fn a_daemon_for_one_task_ends_where_its_output_takes_nothing() {
    let bench = Bench::new();
    let config = config_with_work(&bench, "", "");
    let hub = bench.hub(None);
    let mut command = bench.command(&["daemon", "--once", "--config", &config]);
    command.args(["--hub", &hub.url]);
    command.env("AGENT_RUNNER_TASK", "Do it.");
    command.stdin(Stdio::null()).stdout(full()).stderr(gone());
    let status = command.status().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn what_is_shown_and_cannot_be_is_an_error_in_words() {
    let bench = Bench::new();
    let done = run(&bench, &["--print-config", "Do it."], |command| {
        command.stdout(full());
    });
    let said = text(&done.stderr);
    assert_eq!(done.status.code(), Some(70), "{said}");
    assert!(said.contains("cannot write to stdout"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}
