//! What a run's tree has done so far: the evidence that a silent CLI is alive.

use std::io;
use std::time::Duration;

use super::tree::below;
use super::{Identity, Stat, State};

/// A tree at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeUsage {
    /// Processor time of all of it, with that of the processes that have ended. It may shrink when
    /// a process ends that nobody of the tree reaps.
    pub cpu: Duration,
    /// When the youngest living process below the CLI started, in clock ticks after boot.
    pub youngest: Option<u64>,
    /// Whether the CLI itself is stopped by a signal or a tracer.
    pub is_stopped: bool,
}

/// Looks at the tree of `shim`, whose CLI is `agent`. Reads a few files of `/proc` for each process
/// of the machine: not for every second.
pub fn tree_usage(shim: Identity, agent: Identity) -> io::Result<TreeUsage> {
    let tree = below(shim.pid)?;
    // What the shim reaped counts; the little that it does itself as well.
    let own = Stat::read(shim.pid)?;
    let ticks: u64 = tree.iter().chain([&own]).map(|stat| stat.cpu).sum();
    let is_agent = |stat: &&Stat| stat.pid == agent.pid && stat.start == agent.start;
    let living = tree.iter().filter(|stat| stat.state != State::Dead);
    Ok(TreeUsage {
        cpu: Duration::from_millis(ticks.saturating_mul(1000) / PER_SECOND),
        youngest: living
            .filter(|stat| !is_agent(stat))
            .map(|stat| stat.start)
            .max(),
        is_stopped: tree
            .iter()
            .find(is_agent)
            .is_some_and(|stat| stat.state == State::Stopped),
    })
}

/// The machine's clock ticks after boot, as in [`Stat::start`].
pub fn clock_ticks() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds * PER_SECOND + nanos * PER_SECOND / 1_000_000_000
}

/// Clock ticks of `/proc` in a second: the same on every Linux that Rust knows, whatever the
/// kernel's own clock.
const PER_SECOND: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_shows_its_work_and_its_youngest_process() {
        let own = Identity::own().unwrap();
        let (before, tick) = (tree_usage(own, own).unwrap(), clock_ticks());
        let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; exec sleep 600";
        let mut child = std::process::Command::new("sh");
        let mut child = child.args(["-c", script]).spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let work = loop {
            let usage = tree_usage(own, Identity::of(pid).unwrap()).unwrap();
            if usage.cpu > before.cpu + Duration::from_millis(50) {
                break usage;
            }
        };
        assert!(!work.is_stopped);
        assert!(tree_usage(own, own).unwrap().youngest.unwrap() + 1 >= tick);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
