//! What init decides, as a pure state machine: events and the time in, at most one action out.
//!
//! ```text
//!            ┌────────time────────┐
//!            ▼                    │
//! start ─► Running ──ended──► Resting
//!            │  └──ended for good, or too often──┐ │ SIGTERM
//!            │ SIGTERM                           ▼ ▼
//!            └────► Stopping ──ended, or late──► Clearing ──alone, or late──► leave
//! ```
//!
//! *Running*: the program lives. *Resting*: it is started again soon. *Stopping*: it was told to
//! end. *Clearing*: whatever else is left is told to, then killed.

use std::time::{Duration, Instant};

use super::restarts::{Next, Restarts};
use crate::exit::Exit;

pub(super) const HUP: i32 = 1;
pub(super) const INT: i32 = 2;
pub(super) const QUIT: i32 = 3;
pub(super) const KILL: i32 = 9;
pub(super) const USR1: i32 = 10;
pub(super) const USR2: i32 = 12;
pub(super) const TERM: i32 = 15;
pub(super) const WINCH: i32 = 28;

/// What the program gets to see of the signals that init gets.
const FORWARDED: &[i32] = &[HUP, INT, QUIT, USR1, USR2, TERM, WINCH];

/// What is left after the program has this long for an orderly end, and as long again to vanish
/// when it is killed. Together with the default grace less than the 10 s of `docker stop`.
const CLEARING: Duration = Duration::from_millis(500);

/// What init has to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Start the program.
    Start,
    /// Say that it ended, and when it will be started again.
    Restart { exit: Exit, delay: Duration },
    /// Say that it ended too often, and send SIGTERM to all that is left.
    GiveUp { exit: Exit },
    /// Send this signal to the program.
    Forward(i32),
    /// Send this signal to all that is left.
    Everyone(i32),
    /// End with this code.
    Leave(u8),
}

#[derive(Debug, Clone, Copy)]
enum State {
    Running {
        /// It was asked to end, by a signal that it may take its time for.
        asked: bool,
        /// It was asked to leave for its successor.
        upgrade: bool,
    },
    Resting {
        until: Instant,
        last: Exit,
    },
    Stopping {
        until: Instant,
    },
    Clearing {
        until: Instant,
        killed: bool,
        code: Option<u8>,
    },
}

/// The program's life under init.
#[derive(Debug)]
pub(super) struct Supervision {
    state: State,
    grace: Duration,
    restarts: Restarts,
}

impl Supervision {
    /// The program is being started. On SIGTERM it has `grace` to end.
    pub(super) fn new(grace: Duration, restarts: Restarts) -> Self {
        Self {
            state: RUNNING,
            grace,
            restarts,
        }
    }

    /// Init got a signal.
    pub(super) fn signal(&mut self, number: i32, now: Instant) -> Option<Action> {
        if !FORWARDED.contains(&number) {
            return None;
        }
        match &mut self.state {
            State::Running { asked, upgrade } => {
                match number {
                    TERM => {
                        let until = now + self.grace;
                        self.state = State::Stopping { until };
                    }
                    INT | QUIT => *asked = true,
                    USR2 => *upgrade = true,
                    _ => {}
                }
                Some(Action::Forward(number))
            }
            // The program knows what a second SIGTERM means.
            State::Stopping { .. } => Some(Action::Forward(number)),
            State::Resting { last, .. } if is_stop(number) => {
                let code = shell_code(*last);
                Some(self.clear(Some(code), now))
            }
            State::Clearing { until, killed, .. } if is_stop(number) && !*killed => {
                *until = now + CLEARING;
                *killed = true;
                Some(Action::Everyone(KILL))
            }
            State::Resting { .. } | State::Clearing { .. } => None,
        }
    }

    /// The program ended, and was reaped.
    pub(super) fn ended(&mut self, exit: Exit, now: Instant) -> Option<Action> {
        let code = shell_code(exit);
        match &mut self.state {
            State::Running { asked: true, .. } | State::Stopping { .. } => {
                Some(self.clear(Some(code), now))
            }
            State::Running { upgrade, .. } => match self.restarts.after(exit, *upgrade, now) {
                Next::Restart(delay) => {
                    let until = now + delay;
                    self.state = State::Resting { until, last: exit };
                    Some(Action::Restart { exit, delay })
                }
                Next::Over => Some(self.clear(Some(code), now)),
                Next::TooOften => {
                    self.clear(Some(code), now);
                    Some(Action::GiveUp { exit })
                }
            },
            State::Clearing { code: known, .. } => {
                *known = Some(code);
                None
            }
            State::Resting { .. } => None,
        }
    }

    /// Init has no child left.
    pub(super) fn alone(&self) -> Option<Action> {
        match self.state {
            State::Clearing { code, .. } => Some(leave(code)),
            _ => None,
        }
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Instant) -> Option<Action> {
        if self.deadline().is_none_or(|until| now < until) {
            return None;
        }
        match &mut self.state {
            State::Running { .. } => None,
            State::Resting { .. } => {
                self.state = RUNNING;
                Some(Action::Start)
            }
            State::Stopping { .. } => Some(self.clear(None, now)),
            State::Clearing {
                until,
                killed: killed @ false,
                ..
            } => {
                *until = now + CLEARING;
                *killed = true;
                Some(Action::Everyone(KILL))
            }
            // What SIGKILL cannot end, nobody can wait for.
            State::Clearing { code, .. } => Some(leave(*code)),
        }
    }

    /// When to tick next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Running { .. } => None,
            State::Resting { until, .. }
            | State::Stopping { until }
            | State::Clearing { until, .. } => Some(until),
        }
    }

    fn clear(&mut self, code: Option<u8>, now: Instant) -> Action {
        self.state = State::Clearing {
            until: now + CLEARING,
            killed: false,
            code,
        };
        Action::Everyone(TERM)
    }
}

const RUNNING: State = State::Running {
    asked: false,
    upgrade: false,
};

/// Signals that end a program which is not there, or what it left behind.
fn is_stop(number: i32) -> bool {
    matches!(number, TERM | INT | QUIT)
}

/// A program that was never seen to end was killed.
fn leave(code: Option<u8>) -> Action {
    Action::Leave(code.unwrap_or(shell_code(Exit {
        signal: Some(KILL),
        ..Exit::default()
    })))
}

/// An end as a shell tells it: the code, or 128 and the number of the signal.
pub(super) fn shell_code(exit: Exit) -> u8 {
    let code = match (exit.code, exit.signal) {
        (Some(code), _) => code,
        (None, Some(signal)) => signal.saturating_add(128),
        (None, None) => 255,
    };
    u8::try_from(code).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests;
