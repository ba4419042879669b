//! Waiting for a child's end, by the kernel's word for it.

use std::process::{Child, ExitStatus};
use std::time::Duration;

use agent_runner::clock::Clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How it ended; nothing where it did not within `limit`.
pub(crate) fn in_time(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Clock.now() + limit;
    loop {
        // One that was waited for has no pid any more.
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).unwrap();
        let left = deadline.saturating_duration_since(Clock.now());
        let left = Timespec::try_from(left).unwrap();
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left)) {
            Ok(0) => return None,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => panic!("the end of a child cannot be waited for: {error}"),
        }
    }
}
