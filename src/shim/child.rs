//! The forked child on its way to becoming the CLI.
//!
//! It runs between `fork` and `execve`, in a copy of a process with one thread. It never returns to
//! the shim's code: it becomes the CLI, or it reports why not and ends.

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::Mode;
use rustix::process::{Pid, Signal};

use crate::process::{self, Environment};
use crate::spool::{Plan, SpawnFailure};

/// The child's ends of everything.
#[derive(Debug)]
pub(super) struct Stdio {
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    /// Readable with one byte once the child may go on.
    pub(super) release: OwnedFd,
    /// Where a failure is reported. Closed by a successful exec.
    pub(super) failure: OwnedFd,
}

/// Becomes the CLI; returns the exit code of a child that could not.
pub(super) fn become_agent(plan: &Plan, environment: &Environment, stdio: Stdio, shim: Pid) -> i32 {
    let failure = match prepare(plan, &stdio, shim) {
        Ok(true) => {
            let error = process::replace_image(plan.program.as_os_str(), &plan.args, environment);
            not_executed(&plan.program, &error)
        }
        Ok(false) => return RELEASE_LOST,
        Err(failure) => failure,
    };
    if let Ok(report) = serde_json::to_vec(&failure) {
        // Only the shim could hear it.
        let _unheard = std::fs::File::from(stdio.failure).write_all(&report);
    }
    SPAWN_FAILED
}

/// The exit code of a child that could not become the CLI (a shell's code for the same).
const SPAWN_FAILED: i32 = 127;
/// The exit code of a child whose shim died before it let it go.
const RELEASE_LOST: i32 = 126;

/// Everything before `execve`; `false` when there is nobody left to run for.
fn prepare(plan: &Plan, stdio: &Stdio, shim: Pid) -> Result<bool, SpawnFailure> {
    let step = |step: &'static str| move |error: io::Error| failure(step, &plan.program, &error);
    rustix::process::setsid().map_err(|error| step("start a session for")(error.into()))?;
    take_stdio(stdio).map_err(step("set up the descriptors of"))?;
    process::limit_resources().map_err(step("limit the resources of"))?;
    if let Some(user) = &plan.user {
        process::forget_capabilities();
        process::become_user(user.uid, user.gid, &user.groups)
            .map_err(step("change the user of"))?;
    }
    // Changing the user clears it, so that it comes after.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| step("tie to the shim")(error.into()))?;
    // A shim that died before the tie was made sends no signal, and its pipe never comes to an
    // end: this process holds a copy of the end that writes.
    if rustix::process::getppid() != Some(shim) {
        return Ok(false);
    }
    if plan.user.is_some() || plan.confined || plan.reach.is_some() {
        rustix::thread::set_no_new_privs(true)
            .map_err(|error| step("deny privileges to")(error.into()))?;
        rustix::process::umask(Mode::RWXG | Mode::RWXO);
    }
    if let Some(reach) = &plan.reach {
        process::restrict_files(reach).map_err(step("restrict the files of"))?;
    }
    crash_point!("child.tied");
    std::env::set_current_dir(&plan.workspace)
        .map_err(|error| failure("enter", &plan.workspace, &error))?;
    if !wait_for_release(stdio).map_err(step("wait for the release of"))? {
        return Ok(false);
    }
    crash_point!("child.released");
    process::reset_all().map_err(step("reset the signals of"))?;
    process::close_on_exec_from(3).map_err(step("close the descriptors of"))?;
    Ok(true)
}

fn take_stdio(stdio: &Stdio) -> io::Result<()> {
    nix::unistd::dup2_stdin(&stdio.stdin)?;
    nix::unistd::dup2_stdout(&stdio.stdout)?;
    nix::unistd::dup2_stderr(&stdio.stderr)?;
    // The PTY is deliberately not its controlling terminal. As one it would be hung up when the
    // CLI, its session's leader, exits, and the kernel then throws away what it has not yet moved
    // to the master: the CLI's last words.
    Ok(())
}

fn wait_for_release(stdio: &Stdio) -> io::Result<bool> {
    let mut byte = [0];
    let count = rustix::io::retry_on_intr(|| rustix::io::read(&stdio.release, &mut byte))?;
    Ok(count == 1)
}

/// Why `program` could not be executed. The kernel says of a file that is there that there is none,
/// and means another one.
fn not_executed(program: &Path, error: &io::Error) -> SpawnFailure {
    let mut failure = failure("execute", program, error);
    let hint = match error.kind() {
        io::ErrorKind::NotFound if program.exists() => {
            "; the file is there, but not the interpreter of its first line, or its loader"
        }
        _ if error.raw_os_error() == Some(nix::libc::ENOEXEC) => {
            "; it is no program for this machine"
        }
        _ => "",
    };
    failure.message.push_str(hint);
    failure
}

/// A failure at `step`, on `path`.
pub(super) fn failure(step: &str, path: &Path, error: &io::Error) -> SpawnFailure {
    SpawnFailure {
        step: step.to_owned(),
        path: path.to_owned(),
        errno: error.raw_os_error(),
        message: error.to_string(),
    }
}
