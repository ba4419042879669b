//! How often watchers are told that the spool has grown. Pure.
//!
//! Each notice wakes the daemon, has it read what is new and store it: with a CLI that writes
//! thousands of lines a second that costs more than the lines themselves. A few are told at once,
//! so that whoever waits for a line has it; a stream of them is told in steps.

use std::time::{Duration, Instant};

/// Between two notices of a stream: nobody sees it, and a thousand lines are one batch.
const STEP: Duration = Duration::from_millis(2);
/// So many may come at once after a rest: a dialogue's lines, and what a person waits for.
const AT_ONCE: u32 = 32;

/// Lets notices through, one for each [`STEP`] in the long run.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When all of [`AT_ONCE`] may come again.
    rested: Option<Instant>,
}

impl Pace {
    /// Whether a notice may go out now; if so, it counts as sent.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.next().is_some_and(|next| now < next) {
            return false;
        }
        let from = self.rested.map_or(now, |rested| rested.max(now));
        self.rested = Some(from + STEP);
        true
    }

    /// When the next notice may go out; none when it may at any time.
    pub(super) fn next(&self) -> Option<Instant> {
        self.rested?.checked_sub(STEP * (AT_ONCE - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_few_go_out_at_once_and_a_stream_in_steps() {
        let (mut pace, start) = (Pace::default(), Clock.now());
        assert!((0..AT_ONCE).all(|_| pace.take(start)));
        assert!(!pace.take(start));
        assert_eq!(pace.next(), Some(start + STEP));
        let sent = |pace: &mut Pace, millis: std::ops::Range<u64>| {
            millis
                .filter(|at| pace.take(start + Duration::from_millis(*at)))
                .count()
        };
        assert_eq!(sent(&mut pace, 1..101), 50);
        // After a rest there are some at once again.
        let later = start + STEP * 200;
        assert!((0..AT_ONCE).all(|_| pace.take(later)));
        assert!(!pace.take(later));
    }
}
