//! Whatever dies under init is taken off the process table.

use std::time::Duration;

use agent_runner::process::State;

use crate::harness::{Init, eventually};

#[test]
fn ten_thousand_orphaned_zombies_are_gone_within_a_second() {
    let script = "echo $$; \"$FAKE_AGENT\" zombies 10000 exit 0; echo gone; sleep 300 & wait";
    let init = Init::script(&[], script);
    let program = init.number();
    assert_eq!(init.line(), "ready");
    assert_eq!(init.line(), "gone");
    // The one that left them is dead, so that they are init's.
    let took = eventually("no zombie is left", || {
        init.children().iter().all(|child| child.pid == program)
    });
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn orphans_come_to_an_init_that_is_not_pid_1() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    let path = fifo.display();
    let script = format!("mkfifo {path}; (cat {path} & echo $!); sleep 300 & wait");
    let init = Init::script(&[], &script);
    let orphan = init.number();
    let is_here = || init.children().iter().any(|child| child.pid == orphan);
    eventually("init is its parent", is_here);
    // Opened for writing and closed again: the end of what it reads.
    drop(std::fs::OpenOptions::new().write(true).open(&fifo).unwrap());
    eventually("it was reaped", || !is_here());
}

#[test]
fn a_stopped_child_is_no_dead_one() {
    let init = Init::script(
        &[],
        "(sh -c 'echo $$; kill -STOP $$; exit 7'); echo over; exit 4",
    );
    let stopped = init.number();
    eventually("it is stopped", || {
        agent_runner::process::Stat::read(stopped).is_ok_and(|stat| stat.state == State::Stopped)
    });
    let pid = rustix::process::Pid::from_raw(stopped).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    assert_eq!(init.line(), "over");
    assert_eq!(init.code(), Some(4));
}
