//! Children that ended, looked at before they are reaped.

use std::io;

use nix::libc;
use rustix::process::{Pid, WaitOptions};

use crate::exit::Exit;

/// A child that ended and is still on the process table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zombie {
    /// Its pid, which nobody else gets before it is reaped.
    pub pid: Pid,
    /// How it ended.
    pub exit: Exit,
}

/// What became of this process's children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Children {
    /// One has ended.
    Ended(Zombie),
    /// There are some, and all live.
    Alive,
    /// There is none.
    None,
}

/// Looks for a child that ended, and leaves it as it is.
pub fn ended_child() -> Children {
    // SAFETY: all zero is a valid `siginfo_t`.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the kernel writes one `siginfo_t` into `info`, which outlives the call.
    if unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) } != 0 {
        let error = io::Error::last_os_error().raw_os_error();
        // An interruption is no answer; the signal that did it is.
        return if error == Some(libc::ECHILD) {
            Children::None
        } else {
            Children::Alive
        };
    }
    // SAFETY: `waitid` has filled in these fields, or left them zero where no child has ended.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let Some(pid) = Pid::from_raw(pid) else {
        return Children::Alive;
    };
    let exited = info.si_code == libc::CLD_EXITED;
    let exit = Exit {
        code: exited.then_some(status),
        signal: (!exited).then_some(status),
        oom: false,
    };
    Children::Ended(Zombie { pid, exit })
}

impl Zombie {
    /// Takes it off the process table.
    pub fn reap(self) {
        // It is a zombie of ours: there is nothing to wait for and nothing that can fail.
        let _status = rustix::process::waitpid(Some(self.pid), WaitOptions::NOHANG);
    }
}
