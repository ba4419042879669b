//! A process's descendants, found by a walk of `/proc`.
//!
//! Neither sessions nor process groups hold a tree together (`setsid` leaves both); parenthood
//! does, as long as an ancestor is a subreaper: orphans then come to it and not to init.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;

use rustix::process::{Pid, WaitOptions, WaitStatus};

use super::{Identity, Stat, State};

/// A process of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Who it is.
    pub identity: Identity,
    /// What it is doing.
    pub state: State,
}

impl From<Stat> for Member {
    fn from(stat: Stat) -> Self {
        Self {
            identity: Identity {
                pid: stat.pid,
                start: stat.start,
            },
            state: stat.state,
        }
    }
}

/// All descendants of `ancestor`, zombies included, without itself.
pub fn descendants(ancestor: Pid) -> io::Result<Vec<Member>> {
    let below = below(ancestor.as_raw_nonzero().get())?;
    Ok(below.into_iter().map(Member::from).collect())
}

/// What `/proc` says of all descendants of `ancestor`.
pub(super) fn below(ancestor: i32) -> io::Result<Vec<Stat>> {
    Ok(under(vec![ancestor], Vec::new(), all()?))
}

/// The processes that `is_root` names, and all their descendants.
pub fn trees_of(is_root: impl Fn(&Stat) -> bool) -> io::Result<Vec<Member>> {
    let (roots, rest): (Vec<_>, Vec<_>) = all()?.into_iter().partition(is_root);
    let open = roots.iter().map(|stat| stat.pid).collect();
    let found = under(open, roots, rest);
    Ok(found.into_iter().map(Member::from).collect())
}

/// `found`, and of `others` what descends from the pids in `open`.
fn under(mut open: Vec<i32>, mut found: Vec<Stat>, others: Vec<Stat>) -> Vec<Stat> {
    let mut children: HashMap<i32, Vec<Stat>> = HashMap::new();
    for stat in others {
        children.entry(stat.parent).or_default().push(stat);
    }
    let mut seen = HashSet::new();
    while let Some(pid) = open.pop() {
        for stat in children.remove(&pid).unwrap_or_default() {
            // The walk is no snapshot: a pid that moved meanwhile may turn up twice.
            if seen.insert(stat.pid) {
                open.push(stat.pid);
                found.push(stat);
            }
        }
    }
    found
}

/// The living members of a session that began with `leader`: what is left of a tree whose
/// subreaper is gone. A member that called `setsid` itself is not found.
pub fn session_members(leader: Identity) -> io::Result<Vec<Member>> {
    let members = all()?.into_iter().filter(|stat| {
        stat.session == leader.pid && stat.start >= leader.start && stat.state != State::Dead
    });
    Ok(members.map(Member::from).collect())
}

/// Takes one ended child off the process table, if there is one.
pub fn reap() -> Option<(Pid, WaitStatus)> {
    // ECHILD is the usual "none".
    rustix::process::wait(WaitOptions::NOHANG).ok().flatten()
}

/// All processes that `/proc` shows.
pub(super) fn all() -> io::Result<Vec<Stat>> {
    let mut stats = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        // A process may end between the listing and the read.
        stats.extend(pid.and_then(|pid| Stat::read(pid).ok()));
    }
    Ok(stats)
}
