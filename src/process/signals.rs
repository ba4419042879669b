//! Signals: taken as data by the shim and by init, as the kernel gives them to everyone else.

use std::io;

use nix::libc;
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::{Pid, Signal, kill_process_group};

/// Blocks `signals` in this thread and gives a non-blocking descriptor that delivers them.
pub fn block_and_watch(signals: &[nix::sys::signal::Signal]) -> io::Result<SignalFd> {
    watch(&signals.iter().copied().collect())
}

/// The same for every signal there is, real-time ones included. A fault of this process's own
/// ends it all the same.
pub fn block_all_and_watch() -> io::Result<SignalFd> {
    watch(&SigSet::all())
}

fn watch(set: &SigSet) -> io::Result<SignalFd> {
    set.thread_block()?;
    Ok(SignalFd::with_flags(
        set,
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

/// Whether this process was started to ignore that signal, as by `nohup`.
pub fn is_ignored(signal: Signal) -> bool {
    // The kernel's own `struct sigaction`, whose first word is the handler.
    let mut found = [0_u64; 4];
    // SAFETY: the kernel installs nothing and writes 32 bytes to `found`.
    let asked = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal.as_raw(),
            std::ptr::null::<u64>(),
            found.as_mut_ptr(),
            size_of::<u64>(),
        )
    };
    asked == 0 && found.first() == Some(&(libc::SIG_IGN as u64))
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

/// Sends a signal to every process of this pid namespace but its init. Refused to everyone but
/// that init: outside a container it would end the machine's session.
pub fn signal_everyone(signal: Signal) -> io::Result<()> {
    if rustix::process::getpid() != Pid::INIT {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    // SAFETY: takes two integers; pid -1 leaves out the caller when that is init.
    match unsafe { libc::kill(-1, signal.as_raw()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
