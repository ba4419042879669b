//! The mark that every process of a run carries in its environment: who its shim is.
//!
//! It finds what neither parenthood nor sessions nor groups hold together once the shim is dead.
//! Best effort: a process that cleans its environment loses the mark, and only root and the same
//! user may look. It says nothing that `ps` does not say.

use std::fmt;
use std::fs;
use std::io;
use std::str::FromStr;

use super::tree::all;
use super::{Identity, Member, Stat, State};

/// A run's mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunMark {
    /// The run's shim.
    pub shim: Identity,
    /// The start of the first process where that is its pid: containers count pids anew.
    world: u64,
}

impl RunMark {
    /// The variable. Not one of the runner's settings, which no agent gets to see.
    pub const VARIABLE: &'static str = "AGENT_RUN_MARK";

    /// The mark of the runs of that shim.
    pub fn of(shim: Identity) -> io::Result<Self> {
        let world = Stat::read(1)?.start;
        Ok(Self { shim, world })
    }

    /// The living processes that carry it.
    pub fn bearers(self) -> Vec<Member> {
        let marked = marked().into_iter();
        let of_this = marked.filter(|(mark, _)| *mark == self);
        of_this.map(|(_, member)| member).collect()
    }
}

/// The living processes whose shim is gone: whatever they do, nobody waits for it any more.
pub fn orphans() -> Vec<Member> {
    let Ok(RunMark { world, .. }) = Identity::own().and_then(RunMark::of) else {
        return Vec::new();
    };
    let orphaned = |mark: &RunMark| mark.world == world && !mark.shim.is_alive();
    let marked = marked().into_iter();
    marked
        .filter(|(mark, _)| orphaned(mark))
        .map(|(_, member)| member)
        .collect()
}

fn marked() -> Vec<(RunMark, Member)> {
    let living = all().unwrap_or_default().into_iter();
    let living = living.filter(|stat| stat.state != State::Dead);
    living
        .filter_map(|stat| Some((mark_of(stat.pid)?, stat.into())))
        .collect()
}

fn mark_of(pid: i32) -> Option<RunMark> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    let value = variables.find_map(|variable| {
        let value = variable.strip_prefix(RunMark::VARIABLE.as_bytes())?;
        value.strip_prefix(b"=")
    })?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

impl fmt::Display for RunMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shim, world } = self;
        write!(f, "{}.{}.{world}", shim.pid, shim.start)
    }
}

impl FromStr for RunMark {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, '.');
        let mut next = || parts.next().unwrap_or_default();
        Ok(Self {
            shim: Identity {
                pid: next().parse()?,
                start: next().parse()?,
            },
            world: next().parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_mark_finds_who_carries_it_and_who_has_no_shim_any_more() {
        let own = Identity::own().unwrap();
        let gone = Identity {
            start: own.start + 1,
            ..own
        };
        let mut children = [own, gone].map(|shim| {
            let mark = RunMark::of(shim).unwrap();
            assert_eq!(mark.to_string().parse(), Ok(mark));
            let mut cat = std::process::Command::new("cat");
            cat.env(RunMark::VARIABLE, mark.to_string());
            cat.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut cat = cat.spawn().unwrap();
            // Its environment can be seen when it runs, which is a moment after its start.
            cat.stdin.as_mut().unwrap().write_all(b"x").unwrap();
            cat.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            (mark, cat)
        });
        for (mark, child) in &children {
            let pid = i32::try_from(child.id()).unwrap();
            let is_child = |member: &Member| member.identity.pid == pid;
            assert!(mark.bearers().iter().any(is_child));
            assert_eq!(orphans().iter().any(is_child), mark.shim == gone);
        }
        for (_, child) in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
