use super::*;
use crate::clock::Clock;

const LIMIT: Duration = Duration::from_secs(100);

fn patience() -> Patience {
    Patience {
        model: Some(LIMIT),
        tool: Some(LIMIT),
        ..Patience::default()
    }
}

fn usage(cpu_ms: u64) -> TreeUsage {
    TreeUsage {
        cpu: Duration::from_millis(cpu_ms),
        youngest: Some(500),
        is_stopped: false,
    }
}

/// A time line from one start on.
struct At(Instant);

impl At {
    fn s(&self, seconds: u64) -> Instant {
        self.0 + Duration::from_secs(seconds)
    }
}

fn waiting_for(doing: Doing) -> (At, Silence) {
    let at = At(Clock.now());
    let mut silence = Silence::new(patience(), Doing::Starting, at.s(0));
    assert!(silence.heard(doing, at.s(0), 1_000, 0));
    (at, silence)
}

#[test]
fn silence_without_work_is_a_hang_after_two_looks() {
    let (at, mut silence) = waiting_for(Doing::Model);
    assert_eq!(silence.deadline(), Some(at.s(50)));
    assert_eq!(silence.look(at.s(50), || Some(usage(0))), Look::Wait);
    assert_eq!(silence.deadline(), Some(at.s(100)));
    let look = silence.look(at.s(100), || Some(usage(1_000)));
    let Look::Hung(reason) = look else {
        panic!("{look:?}");
    };
    assert!(
        reason.contains("for 100s while it waited for the model"),
        "{reason}"
    );
}

#[test]
fn output_and_work_begin_the_wait_anew() {
    let (at, mut silence) = waiting_for(Doing::Model);
    silence.look(at.s(50), || Some(usage(0)));
    assert!(!silence.heard(Doing::Model, at.s(60), 1_000, 0));
    assert_eq!(silence.deadline(), Some(at.s(110)));
    silence.look(at.s(110), || Some(usage(0)));
    // 4 % of the time between the two looks
    assert_eq!(silence.look(at.s(160), || Some(usage(2_000))), Look::Wait);
    assert_eq!(silence.deadline(), Some(at.s(210)));
}

#[test]
fn a_tool_at_work_may_be_silent_for_ever_one_without_a_process_may_not() {
    let started = |youngest| {
        Some(TreeUsage {
            youngest,
            ..usage(0)
        })
    };
    for (youngest, alive) in [
        (Some(1_001), true),
        // as the record comes a moment after the process
        (Some(900), true),
        // a server of the CLI's own, from its start on
        (Some(500), false),
        (None, false),
    ] {
        let (at, mut silence) = waiting_for(Doing::Tool("shell".to_owned()));
        silence.look(at.s(50), || started(youngest));
        let look = silence.look(at.s(100), || started(youngest));
        assert_eq!(look == Look::Wait, alive, "{youngest:?}: {look:?}");
    }
    let (at, mut silence) = waiting_for(Doing::Model);
    silence.look(at.s(50), || started(Some(2_000)));
    let look = silence.look(at.s(100), || started(Some(2_000)));
    assert!(matches!(look, Look::Hung(_)), "{look:?}");
}

#[test]
fn a_stopped_cli_is_named_and_its_children_are_no_excuse() {
    let stopped = || {
        Some(TreeUsage {
            is_stopped: true,
            youngest: Some(2_000),
            ..usage(0)
        })
    };
    let (at, mut silence) = waiting_for(Doing::Tool("shell".to_owned()));
    assert_eq!(silence.look(at.s(50), stopped), Look::Stopped);
    let Look::Hung(reason) = silence.look(at.s(100), stopped) else {
        panic!("not hung");
    };
    assert!(reason.contains("SIGSTOP"), "{reason}");
}

#[test]
fn our_own_standstill_is_not_the_agents_silence() {
    let (at, mut silence) = waiting_for(Doing::Model);
    silence.look(at.s(50), || Some(usage(0)));
    assert_eq!(silence.look(at.s(3_600), || unreachable!()), Look::Wait);
    assert_eq!(silence.deadline(), Some(at.s(3_650)));
    // output that cannot be read is no silence either
    silence.hold(true, at.s(3_640));
    assert_eq!(silence.deadline(), None);
    silence.hold(false, at.s(9_000));
    assert_eq!(silence.deadline(), Some(at.s(9_050)));
    // and whose last words were held had no time to go yet
    silence.heard(Doing::Finished, at.s(9_010), 0, 0);
    silence.hold(true, at.s(9_012));
    silence.hold(false, at.s(9_500));
    assert_eq!(silence.deadline(), Some(at.s(9_508)));
}

#[test]
fn a_rate_limit_is_waited_for_and_an_end_only_for_its_own_time() {
    let at = At(Clock.now());
    let mut silence = Silence::new(Patience::default(), Doing::Starting, at.s(0));
    silence.heard(Doing::Retrying(Some(8_000_000)), at.s(0), 0, 1_000_000);
    assert_eq!(silence.deadline(), Some(at.s(5_300)));
    // work in the background may say what it likes: its time is its own
    silence.heard(Doing::Background, at.s(10), 0, 0);
    silence.heard(Doing::Background, at.s(500), 0, 0);
    assert_eq!(silence.deadline(), Some(at.s(610)));
    silence.heard(Doing::Finished, at.s(600), 0, 0);
    assert_eq!(silence.deadline(), Some(at.s(610)));
    assert_eq!(silence.look(at.s(610), || unreachable!()), Look::Linger);
    let forever = Patience {
        asking: None,
        ..Patience::default()
    };
    let asking = Silence::new(forever, Doing::Asking, at.s(0));
    assert_eq!(asking.deadline(), None);
}
