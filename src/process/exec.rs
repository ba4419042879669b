//! What a process does to itself on its way to becoming the agent.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Environment;

/// The agents' limit of open files: enough for a file watcher on a large repo, small enough that a
/// program which closes every possible descriptor one by one does not take seconds.
const OPEN_FILES: u64 = 65_536;

/// The agent is to be the kernel's first victim, before the daemon and the shim.
const OOM_SCORE: &str = "500";

/// Sets the resource limits of an agent: open files, no core dumps (they would hold its keys), and
/// first in line when memory runs out.
pub fn limit_resources() -> io::Result<()> {
    let files = getrlimit(Resource::Nofile);
    let ceiling = files.maximum.unwrap_or(u64::MAX);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(ceiling.min(OPEN_FILES)),
            maximum: files.maximum,
        },
    )?;
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    // Raising one's own score needs no right; a kernel without the file has no OOM killer to steer.
    match fs::write("/proc/self/oom_score_adj", OOM_SCORE) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Becomes `program`. `argv` does not hold the program's own name; returns only with an error.
pub fn replace_image(program: &OsStr, argv: &[String], environment: &Environment) -> io::Error {
    let strings = std::iter::once(program.as_bytes())
        .chain(argv.iter().map(String::as_bytes))
        .map(CString::new)
        .collect::<Result<Vec<_>, _>>();
    let (Ok(strings), Ok(path)) = (strings, CString::new(program.as_bytes())) else {
        return io::Error::from_raw_os_error(nix::libc::EINVAL);
    };
    match nix::unistd::execve(&path, &strings, &environment.to_strings()) {
        Ok(never) => match never {},
        Err(errno) => errno.into(),
    }
}
