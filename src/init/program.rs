//! The program that init looks after, and how it is started.

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;

use rustix::process::Pid;

use crate::process;

/// What a shell exits with for a program that does not exist, and for one that cannot be executed.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;

/// A program and its arguments.
#[derive(Debug)]
pub struct Program(Vec<CString>);

/// An argument that no program can be given.
#[derive(Debug, thiserror::Error)]
#[error("the argument {0:?} holds a NUL byte")]
pub struct InvalidArgument(OsString);

impl Program {
    /// `name` is looked for in PATH unless it holds a slash.
    pub fn new(name: &OsStr, arguments: &[OsString]) -> Result<Self, InvalidArgument> {
        let words = std::iter::once(name).chain(arguments.iter().map(OsString::as_os_str));
        let words = words.map(|word| {
            CString::new(word.as_bytes()).map_err(|_| InvalidArgument(word.to_owned()))
        });
        Ok(Self(words.collect::<Result<_, _>>()?))
    }

    /// Starts it with init's environment, in a process group of its own. A program that cannot be
    /// executed ends with 126 or 127 and says why.
    pub(super) fn start(&self) -> io::Result<Pid> {
        process::fork_into(|| self.become_it())
    }

    fn become_it(&self) -> i32 {
        let error = match prepare() {
            Ok(()) => self.replace_image(),
            Err(error) => error,
        };
        let name = self.0.first().map(|name| name.to_string_lossy());
        let name = name.unwrap_or_default();
        // There is no one else to tell.
        let _unheard = writeln!(io::stderr(), "agent-runner: cannot start {name}: {error}");
        match error.kind() {
            io::ErrorKind::NotFound => NOT_FOUND,
            _ => NOT_EXECUTABLE,
        }
    }

    fn replace_image(&self) -> io::Error {
        let Some(name) = self.0.first() else {
            return io::ErrorKind::NotFound.into();
        };
        match nix::unistd::execvp(name, &self.0) {
            Ok(never) => match never {},
            Err(errno) => errno.into(),
        }
    }
}

fn prepare() -> io::Result<()> {
    use nix::unistd::{Pid, getpgrp, setpgid, tcgetpgrp, tcsetpgrp};

    // 0 where the group's leader is outside of the pid namespace, which rustix takes for a fault.
    let before = getpgrp();
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    // A terminal's signals go to the program alone, then; init would forward them once more, and
    // a second one means haste. A terminal that is not ours is left alone. With SIGTTOU blocked
    // a process in the background may do this.
    if tcgetpgrp(io::stdin()).is_ok_and(|foreground| foreground == before) {
        tcsetpgrp(io::stdin(), getpgrp())?;
    }
    process::reset_all()
}
