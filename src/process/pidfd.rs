//! A handle on one process that a reused pid cannot fool.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::unix::AsyncFd;

use super::Identity;

/// An open pidfd; readable once the process has ended.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Opens the process that has this identity; `None` when it is gone.
    pub fn open(identity: Identity) -> io::Result<Option<Self>> {
        let Some(pid) = Pid::from_raw(identity.pid).filter(|_| identity.pid > 1) else {
            return Ok(None);
        };
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // The pid may have changed hands before the open; from here on the descriptor pins it.
        Ok(identity.is_alive().then_some(Self(fd)))
    }

    /// Opens a child of this process that nobody has waited for yet: its pid is its own, also when it
    /// has ended.
    pub fn of_child(pid: Pid) -> io::Result<Self> {
        Ok(Self(pidfd_open(pid, PidfdFlags::empty())?))
    }

    /// Sends a signal; `false` when the process has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        match pidfd_send_signal(&self.0, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the process's end, at most so long; whether it has come.
    pub fn ends_within(&self, limit: Duration) -> io::Result<bool> {
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        let mut end = [PollFd::new(&self.0, PollFlags::IN)];
        match poll(&mut end, Some(&limit)) {
            Ok(ready) => Ok(ready > 0),
            // A signal of ours: whoever waits looks again.
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the process's end something that a task can wait for: readable means ended.
    pub fn watch(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor is owned by the value that the registration owns, never replaced
        // and closed only with it.
        let registered = unsafe { AsyncFd::register(self) };
        registered.map_err(io::Error::from)
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for PidFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::process::{WaitId, WaitIdOptions, waitid};

    use super::*;

    #[test]
    fn a_child_that_has_ended_can_be_opened_until_somebody_waits_for_it() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(pid), ended).unwrap();
        let identity = Identity::of(pid).unwrap();
        assert!(PidFd::open(identity).unwrap().is_none(), "it is gone");
        let opened = PidFd::of_child(pid).unwrap();
        assert!(opened.ends_within(Duration::ZERO).unwrap());
        child.wait().unwrap();
        assert!(PidFd::of_child(pid).is_err());
    }
}
