//! Runs a program to its end: bounded in time, its output in a file.
//!
//! A file, not a pipe: a program that outlives this process is not disturbed in the middle of its
//! work, and one that leaves children behind keeps nobody waiting for the end of the pipe.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

/// How often a wait looks whether it was cancelled.
pub(super) const GLANCE: Duration = Duration::from_millis(100);

/// The end of an output that is worth showing, in bytes.
const TAIL: u64 = 4096;

/// How a run ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// By itself.
    Exited(ExitStatus),
    /// It was killed at the limit.
    TimedOut,
    /// It was killed because the caller asked to stop.
    Cancelled,
}

/// Starts `command` and waits for it.
pub(super) fn run(
    command: &mut Command,
    limit: Duration,
    cancel: &CancellationToken,
    started: impl FnOnce(),
) -> io::Result<Ended> {
    let mut child = command.spawn()?;
    started();
    let ended = wait(&mut child, limit, cancel);
    if !matches!(ended, Ok(Ended::Exited(_))) {
        child.kill()?;
        child.wait()?;
    }
    ended
}

fn wait(child: &mut Child, limit: Duration, cancel: &CancellationToken) -> io::Result<Ended> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let glance = Timespec::try_from(GLANCE).map_err(io::Error::other)?;
    let start = Clock.now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ended::Exited(status));
        }
        if cancel.is_cancelled() {
            return Ok(Ended::Cancelled);
        }
        if start.elapsed() >= limit {
            return Ok(Ended::TimedOut);
        }
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&glance)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The last 4 KiB of what a program wrote, from the beginning of a line.
pub(super) fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let skipped = file.metadata()?.len().saturating_sub(TAIL);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let whole_lines = match text.split_once('\n') {
        Some((_, rest)) if skipped > 0 => rest,
        _ => &text,
    };
    Ok(whole_lines.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Command {
        let mut command = Command::new("/bin/sleep");
        command.arg("600");
        command
    }

    #[test]
    fn a_program_is_killed_at_its_limit() {
        let ended = run(
            &mut sleeper(),
            Duration::from_millis(50),
            &CancellationToken::new(),
            || {},
        );
        assert!(matches!(ended, Ok(Ended::TimedOut)));
    }

    #[test]
    fn a_cancelled_wait_kills_the_program() {
        let cancel = CancellationToken::new();
        let ended = run(&mut sleeper(), Duration::from_mins(1), &cancel, || {
            cancel.cancel();
        });
        assert!(matches!(ended, Ok(Ended::Cancelled)));
    }

    #[test]
    fn a_tail_begins_with_a_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "first\nsecond\n").unwrap();
        assert_eq!(tail(&path).unwrap(), "first\nsecond");
        std::fs::write(&path, format!("{}\nlast\n", "x".repeat(5000))).unwrap();
        assert_eq!(tail(&path).unwrap(), "last");
    }
}
