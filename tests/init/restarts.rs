//! A program that dies is started again, unless that is its end.

use std::fs;

use rustix::process::Signal;

use crate::harness::Init;

/// Counts its starts in the file `count`, then does what the words say.
fn counting(folder: &std::path::Path, then: &str) -> String {
    let count = folder.join("count").display().to_string();
    format!("echo x >> {count}; n=$(wc -l < {count}); echo start $n; {then}")
}

fn starts(folder: &std::path::Path) -> usize {
    fs::read_to_string(folder.join("count"))
        .unwrap()
        .lines()
        .count()
}

#[test]
fn a_death_is_followed_by_a_start_and_a_clean_end_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let then = "case $n in 1) kill -9 $$;; 2) exit 70;; *) exit 0;; esac";
    let init = Init::script(&["--restarts", "5"], &counting(folder.path(), then));
    for number in 1..=3 {
        assert_eq!(init.line(), format!("start {number}"));
    }
    let (status, errors) = init.wait();
    assert_eq!(status.code(), Some(0));
    let said: Vec<_> = errors.lines().collect();
    assert_eq!(
        said,
        [
            "agent-runner: the program ended (signal 9), starting it again in 0 ms",
            "agent-runner: the program ended (exit code 70), starting it again in 200 ms",
        ]
    );
}

#[test]
fn it_gives_up_with_the_last_code() {
    let folder = tempfile::tempdir().unwrap();
    let then = "[ $n -lt 3 ] && kill -9 $$; exit 101";
    let init = Init::script(&["--restarts", "2"], &counting(folder.path(), then));
    let (status, errors) = init.wait();
    assert_eq!(status.code(), Some(101));
    assert_eq!(starts(folder.path()), 3);
    let last = "the program ended (exit code 101) after 2 restarts within 60 s, giving up";
    assert!(errors.contains(last), "{errors}");
}

#[test]
fn a_final_code_is_passed_on_at_once() {
    for code in [0, 64, 69, 73, 77, 143] {
        let folder = tempfile::tempdir().unwrap();
        let then = format!("exit {code}");
        let init = Init::script(&["--restarts", "5"], &counting(folder.path(), &then));
        assert_eq!(init.code(), Some(code));
        assert_eq!(starts(folder.path()), 1, "{code}");
    }
}

#[test]
fn a_stop_before_the_next_start_is_the_end() {
    // The third start would come 200 ms after the second death; the stop comes as soon as that
    // was seen.
    let folder = tempfile::tempdir().unwrap();
    let then = "[ $n -lt 2 ] ||
        (while kill -0 $$ 2>/dev/null; do :; done; kill -TERM $PPID) &
        exit 75";
    let init = Init::script(&["--restarts", "5"], &counting(folder.path(), then));
    assert_eq!(init.code(), Some(75));
    assert_eq!(starts(folder.path()), 2);
}

#[test]
fn an_upgrade_starts_the_successor() {
    let folder = tempfile::tempdir().unwrap();
    let then = "[ $n -lt 2 ] || exit 0; trap 'exit 0' USR2; echo up; sleep 300 & wait";
    let init = Init::script(&["--restarts", "1"], &counting(folder.path(), then));
    assert_eq!(init.line(), "start 1");
    assert_eq!(init.line(), "up");
    init.signal(Signal::USR2);
    assert_eq!(init.line(), "start 2");
    assert_eq!(init.code(), Some(0));
}
