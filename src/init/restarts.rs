//! Whether, and when, a program that ended is started again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::exit::Exit;

/// Restarts are counted within this time: a program that ran for longer begins anew.
pub(super) const WINDOW: Duration = Duration::from_mins(1);
/// Before the second restart in a row; the first comes at once, later ones wait twice as long each.
const FIRST_DELAY: Duration = Duration::from_millis(200);
/// No restart waits longer.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Ends that a restart would only repeat: done, wrong usage, no Hub, the state dir is taken, the
/// Hub refuses; the program cannot be executed; it was asked to stop, though not through us.
const FINAL: &[i32] = &[0, 64, 69, 73, 77, 126, 127, PAUSED];
/// 128 + SIGTERM as an exit code: the daemon saw the signal and paused its session.
const PAUSED: i32 = 143;
/// What became of the turn of a program that was to do one: a result, whatever it is.
const OUTCOMES: &[i32] = &[1, 2, 3, 4, 130];

/// What follows from an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It is started again after this time.
    Restart(Duration),
    /// It is over.
    Over,
    /// It would be started again, had it not been too often.
    TooOften,
}

/// The restarts of the last [`WINDOW`].
#[derive(Debug)]
pub(super) struct Restarts {
    limit: usize,
    once: bool,
    recent: VecDeque<Instant>,
}

impl Restarts {
    /// At most `limit` restarts within the window; with `once`, outcomes of a turn are final too.
    pub(super) fn new(limit: usize, once: bool) -> Self {
        Self {
            limit,
            once,
            recent: VecDeque::new(),
        }
    }

    /// The program ended by itself. `upgrade`: it was asked to make room for its successor.
    pub(super) fn after(&mut self, exit: Exit, upgrade: bool, now: Instant) -> Next {
        if self.limit == 0 || (self.is_final(exit) && !(upgrade && exit.code == Some(0))) {
            return Next::Over;
        }
        let old = |at: &Instant| now.saturating_duration_since(*at) >= WINDOW;
        while self.recent.front().is_some_and(old) {
            self.recent.pop_front();
        }
        if self.recent.len() >= self.limit {
            return Next::TooOften;
        }
        let delay = delay(self.recent.len());
        self.recent.push_back(now + delay);
        Next::Restart(delay)
    }

    fn is_final(&self, exit: Exit) -> bool {
        let is_in = |codes: &[i32]| exit.code.is_some_and(|code| codes.contains(&code));
        is_in(FINAL) || (self.once && is_in(OUTCOMES))
    }
}

fn delay(earlier: usize) -> Duration {
    let Some(doublings) = earlier.checked_sub(1) else {
        return Duration::ZERO;
    };
    let factor = u32::try_from(doublings)
        .ok()
        .and_then(|doublings| 1_u32.checked_shl(doublings))
        .unwrap_or(u32::MAX);
    FIRST_DELAY.saturating_mul(factor).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn code(code: i32) -> Exit {
        Exit {
            code: Some(code),
            ..Exit::default()
        }
    }

    fn signal(signal: i32) -> Exit {
        Exit {
            signal: Some(signal),
            ..Exit::default()
        }
    }

    fn restarts(exit: Exit, once: bool) -> bool {
        let next = Restarts::new(1, once).after(exit, false, Clock.now());
        matches!(next, Next::Restart(_))
    }

    #[test]
    fn every_end_but_the_final_ones_is_followed_by_a_restart() {
        for number in 0..=255 {
            let last = [0, 64, 69, 73, 77, 126, 127, 143].contains(&number);
            assert_eq!(restarts(code(number), false), !last, "{number}");
        }
        for number in 1..=64 {
            assert!(restarts(signal(number), false), "signal {number}");
            assert!(restarts(signal(number), true), "signal {number}");
        }
    }

    #[test]
    fn the_outcome_of_a_single_turn_is_final_and_a_fault_is_not() {
        for number in [1, 2, 3, 4, 130] {
            assert!(!restarts(code(number), true), "{number}");
        }
        for number in [66, 68, 70, 75, 101, 137] {
            assert!(restarts(code(number), true), "{number}");
        }
    }

    #[test]
    fn an_upgrade_is_followed_by_the_successor() {
        let now = Clock.now();
        let after = |exit, upgrade| Restarts::new(1, false).after(exit, upgrade, now);
        assert_eq!(after(code(0), true), Next::Restart(Duration::ZERO));
        assert_eq!(after(code(0), false), Next::Over);
        assert_eq!(after(code(64), true), Next::Over);
    }

    #[test]
    fn restarts_back_off_to_a_cap_and_then_cease() {
        let mut restarts = Restarts::new(8, false);
        let mut now = Clock.now();
        let mut delays = Vec::new();
        while let Next::Restart(delay) = restarts.after(signal(9), false, now) {
            delays.push(delay.as_millis());
            now += delay;
        }
        assert_eq!(delays, [0, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(restarts.after(signal(9), false, now), Next::TooOften);
    }

    #[test]
    fn a_program_that_ran_for_longer_than_the_window_begins_anew() {
        let mut restarts = Restarts::new(2, false);
        let mut now = Clock.now();
        for _ in 0..100 {
            let next = restarts.after(signal(11), false, now);
            assert_eq!(next, Next::Restart(Duration::ZERO));
            now += WINDOW;
        }
    }

    #[test]
    fn without_restarts_every_end_is_the_last() {
        let mut restarts = Restarts::new(0, false);
        assert_eq!(restarts.after(signal(9), true, Clock.now()), Next::Over);
    }

    #[test]
    fn no_number_of_restarts_overflows_the_delay() {
        for earlier in [31, 32, 33, 64, 1000, usize::MAX] {
            assert_eq!(delay(earlier), LONGEST_DELAY);
        }
    }
}
