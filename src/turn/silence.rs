//! Judges an agent's silence by what it is doing. Pure: whoever asks brings the time and what the
//! kernel shows of the processes.
//!
//! ```text
//!  output ──► quiet ──half the limit──► first look ──the limit──► second look ──► alive: anew
//!    ▲                                                                       └──► hung
//!    └── any output begins anew
//! ```
//!
//! Hung is an agent that gave no output for its limit, whose tree used next to no processor time
//! between the two looks, and which has no process that a running tool could have begun. Nothing
//! is looked at, and no timer fires, while there is output. A look that comes much later than it
//! was due means that *we* stood still (stopped, swapped out, a machine asleep): that is not the
//! agent's silence, and the time counts anew.

use std::time::{Duration, Instant};

use crate::config::{Patience, show_duration};
use crate::process::TreeUsage;
use crate::turn::activity::Doing;

/// A look that comes this much after its time says that we stood still meanwhile.
const STALL: Duration = Duration::from_secs(5);
/// A tree that uses less than this share of one processor does nothing: timers, and the like.
/// Seen of OpenCode: 1.3 % in a hang, 33 % at work.
const IDLE_PERCENT: u32 = 3;
/// How long before its record a tool's process may have begun, in clock ticks (10 ms).
const RECORD_DELAY: u64 = 200;
/// The longest wait for a rate limit's end that is granted beyond the limit.
const LONGEST_WAIT: Duration = Duration::from_hours(7 * 24);

/// An agent's silence so far.
#[derive(Debug)]
pub struct Silence {
    patience: Patience,
    doing: Doing,
    /// The last sign of life, or since when it is waited for again.
    quiet_since: Instant,
    /// When it began to do what it is doing.
    doing_since: Instant,
    /// The same on the kernel's clock; 0 where nobody of us saw it begin.
    tick: u64,
    /// A wait beyond the limit that has a reason.
    granted: Duration,
    first_look: Option<(Instant, Option<TreeUsage>)>,
    /// Since when its output is left unread.
    held: Option<Instant>,
}

/// What a look came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing is to be done before the next deadline.
    Wait,
    /// The CLI is stopped by a signal: worth a word.
    Stopped,
    /// It stays after its last record, or after its answer for work in the background.
    Linger,
    /// It hangs, for this reason.
    Hung(String),
}

impl Silence {
    /// Of an attempt that begins now, or that was taken over.
    pub fn new(patience: Patience, doing: Doing, now: Instant) -> Self {
        Self {
            patience,
            doing,
            quiet_since: now,
            doing_since: now,
            tick: 0,
            granted: Duration::ZERO,
            first_look: None,
            held: None,
        }
    }

    /// There was output, after which the agent is doing that; whether it did something else
    /// before. `tick` is the kernel's clock, `wall` milliseconds since the epoch.
    pub fn heard(&mut self, doing: Doing, now: Instant, tick: u64, wall: u64) -> bool {
        self.quiet_since = now;
        self.first_look = None;
        if doing == self.doing {
            return false;
        }
        self.granted = match doing {
            Doing::Retrying(Some(until)) => {
                Duration::from_millis(until.saturating_sub(wall)).min(LONGEST_WAIT)
            }
            _ => Duration::ZERO,
        };
        self.doing = doing;
        self.doing_since = now;
        self.tick = tick;
        true
    }

    /// The agent's output is left unread, or read again: it cannot be heard meanwhile, nor can it
    /// end, and so that time does not count.
    pub fn hold(&mut self, held: bool, now: Instant) {
        let since = match (held, self.held) {
            (true, None) => {
                self.held = Some(now);
                return;
            }
            (false, Some(since)) => since,
            _ => return,
        };
        self.held = None;
        self.quiet_since = now;
        self.doing_since += now.saturating_duration_since(since.max(self.doing_since));
        self.first_look = None;
    }

    /// What the agent is doing.
    pub fn doing(&self) -> &Doing {
        &self.doing
    }

    /// When to look next; never, while there is no limit.
    pub fn deadline(&self) -> Option<Instant> {
        if self.held.is_some() {
            return None;
        }
        let limit = self.limit()?;
        match self.doing {
            Doing::Finished | Doing::Background => Some(self.doing_since + limit),
            _ if self.first_look.is_some() => Some(self.quiet_since + limit),
            _ => Some(self.quiet_since + limit / 2),
        }
    }

    /// The deadline has come. `usage` is asked for where it matters; it gives nothing where the
    /// kernel shows nothing.
    pub fn look(&mut self, now: Instant, usage: impl FnOnce() -> Option<TreeUsage>) -> Look {
        let Some(deadline) = self.deadline() else {
            return Look::Wait;
        };
        if matches!(self.doing, Doing::Finished | Doing::Background) {
            return Look::Linger;
        }
        if now.saturating_duration_since(deadline) > STALL {
            self.quiet_since = now;
            self.first_look = None;
            return Look::Wait;
        }
        let usage = usage();
        let Some((at, before)) = self.first_look.take() else {
            self.first_look = Some((now, usage));
            let is_stopped = usage.is_some_and(|usage| usage.is_stopped);
            return if is_stopped {
                Look::Stopped
            } else {
                Look::Wait
            };
        };
        if self.is_alive(now.saturating_duration_since(at), before, usage) {
            self.quiet_since = now;
            return Look::Wait;
        }
        Look::Hung(self.reason(usage))
    }

    fn limit(&self) -> Option<Duration> {
        let patience = &self.patience;
        let limit = match self.doing {
            Doing::Starting => patience.starting,
            Doing::Model => patience.model,
            Doing::Tool(_) => patience.tool,
            Doing::Asking => patience.asking,
            Doing::Retrying(_) => patience.retrying,
            Doing::Background => patience.background,
            Doing::Finished => Some(patience.linger),
        };
        limit.map(|limit| limit + self.granted)
    }

    fn is_alive(
        &self,
        between: Duration,
        before: Option<TreeUsage>,
        after: Option<TreeUsage>,
    ) -> bool {
        // Without evidence silence alone decides.
        let Some(after) = after else {
            return false;
        };
        if after.is_stopped {
            return false;
        }
        let began_in_tool = |start: u64| start + RECORD_DELAY >= self.tick;
        let runs_a_tool = matches!(self.doing, Doing::Tool(_));
        if runs_a_tool && after.youngest.is_some_and(began_in_tool) {
            return true;
        }
        before.is_some_and(|before| {
            after.cpu.saturating_sub(before.cpu) > between * IDLE_PERCENT / 100
        })
    }

    fn reason(&self, usage: Option<TreeUsage>) -> String {
        let limit = self.limit().map(show_duration).unwrap_or_default();
        let doing = &self.doing;
        match usage {
            Some(usage) if usage.is_stopped => format!(
                "was stopped by a signal (SIGSTOP) and gave no sign of life for {limit} {doing}"
            ),
            Some(_) => format!(
                "gave no sign of life for {limit} {doing}: no output, no processor time, no tool \
                 at work"
            ),
            None => format!("gave no output for {limit} {doing}"),
        }
    }
}

#[cfg(test)]
mod tests;
