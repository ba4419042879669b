//! What a dead shim leaves behind.
//!
//! A shim ends its whole tree before it ends. One that is killed cannot: the CLI dies with it, and
//! all else of the tree becomes init's child. Nobody marks these processes, and nothing that they
//! inherit would stay with one that clears its environment or starts a session of its own. But a
//! child of init that started after the shim, and is neither the daemon nor another shim, comes
//! from its tree. The one exception is an orphan of a process that was brought into the container
//! meanwhile (`docker exec`); it is taken for one of them.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::process::{self, PidFd, SHIM_NAME, Stat, State};

/// No sweep goes on for longer: what is left cannot be killed.
const LIMIT: Duration = Duration::from_secs(5);
/// For so long after the last one was found more may come: the CLI dies with its shim, its
/// children become init's after that, and some may have forked meanwhile.
const QUIET: Duration = Duration::from_millis(500);
/// Between two looks while there are some.
const HURRY: Duration = Duration::from_millis(5);
/// Between two looks while there are none.
const PAUSE: Duration = Duration::from_millis(50);

/// The hunt for what dead shims left.
#[derive(Debug, Default)]
pub(super) struct Orphans(Option<Sweep>);

#[derive(Debug, Clone, Copy)]
struct Sweep {
    /// The earliest of these shims.
    since: Birth,
    next: Instant,
    quiet: Instant,
    until: Instant,
}

/// When a process was born. The clock ticks a hundred times a second only; within a tick the one
/// with the higher pid is the younger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Birth {
    start: u64,
    pid: i32,
}

impl Birth {
    fn of(stat: &Stat) -> Self {
        Self {
            start: stat.start,
            pid: stat.pid,
        }
    }
}

impl Orphans {
    /// This shim was killed.
    pub(super) fn shim_died(&mut self, shim: &Stat, now: Instant) {
        let birth = Birth::of(shim);
        let since = self.0.map_or(birth, |sweep| sweep.since.min(birth));
        self.0 = Some(Sweep {
            since,
            next: now,
            quiet: now + QUIET,
            until: now + LIMIT,
        });
    }

    /// When to sweep next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.map(|sweep| sweep.next)
    }

    /// Kills what is there. Without effect when none is due.
    pub(super) fn sweep(&mut self, init: Pid, program: Option<Pid>, now: Instant) {
        let Some(sweep) = &mut self.0 else { return };
        if now < sweep.next {
            return;
        }
        let found = kill(sweep.since, init, program);
        if found {
            sweep.quiet = now + QUIET;
        }
        sweep.next = now + if found { HURRY } else { PAUSE };
        if now >= sweep.quiet.min(sweep.until) {
            self.0 = None;
        }
    }
}

/// Whether there was something to kill.
fn kill(since: Birth, init: Pid, program: Option<Pid>) -> bool {
    let init = init.as_raw_nonzero().get();
    let program = program.map(|pid| pid.as_raw_nonzero().get());
    let left = |stat: &Stat| {
        let is_left = is_child_since(stat, since, init) && Some(stat.pid) != program;
        is_left && !process::is_named(stat.pid, SHIM_NAME)
    };
    let members = process::trees_of(left).unwrap_or_default();
    let living = members.iter().filter(|member| member.state != State::Dead);
    let mut found = false;
    for member in living {
        found = true;
        // Gone meanwhile, or not ours to kill.
        if let Ok(Some(pidfd)) = PidFd::open(member.identity) {
            let _outcome = pidfd.signal(Signal::KILL);
        }
    }
    found
}

fn is_child_since(stat: &Stat, since: Birth, init: i32) -> bool {
    stat.parent == init && Birth::of(stat) > since
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const NOBODY: Pid = Pid::INIT;

    fn stat(pid: i32, parent: i32, start: u64) -> Stat {
        Stat {
            pid,
            state: State::Alive,
            parent,
            session: pid,
            start,
            cpu: 0,
        }
    }

    #[test]
    fn only_children_of_init_that_are_younger_than_the_shim_are_its_own() {
        let since = Birth::of(&stat(50, 1, 100));
        let is_its = |stat| is_child_since(&stat, since, 1);
        assert!(is_its(stat(51, 1, 100)), "of the same tick");
        assert!(is_its(stat(7, 1, 101)), "pids begin anew some time");
        assert!(!is_its(stat(49, 1, 100)));
        assert!(!is_its(stat(99, 1, 99)));
        assert!(!is_its(stat(51, 2, 101)), "it has another parent");
    }

    #[test]
    fn a_sweep_ends_when_nothing_comes_any_more() {
        let start = Clock.now();
        let mut orphans = Orphans::default();
        assert_eq!(orphans.deadline(), None);
        // Later than any process.
        orphans.shim_died(&stat(2, 1, u64::MAX), start);
        let mut looks = 0;
        while let Some(due) = orphans.deadline() {
            assert!(due <= start + QUIET);
            orphans.sweep(NOBODY, None, due);
            looks += 1;
        }
        assert_eq!(looks, 11);
    }

    #[test]
    fn a_second_death_prolongs_the_sweep_and_keeps_the_earlier_start() {
        let start = Clock.now();
        let mut orphans = Orphans::default();
        let first = stat(2, 1, u64::MAX - 1);
        orphans.shim_died(&first, start);
        orphans.shim_died(&stat(3, 1, u64::MAX), start + LIMIT);
        let sweep = orphans.0.unwrap();
        assert_eq!(sweep.since, Birth::of(&first));
        assert_eq!(sweep.until, start + LIMIT + LIMIT);
    }
}
