//! `fork`, allowed only where it is safe: in a process with one thread.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::libc;
use nix::unistd::ForkResult;
use rustix::process::Pid;

/// Which side of a fork this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The process that forked, with its new child.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Forks. Refused when this process has more than one thread: a lock that another thread holds
/// would stay locked for ever in the child.
pub fn fork() -> io::Result<Fork> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other(
            "cannot fork: this process has several threads",
        ));
    }
    // SAFETY: this is the only thread, so that the child's memory is as consistent as the
    // parent's and it may call anything.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => {
            let child = Pid::from_raw(child.as_raw()).ok_or(io::ErrorKind::InvalidData)?;
            Ok(Fork::Parent(child))
        }
        ForkResult::Child => Ok(Fork::Child),
    }
}

/// Forks and runs `child` in the new process, which ends with the code that it returns.
pub fn fork_into(child: impl FnOnce() -> i32) -> io::Result<Pid> {
    match fork()? {
        Fork::Parent(pid) => Ok(pid),
        // A panic must not unwind into the parent's frames, which exist twice now.
        Fork::Child => end_now(catch_unwind(AssertUnwindSafe(child)).unwrap_or(127)),
    }
}

/// Ends this process at once, without destructors: for a forked child, whose copies of the
/// parent's values are not its own to clean up.
pub fn end_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any value and does not return.
    unsafe { libc::_exit(code) }
}
