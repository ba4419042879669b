//! `fork`, allowed only where it is safe: in a process with one thread.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::libc;
use nix::unistd::ForkResult;
use rustix::process::Pid;

use super::RunGroup;

/// `clone3`'s flag for a child that is born in a control group (Linux 5.7). The `libc` crate has it
/// in a type that is too small for it.
const INTO_CGROUP: u64 = 1 << 33;

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
    refuse_threads()?;
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
    parent_of(fork()?, child)
}

/// As [`fork_into`], with the new process in `group`; the group is given back where it is in it, and
/// removed where the kernel does not let it in.
///
/// It is born there. To move a process waits for all processors to pass through the kernel's
/// scheduler, which takes milliseconds; that is for kernels, and filters of system calls, that know
/// no other way.
pub fn fork_into_group(
    group: RunGroup,
    child: impl FnOnce() -> i32,
) -> io::Result<(Pid, Option<RunGroup>)> {
    if let Ok(fork) = group.open().and_then(|folder| fork_at(folder.as_fd())) {
        return Ok((parent_of(fork, child)?, Some(group)));
    }
    let pid = fork_into(child).inspect_err(|_| group.remove())?;
    if group.add(pid).is_ok() {
        return Ok((pid, Some(group)));
    }
    group.remove();
    Ok((pid, None))
}

/// What is left to do on either side of a fork.
fn parent_of(fork: Fork, child: impl FnOnce() -> i32) -> io::Result<Pid> {
    match fork {
        Fork::Parent(pid) => Ok(pid),
        // A panic must not unwind into the parent's frames, which exist twice now.
        Fork::Child => end_now(catch_unwind(AssertUnwindSafe(child)).unwrap_or(127)),
    }
}

/// As [`fork`], into the control group whose folder is open.
fn fork_at(group: BorrowedFd<'_>) -> io::Result<Fork> {
    refuse_threads()?;
    let descriptor = u64::try_from(group.as_raw_fd()).map_err(io::Error::other)?;
    // SAFETY: all of its fields are numbers, and zero says for each that nothing is wanted.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = INTO_CGROUP;
    arguments.exit_signal = libc::SIGCHLD.unsigned_abs().into();
    arguments.cgroup = descriptor;
    // SAFETY: this is the only thread, and without a stack or shared memory it is a fork: the child
    // goes on here with a copy of everything. What the C library does besides concerns handlers
    // that nobody has set, and locks that no other thread can hold.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            std::ptr::from_mut(&mut arguments),
            size_of::<libc::clone_args>(),
        )
    };
    match i32::try_from(pid).map_err(io::Error::other)? {
        0 => Ok(Fork::Child),
        ..0 => Err(io::Error::last_os_error()),
        pid => {
            let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
            Ok(Fork::Parent(pid))
        }
    }
}

fn refuse_threads() -> io::Result<()> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other(
            "cannot fork: this process has several threads",
        ));
    }
    Ok(())
}

/// Ends this process at once, without destructors: for a forked child, whose copies of the
/// parent's values are not its own to clean up.
pub fn end_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any value and does not return.
    unsafe { libc::_exit(code) }
}
