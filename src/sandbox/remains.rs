//! What a dead shim left: found by the run's control group, its mark and its session, and killed.
//!
//! The CLI itself dies with its shim; what it had started does not.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;

use crate::process::{self, Identity, Member, PidFd, RunGroup, RunMark, State};
use crate::spool::Status;

/// How long killed processes may take to vanish before they are reported as leaked.
const LIMIT: Duration = Duration::from_secs(5);
/// Between two rounds over a tree that is just dying.
const PAUSE: Duration = Duration::from_millis(5);

/// Kills all that is left of a run; what is still there after a while.
pub(super) async fn kill(last: &Status) -> Vec<Identity> {
    let group = last.group.as_deref().map(RunGroup::at);
    let mut patience = LIMIT;
    loop {
        if let Some(group) = &group {
            // What it misses is killed below, one by one.
            let _outcome = group.kill();
        }
        let living = living(last, group.as_ref());
        for member in &living {
            // Gone meanwhile, or not ours to kill: the next round sees which.
            if let Ok(Some(pidfd)) = PidFd::open(*member) {
                let _outcome = pidfd.signal(Signal::KILL);
            }
        }
        let left = patience.checked_sub(PAUSE);
        if living.is_empty() || left.is_none() {
            if let Some(group) = &group {
                group.remove();
            }
            return living.into_iter().collect();
        }
        patience = left.unwrap_or_default();
        tokio::time::sleep(PAUSE).await;
    }
}

fn living(last: &Status, group: Option<&RunGroup>) -> BTreeSet<Identity> {
    let mut members = group.map(RunGroup::members).unwrap_or_default();
    // After a reboot, or in another container, these pids are other processes'.
    if last.world.is_some() && last.world == process::pid_world() {
        let mark = last.shim.and_then(|shim| RunMark::of(shim).ok());
        members.extend(mark.map(RunMark::bearers).unwrap_or_default());
        let session = last.agent.map(process::session_members);
        members.extend(session.and_then(Result::ok).unwrap_or_default());
    }
    let is_living = |member: &Member| member.state != State::Dead;
    let living = members.into_iter().filter(is_living);
    living.map(|member| member.identity).collect()
}
