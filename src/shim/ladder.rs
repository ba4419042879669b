//! The kill ladder, as a pure state machine over time.
//!
//! ```text
//! Resting ──stop──► Interrupted ──grace──► Terminated ──grace──► Killed
//! ```
//!
//! It only climbs. A further stop can make it climb sooner, never later.

use std::time::{Duration, Instant};

use crate::spool::control::Stop;

/// A signal that is now due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// SIGINT, to the CLI process.
    Interrupt,
    /// SIGTERM, to its process group.
    Terminate,
    /// SIGKILL, to its whole tree.
    Kill,
}

/// How far a stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ladder {
    /// Nobody asked for a stop.
    Resting,
    /// SIGINT was sent.
    Interrupted {
        /// When SIGTERM is due.
        until: Instant,
        /// The time after that.
        term_grace: Duration,
    },
    /// SIGTERM was sent.
    Terminated {
        /// When SIGKILL is due.
        until: Instant,
    },
    /// SIGKILL was sent; there is nothing above.
    Killed,
}

impl Ladder {
    /// A stop was asked for.
    pub(super) fn stop(&mut self, how: Stop, now: Instant) -> Option<Due> {
        let interrupt_grace = Duration::from_millis(how.interrupt_grace_ms);
        let term_grace = Duration::from_millis(how.term_grace_ms);
        match self {
            Self::Resting if !interrupt_grace.is_zero() => {
                *self = Self::Interrupted {
                    until: now + interrupt_grace,
                    term_grace,
                };
                Some(Due::Interrupt)
            }
            Self::Resting => Some(self.terminate(term_grace, now)),
            Self::Interrupted {
                until,
                term_grace: planned,
            } => {
                *until = (*until).min(now + interrupt_grace);
                *planned = (*planned).min(term_grace);
                self.tick(now)
            }
            Self::Terminated { until } => {
                *until = (*until).min(now + term_grace);
                self.tick(now)
            }
            Self::Killed => None,
        }
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Instant) -> Option<Due> {
        match *self {
            Self::Interrupted { until, term_grace } if now >= until => {
                Some(self.terminate(term_grace, now))
            }
            Self::Terminated { until } if now >= until => {
                *self = Self::Killed;
                Some(Due::Kill)
            }
            _ => None,
        }
    }

    /// When to tick next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Interrupted { until, .. } | Self::Terminated { until } => Some(*until),
            Self::Resting | Self::Killed => None,
        }
    }

    /// Whether a stop was asked for.
    pub(super) fn is_climbing(&self) -> bool {
        *self != Self::Resting
    }

    fn terminate(&mut self, grace: Duration, now: Instant) -> Due {
        if grace.is_zero() {
            *self = Self::Killed;
            Due::Kill
        } else {
            *self = Self::Terminated { until: now + grace };
            Due::Terminate
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const STOP: Stop = Stop {
        interrupt_grace_ms: 100,
        term_grace_ms: 50,
    };

    #[test]
    fn each_rung_is_climbed_once_and_in_time() {
        let start = Clock.now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut ladder = Ladder::Resting;
        assert_eq!(ladder.tick(start), None);
        assert_eq!(ladder.stop(STOP, start), Some(Due::Interrupt));
        assert_eq!(ladder.tick(at(99)), None);
        assert_eq!(ladder.deadline(), Some(at(100)));
        assert_eq!(ladder.tick(at(100)), Some(Due::Terminate));
        assert_eq!(ladder.tick(at(149)), None);
        assert_eq!(ladder.tick(at(150)), Some(Due::Kill));
        assert_eq!(ladder.tick(at(999)), None);
        assert_eq!(ladder.stop(Stop::NOW, at(999)), None);
    }

    #[test]
    fn a_second_stop_only_hurries() {
        let start = Clock.now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut ladder = Ladder::Resting;
        ladder.stop(STOP, start);
        assert_eq!(ladder.stop(Stop::ORDERLY, at(10)), None);
        assert_eq!(ladder.deadline(), Some(at(100)));
        assert_eq!(ladder.stop(Stop::NOW, at(20)), Some(Due::Kill));
        let mut ladder = Ladder::Resting;
        assert_eq!(ladder.stop(Stop::NOW, start), Some(Due::Kill));
    }
}
