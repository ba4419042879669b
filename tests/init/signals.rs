//! Who gets to see which signal.

use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::harness::{Init, identity};

/// Says each signal that it gets. Of the shell's own jobs it must not hear.
const LISTENER: &str = "
    for n in 1 2 3 4 5 6 7 8 10 11 12 13 14 15 16 18 20 21 22 23 24 25 26 27 28 29 30 31; do
        trap \"echo $n\" $n
    done
    sleep 300 &
    echo $!
    while :; do wait; done";

#[test]
fn seven_signals_are_forwarded_and_no_other() {
    let init = Init::script(&["--grace", "100ms"], LISTENER);
    init.number();
    let fence = Signal::USR1;
    // TERM comes last: after it the time runs.
    let numbers = (1..=31).filter(|number| ![9, 19, 15].contains(number));
    for number in numbers {
        init.signal(Signal::from_named_raw(number).unwrap());
        if [1, 2, 3, 10, 12, 28].contains(&number) {
            assert_eq!(init.number(), number);
        }
        init.signal(fence);
        assert_eq!(init.number(), fence.as_raw(), "after signal {number}");
    }
    init.signal(Signal::TERM);
    assert_eq!(init.number(), Signal::TERM.as_raw());
    assert_eq!(init.code(), Some(137));
}

#[test]
fn only_the_program_itself_is_signalled() {
    let init = Init::script(&["--grace", "20s"], LISTENER);
    let bystander = identity(init.number());
    for signal in [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM] {
        init.signal(signal);
        assert_eq!(init.number(), signal.as_raw());
    }
    assert!(bystander.is_alive(), "its child was left alone");
}

#[test]
fn the_program_begins_with_default_actions_and_none_blocked() {
    let script = "grep -E 'Sig(Blk|Ign)' /proc/self/status | tr -d '\\t'";
    let init = Init::script(&[], script);
    assert_eq!(init.line(), "SigBlk:0000000000000000");
    assert_eq!(init.line(), "SigIgn:0000000000000000");
    assert_eq!(init.code(), Some(0));
}

#[test]
fn the_program_leads_a_process_group_of_its_own() {
    let init = Init::script(
        &[],
        "cut -d' ' -f1,5 /proc/$$/stat; read _ < /dev/null; exit 3",
    );
    let line = init.line();
    let (pid, group) = line.split_once(' ').unwrap();
    assert_eq!(pid, group);
    assert_eq!(init.code(), Some(3));
}

#[test]
fn the_program_inherits_no_descriptor_of_inits() {
    let list = "ls /proc/self/fd";
    // What the tests themselves were started with is passed on.
    let mut bare = Command::new("sh");
    bare.args(["-c", list]).stdin(Stdio::null());
    let output = bare.output().unwrap();
    let bare = String::from_utf8(output.stdout).unwrap();
    let init = Init::script(&[], list);
    let mut under_init = String::new();
    while let Some(line) = init.next_line() {
        under_init += &line;
        under_init += "\n";
    }
    assert_eq!(under_init, bare);
}
