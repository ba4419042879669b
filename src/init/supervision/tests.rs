use super::*;
use crate::clock::Clock;

const GRACE: Duration = Duration::from_secs(8);

struct Case {
    supervision: Supervision,
    now: Instant,
}

impl Case {
    fn new(restarts: usize) -> Self {
        Self {
            supervision: Supervision::new(GRACE, Restarts::new(restarts, false)),
            now: Clock.now(),
        }
    }

    fn signal(&mut self, number: i32) -> Option<Action> {
        self.supervision.signal(number, self.now)
    }

    fn ended(&mut self, exit: Exit) -> Option<Action> {
        self.supervision.ended(exit, self.now)
    }

    fn pass(&mut self, time: Duration) -> Option<Action> {
        self.now += time;
        self.supervision.tick(self.now)
    }
}

fn code(code: i32) -> Exit {
    Exit {
        code: Some(code),
        ..Exit::default()
    }
}

fn killed(signal: i32) -> Exit {
    Exit {
        signal: Some(signal),
        ..Exit::default()
    }
}

#[test]
fn the_table_of_signals() {
    for number in 1..=64 {
        let forwarded = [1, 2, 3, 10, 12, 15, 28].contains(&number);
        let expected = forwarded.then_some(Action::Forward(number));
        assert_eq!(Case::new(0).signal(number), expected, "signal {number}");
    }
}

#[test]
fn every_code_is_passed_on_and_a_signal_is_128_more() {
    for number in 0..=255_u8 {
        let mut case = Case::new(0);
        let action = case.ended(code(number.into()));
        assert_eq!(action, Some(Action::Everyone(TERM)));
        assert_eq!(case.supervision.alone(), Some(Action::Leave(number)));
    }
    for number in 1..=64_u8 {
        let mut case = Case::new(0);
        case.ended(killed(number.into()));
        assert_eq!(case.supervision.alone(), Some(Action::Leave(128 + number)));
    }
}

#[test]
fn a_stop_that_was_asked_for_is_no_reason_to_restart() {
    for (signal, exit, expected) in [
        (TERM, code(143), 143),
        (TERM, code(0), 0),
        (TERM, killed(TERM), 143),
        (TERM, code(70), 70),
        (INT, code(0), 0),
        (INT, killed(INT), 130),
        (QUIT, killed(QUIT), 131),
    ] {
        let mut case = Case::new(8);
        assert_eq!(case.signal(signal), Some(Action::Forward(signal)));
        assert_eq!(case.ended(exit), Some(Action::Everyone(TERM)), "{exit:?}");
        assert_eq!(case.supervision.alone(), Some(Action::Leave(expected)));
    }
}

#[test]
fn other_signals_do_not_stand_in_the_way_of_a_restart() {
    for signal in [HUP, USR1, WINCH] {
        let mut case = Case::new(8);
        case.signal(signal);
        let action = case.ended(killed(signal));
        assert!(matches!(action, Some(Action::Restart { .. })), "{signal}");
    }
}

#[test]
fn a_death_is_followed_by_a_restart_after_its_delay() {
    let mut case = Case::new(8);
    let exit = killed(KILL);
    let restart = |millis| {
        let delay = Duration::from_millis(millis);
        Some(Action::Restart { exit, delay })
    };
    assert_eq!(case.ended(exit), restart(0));
    assert_eq!(case.supervision.alone(), None);
    assert_eq!(case.pass(Duration::ZERO), Some(Action::Start));
    assert_eq!(case.supervision.deadline(), None);
    assert_eq!(case.ended(exit), restart(200));
    assert_eq!(case.pass(Duration::from_millis(199)), None);
    assert_eq!(case.pass(Duration::from_millis(1)), Some(Action::Start));
}

#[test]
fn too_many_deaths_end_with_the_last_code() {
    let mut case = Case::new(1);
    case.ended(code(70));
    case.pass(Duration::ZERO);
    let exit = code(101);
    assert_eq!(case.ended(exit), Some(Action::GiveUp { exit }));
    assert_eq!(case.supervision.alone(), Some(Action::Leave(101)));
}

#[test]
fn a_successor_starts_after_the_program_left_for_it() {
    let mut case = Case::new(8);
    case.signal(USR2);
    assert!(matches!(case.ended(code(0)), Some(Action::Restart { .. })));
    assert_eq!(case.pass(Duration::ZERO), Some(Action::Start));
    // The successor's own end at its own will is one.
    assert_eq!(case.ended(code(0)), Some(Action::Everyone(TERM)));
}

#[test]
fn a_second_stop_is_forwarded_too() {
    let mut case = Case::new(8);
    assert_eq!(case.signal(TERM), Some(Action::Forward(TERM)));
    assert_eq!(case.signal(TERM), Some(Action::Forward(TERM)));
    let until = case.supervision.deadline().unwrap();
    assert_eq!(until, case.now + GRACE);
}

#[test]
fn a_deaf_program_is_killed_when_its_time_is_up() {
    let mut case = Case::new(8);
    case.signal(TERM);
    let all = |signal| Some(Action::Everyone(signal));
    assert_eq!(case.pass(Duration::from_millis(7999)), None);
    assert_eq!(case.pass(Duration::from_millis(1)), all(TERM));
    assert_eq!(case.pass(CLEARING), all(KILL));
    assert_eq!(case.ended(killed(KILL)), None);
    assert_eq!(case.supervision.alone(), Some(Action::Leave(137)));
}

#[test]
fn what_cannot_be_killed_is_not_waited_for() {
    let mut case = Case::new(8);
    case.signal(TERM);
    case.pass(GRACE);
    case.pass(CLEARING);
    assert_eq!(case.pass(CLEARING), Some(Action::Leave(137)));
}

#[test]
fn the_code_is_the_programs_own_whatever_others_take() {
    let mut case = Case::new(8);
    case.signal(TERM);
    case.ended(code(143));
    assert_eq!(case.pass(CLEARING), Some(Action::Everyone(KILL)));
    assert_eq!(case.supervision.alone(), Some(Action::Leave(143)));
}

#[test]
fn a_stop_while_resting_ends_with_the_code_of_the_death() {
    for signal in [TERM, INT, QUIT] {
        let mut case = Case::new(8);
        case.ended(code(70));
        assert_eq!(case.signal(WINCH), None);
        assert_eq!(case.signal(signal), Some(Action::Everyone(TERM)));
        assert_eq!(case.supervision.alone(), Some(Action::Leave(70)));
    }
}

#[test]
fn a_stop_while_clearing_kills_at_once() {
    let mut case = Case::new(0);
    case.ended(code(0));
    assert_eq!(case.signal(TERM), Some(Action::Everyone(KILL)));
    assert_eq!(case.signal(TERM), None);
}

#[test]
fn an_end_that_belongs_to_nothing_changes_nothing() {
    let mut case = Case::new(8);
    case.ended(code(70));
    assert_eq!(case.ended(code(0)), None);
    assert_eq!(case.pass(Duration::ZERO), Some(Action::Start));
}

#[test]
fn an_exit_without_code_or_signal_is_a_failure() {
    assert_eq!(shell_code(Exit::default()), 255);
    assert_eq!(shell_code(killed(i32::MAX)), 255);
}
