//! SIGTERM: the program's grace, then all that is left.

use std::time::Duration;

use agent_runner::clock::Clock;
use rustix::process::Signal;

use crate::harness::{Init, identity, is_over};

const DEAF: &str = "trap 'echo heard' TERM; sleep 300 & echo $!; while :; do wait; done";

#[test]
fn the_programs_own_answer_to_a_stop_is_the_code() {
    for code in [0, 143, 5] {
        // Were it taken for a death, it would be started again and say so.
        let script = format!("trap 'exit {code}' TERM; echo up; sleep 300 & wait");
        let init = Init::script(&["--restarts", "5"], &script);
        init.line();
        init.signal(Signal::TERM);
        assert_eq!(init.next_line(), None);
        assert_eq!(init.code(), Some(code));
    }
}

#[test]
fn a_program_without_an_answer_dies_of_it() {
    let init = Init::script(&["--restarts", "5"], "echo up; exec sleep 300");
    init.line();
    init.signal(Signal::TERM);
    assert_eq!(init.code(), Some(143));
}

#[test]
fn a_second_stop_comes_through() {
    let script = "trap 'n=$((n + 1)); echo $n; [ $n -lt 2 ] || exit 9' TERM
        echo up; sleep 300 & while :; do wait; done";
    let init = Init::script(&["--grace", "20s"], script);
    init.line();
    init.signal(Signal::TERM);
    assert_eq!(init.line(), "1");
    init.signal(Signal::TERM);
    assert_eq!(init.line(), "2");
    assert_eq!(init.code(), Some(9));
}

#[test]
fn a_deaf_program_is_killed_within_a_second_of_its_grace() {
    let init = Init::script(&["--grace", "300ms"], DEAF);
    let child = identity(init.number());
    let start = Clock.now();
    init.signal(Signal::TERM);
    assert_eq!(init.line(), "heard");
    assert_eq!(init.line(), "heard", "once more with all the others");
    assert_eq!(init.code(), Some(137));
    let took = Clock.now().duration_since(start);
    assert!(took >= Duration::from_millis(300), "{took:?}");
    assert!(took < Duration::from_millis(1500), "{took:?}");
    assert!(!child.is_alive());
}

#[test]
fn what_outlives_the_program_is_told_to_end_and_then_killed() {
    let script = "
        trap 'exit 0' USR2
        sh -c 'trap \"echo bye; exit\" TERM; echo polite; sleep 300 & wait' &
        setsid sh -c 'trap \"\" TERM; echo $$; exec sleep 300' &
        wait; wait; wait";
    let init = Init::script(&[], script);
    let lines = [init.line(), init.line()];
    let deaf: i32 = lines.iter().find_map(|line| line.parse().ok()).unwrap();
    init.signal(Signal::USR2);
    assert_eq!(init.line(), "bye");
    assert_eq!(init.code(), Some(0));
    assert!(is_over(deaf));
}

#[test]
fn a_stopped_process_does_not_hold_up_the_end() {
    let script = "trap 'exit 0' TERM; sh -c 'echo $$; kill -STOP $$' & wait; wait";
    let init = Init::script(&[], script);
    let stopped = init.number();
    crate::harness::eventually("it is stopped", || {
        agent_runner::process::Stat::read(stopped)
            .is_ok_and(|stat| stat.state == agent_runner::process::State::Stopped)
    });
    init.signal(Signal::TERM);
    assert_eq!(init.code(), Some(0));
    assert!(is_over(stopped));
}
