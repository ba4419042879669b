//! Want of memory under control groups of version 2, which a machine with version 1 cannot show:
//! in a Linux of its own, run as a program (user-mode Linux) over this machine's files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

/// Debian's name of the kernel, in its package `user-mode-linux`.
const KERNEL: &str = "linux.uml";

/// The kernel's first process: one program that takes all memory of a group, one that is killed by
/// somebody, and how init ends with each.
const FIRST: &str = r#"#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 none /sys/fs/cgroup
cd /sys/fs/cgroup
echo +memory >cgroup.subtree_control
mkdir box
echo 64M >box/memory.max
run() {
    sh -c 'echo $$ >box/cgroup.procs; exec "$@"' sh $RUNNER init --oom-code 71 --exec "$@"
    echo "ended with $?"
}
run tail /dev/zero
run sh -c 'kill -9 $$'
echo o >/proc/sysrq-trigger
sleep 60
"#;

#[test]
#[allow(clippy::print_stderr)]
fn want_of_memory_is_known_in_a_group_of_version_2() {
    if Command::new(KERNEL).arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "{KERNEL} is missing");
        eprintln!("skipped: no {KERNEL} (Debian: apt install user-mode-linux)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let first = dir.path().join("first");
    let runner = env!("CARGO_BIN_EXE_agent-runner");
    fs::write(&first, FIRST.replace("$RUNNER", runner)).unwrap();
    fs::set_permissions(&first, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new("timeout")
        .args(["60", KERNEL, "mem=512M", "root=/dev/root"])
        .args(["rootfstype=hostfs", "rootflags=/", "ro"])
        .args(["con=null", "con0=fd:0,fd:1", "quiet"])
        .arg(format!("init={}", first.display()))
        .env("TMPDIR", dir.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let ends: Vec<&str> = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("ended with "))
        .collect();
    assert_eq!(ends, ["71", "137"], "{said}");
}
