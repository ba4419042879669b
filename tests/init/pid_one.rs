//! The real thing: PID 1 of a pid namespace.

use std::process::Command;

use rustix::process::Signal;

use crate::harness::{Init, RUNNER, children, eventually, is_over};

/// Runs a script under an init that is PID 1; its pid as the tests see it. None where this
/// machine allows no namespaces.
#[allow(clippy::print_stderr)]
fn pid_one(options: &[&str], script: &str) -> Option<Init> {
    let unshare = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    let probe = Command::new("unshare").args(unshare).arg("true").output();
    if !probe.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "`unshare` cannot make a pid namespace here (util-linux, root)"
        );
        eprintln!("skipped: no pid namespace can be made here");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(unshare).args([RUNNER, "init"]).args(options);
    command.args(["--exec", "sh", "-c", script]);
    Some(Init::spawn(command))
}

/// The pid of the init that `unshare` started.
fn inner(unshare: &Init) -> rustix::process::Pid {
    let children = children(unshare.pid().as_raw_nonzero().get());
    rustix::process::Pid::from_raw(children[0].pid).unwrap()
}

fn signal(unshare: &Init, signal: Signal) {
    rustix::process::kill_process(inner(unshare), signal).unwrap();
}

#[test]
fn as_pid_1_it_passes_on_codes_and_deaths() {
    for (script, expected) in [
        ("exit 0", 0),
        ("exit 77", 77),
        ("ulimit -c 0; kill -9 $$", 137),
        ("kill -TERM $$", 143),
    ] {
        let Some(init) = pid_one(&[], script) else {
            return;
        };
        assert_eq!(init.code(), Some(expected), "{script}");
    }
}

#[test]
fn as_pid_1_it_forwards_a_stop_and_reaps_orphans() {
    let script = "
        trap 'exit 143' TERM
        (setsid sh -c 'exit 0' &)
        while [ $(ls -d /proc/[0-9]* | wc -l) -gt 4 ]; do :; done
        cut -d' ' -f4 /proc/$$/stat
        sleep 300 & wait";
    let Some(init) = pid_one(&[], script) else {
        return;
    };
    assert_eq!(init.line(), "1", "the program's parent is PID 1");
    signal(&init, Signal::TERM);
    assert_eq!(init.code(), Some(143));
}

#[test]
fn as_pid_1_it_kills_everyone_in_the_container_and_no_one_outside() {
    let script = "
        (setsid sh -c 'trap \"\" TERM INT HUP; echo deaf; exec sleep 300' &)
        trap 'exit 0' TERM; echo up; sleep 300 & wait";
    let Some(init) = pid_one(&[], script) else {
        return;
    };
    let mut outside = Command::new("sleep").arg("300").spawn().unwrap();
    let mut lines = [init.line(), init.line()];
    lines.sort();
    assert_eq!(lines, ["deaf", "up"]);
    let inside = inner(&init).as_raw_nonzero().get();
    let all: Vec<i32> = children(inside).iter().map(|child| child.pid).collect();
    assert!(all.len() >= 2, "{all:?}");
    signal(&init, Signal::TERM);
    assert_eq!(init.code(), Some(0));
    assert!(all.into_iter().all(is_over));
    assert!(outside.try_wait().unwrap().is_none(), "it lives");
    outside.kill().unwrap();
    outside.wait().unwrap();
}

#[test]
fn as_pid_1_it_survives_signals_that_mean_nothing_to_it() {
    let script = "trap 'echo usr1' USR1; echo up; sleep 300 & while :; do wait; done";
    let Some(init) = pid_one(&[], script) else {
        return;
    };
    init.line();
    for number in (1..=31).filter(|number| ![1, 2, 3, 9, 10, 12, 15, 19, 28].contains(number)) {
        signal(&init, Signal::from_named_raw(number).unwrap());
    }
    signal(&init, Signal::USR1);
    assert_eq!(init.line(), "usr1");
}

#[test]
fn as_pid_1_it_starts_a_dead_program_again() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark").display().to_string();
    let script = format!("[ -e {mark} ] && exit 0; touch {mark}; echo $$; kill -9 $$");
    let Some(init) = pid_one(&["--restarts", "2"], &script) else {
        return;
    };
    init.line();
    let (status, errors) = init.wait();
    assert_eq!(status.code(), Some(0));
    assert!(errors.contains("(signal 9), starting it again"), "{errors}");
}

#[test]
fn as_pid_1_it_reaps_a_flood() {
    let script = "\"$FAKE_AGENT\" zombies 1000 exit 0
        while [ $(ls -d /proc/[0-9]* | wc -l) -gt 4 ]; do :; done; echo empty";
    let Some(init) = pid_one(&[], script) else {
        return;
    };
    assert_eq!(init.line(), "ready");
    assert_eq!(init.line(), "empty");
    eventually("it ends", || {
        children(init.pid().as_raw_nonzero().get()).is_empty()
    });
}
