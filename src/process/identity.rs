//! Who a process is: its pid together with its start time, because pids are used again.

use std::fs;
use std::io;

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

/// A process that cannot be taken for a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The pid, in the pid namespace of whoever wrote it.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: clock ticks from boot to the start of the process.
    pub start: u64,
}

impl Identity {
    /// The process that has `pid` now.
    pub fn of(pid: Pid) -> io::Result<Self> {
        let stat = Stat::read(pid.as_raw_nonzero().get())?;
        Ok(Self {
            pid: stat.pid,
            start: stat.start,
        })
    }

    /// This process.
    pub fn own() -> io::Result<Self> {
        Self::of(rustix::process::getpid())
    }

    /// Whether the process still runs (a zombie does not).
    pub fn is_alive(self) -> bool {
        Stat::read(self.pid).is_ok_and(|stat| stat.start == self.start && stat.state != State::Dead)
    }
}

/// Whether any process has that pid now, whoever's it is.
pub fn is_there(pid: i32) -> bool {
    let gone = |pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH);
    Pid::from_raw(pid).is_some_and(|pid| !gone(pid))
}

/// What processes here call this machine.
pub fn host_name() -> io::Result<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")?;
    Ok(name.trim_end().to_owned())
}

/// Where pids mean what they mean here: this boot, and within it this pid namespace, known by when
/// its first process started. `None` where the kernel does not show it.
pub fn pid_world() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let first = Stat::read(1).ok()?.start;
    Some(format!("{}.{first}", boot.trim()))
}

/// What a process is doing, as far as the runner cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Running, sleeping or waiting.
    Alive,
    /// Stopped by a signal or a tracer.
    Stopped,
    /// A zombie, or on its way there: it holds nothing and cannot be killed.
    Dead,
}

/// The fields of `/proc/PID/stat` that the runner uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The process.
    pub pid: i32,
    /// What it is doing.
    pub state: State,
    /// Its parent.
    pub parent: i32,
    /// Its session: the pid of the process that called `setsid`.
    pub session: i32,
    /// The processor time of it and of the children that it has reaped, in clock ticks.
    pub cpu: u64,
    /// When it started, in clock ticks after boot.
    pub start: u64,
}

impl Stat {
    /// Reads `/proc/<pid>/stat`.
    pub fn read(pid: i32) -> io::Result<Self> {
        let text = fs::read(format!("/proc/{pid}/stat"))?;
        Self::parse(pid, &text).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn parse(pid: i32, text: &[u8]) -> Option<Self> {
        // The command name may hold spaces, parentheses and newlines: the fields follow the last
        // ')'.
        let name_end = memchr::memrchr(b')', text)?;
        let fields = std::str::from_utf8(text.get(name_end + 1..)?).ok()?;
        let mut fields = fields.split_ascii_whitespace();
        let state = match fields.next()? {
            "Z" | "X" | "x" => State::Dead,
            "T" | "t" => State::Stopped,
            _ => State::Alive,
        };
        let parent = fields.next()?.parse().ok()?;
        let session = fields.nth(1)?.parse().ok()?;
        let mut cpu = 0;
        for place in [7, 0, 0, 0] {
            // Signed: the kernel's own sum over children is a long.
            let ticks: i64 = fields.nth(place)?.parse().ok()?;
            cpu += u64::try_from(ticks).unwrap_or(0);
        }
        let start = fields.nth(4)?.parse().ok()?;
        Some(Self {
            pid,
            state,
            parent,
            session,
            cpu,
            start,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_does_not_shift_the_fields() {
        let text = b"7 (a) Z (b) T 3 4 5 34816 4 4194304 90 0 0 0 1 2 3 4 20 0 1 0 5555 10 11 0\n";
        let stat = Stat::parse(7, text).unwrap();
        assert_eq!(stat.state, State::Stopped);
        assert_eq!((stat.parent, stat.session, stat.start), (3, 5, 5555));
        assert_eq!(stat.cpu, 1 + 2 + 3 + 4);
        assert!(Stat::parse(7, b"7 (a").is_none());
        assert!(Stat::parse(7, b"7 (a) R 1").is_none());
    }

    #[test]
    fn the_same_pid_with_another_start_is_another_process() {
        let own = Identity::own().unwrap();
        assert!(own.is_alive());
        let other = Identity {
            start: own.start + 1,
            ..own
        };
        assert!(!other.is_alive());
    }
}
