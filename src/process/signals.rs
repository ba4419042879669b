//! Signals: taken as data by the shim, as the kernel gives them to everyone else.

use std::io;

use nix::libc;
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::{Pid, Signal, kill_process_group};

/// Blocks `signals` in this thread and gives a non-blocking descriptor that delivers them.
pub fn block_and_watch(signals: &[nix::sys::signal::Signal]) -> io::Result<SignalFd> {
    let set: SigSet = signals.iter().copied().collect();
    set.thread_block()?;
    Ok(SignalFd::with_flags(
        &set,
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )?)
}

/// Gives every signal its default action and unblocks all: `exec` keeps ignored signals ignored
/// and blocked ones blocked, and Rust's runtime ignores SIGPIPE.
pub fn reset_all() -> io::Result<()> {
    // The kernel's own `struct sigaction`, all zero: the default action, no flags, an empty mask.
    // libc's call refuses the two signals that it keeps for itself, but a parent of another libc
    // may have left them ignored.
    let default = [0_u64; 4];
    for number in 1..=HIGHEST {
        // SAFETY: the kernel reads 32 bytes from `default` and installs no handler. KILL and STOP
        // are refused with EINVAL, which is right.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        };
    }
    SigSet::empty().thread_set_mask()?;
    Ok(())
}

/// The last real-time signal.
const HIGHEST: libc::c_int = 64;

/// Signals a process group; `false` when it has no member left.
pub fn signal_group(leader: Pid, signal: Signal) -> io::Result<bool> {
    // 0 and 1 would mean "my own group" and "everyone".
    if leader.as_raw_nonzero().get() <= 1 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    match kill_process_group(leader, signal) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
