//! Starts the CLI: makes its descriptors, forks, records it, lets it go.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal};

use super::child::{Stdio, become_agent, failure};
use super::pty::Pty;
use super::{ShimError, Step as _};
use crate::process::{self, Environment, Identity, OomWatch, PidFd, RunGroup, RunMark};
use crate::spool::{CONTRACT, Phase, Plan, RunDir, SpawnFailure, Status, Stdin, Stdout};

/// A started CLI and the shim's ends of its descriptors.
#[derive(Debug)]
pub(super) struct Launched {
    /// The CLI process; its pid is also its process group and its session.
    pub(super) agent: Identity,
    pub(super) pid: Pid,
    pub(super) pidfd: PidFd,
    pub(super) shim: Identity,
    /// Non-blocking.
    pub(super) stdout: OwnedFd,
    /// Non-blocking.
    pub(super) stderr: OwnedFd,
    /// Non-blocking; only where stdin is a pipe.
    pub(super) stdin: Option<OwnedFd>,
    /// Counts memory kills from before the CLI ran.
    pub(super) oom: Option<OomWatch>,
    /// The CLI's own control group, where one could be made.
    pub(super) group: Option<RunGroup>,
}

/// How long `execve` may take: the program may lie on a network file system.
const EXEC_LIMIT: Duration = Duration::from_secs(30);

/// Starts the CLI of `plan`. When it returns, the CLI runs and `status.json` says so.
pub(super) fn launch(
    dir: &RunDir,
    plan: &Plan,
    environment: &Environment,
) -> Result<Launched, ShimError> {
    let shim = Identity::own().step("read the shim's own start time")?;
    let mut environment = environment.clone();
    let mark = RunMark::of(shim).step("read the shim's namespace")?;
    // Neither the name nor the value can hold what an environment does not take.
    let _marked = environment.set(RunMark::VARIABLE, mark.to_string());
    let (stdout, child_stdout) = open_stdout(plan).step("open the CLI's stdout")?;
    let (stderr, child_stderr) = pipe_with(PipeFlags::CLOEXEC).step("open a pipe")?;
    let (child_stdin, stdin) = open_stdin(dir, plan)?;
    let (release, release_it) = pipe_with(PipeFlags::CLOEXEC).step("open a pipe")?;
    let (failure_report, child_failure) = pipe_with(PipeFlags::CLOEXEC).step("open a pipe")?;
    for fd in [&stdout, &stderr].into_iter().chain(&stdin) {
        rustix::io::ioctl_fionbio(fd, true).step("set a descriptor non-blocking")?;
    }
    let child_ends = Stdio {
        stdin: child_stdin,
        stdout: child_stdout,
        stderr: child_stderr,
        release,
        failure: child_failure,
    };
    let parent = rustix::process::getpid();
    // The closure owns the child's ends, so that they are closed in the shim when it returns.
    let child = move || become_agent(plan, &environment, child_ends, parent);
    let forked = match own_group(shim, plan) {
        Some(group) => process::fork_into_group(group, child),
        None => process::fork_into(child).map(|pid| (pid, None)),
    };
    let (pid, group) = forked.step("fork the CLI")?;
    crash_point!("shim.agent_forked");
    let agent = Identity::of(pid).step("read the CLI's start time")?;
    // It may have ended already, over what it says why it could not become the CLI.
    let pidfd = PidFd::of_child(pid).step("open a handle on the CLI")?;
    let oom = OomWatch::begin(pid);
    let status = Status {
        contract: CONTRACT,
        phase: Phase::Started,
        shim: Some(shim),
        agent: Some(agent),
        group: group.as_ref().map(|group| group.path().to_owned()),
        world: process::pid_world(),
    };
    crash_point!("shim.before_started");
    status.write(dir)?;
    crash_point!("shim.started_stored");
    // A child that is dead already has closed its end.
    let _gone = rustix::io::write(&release_it, &[1]);
    crash_point!("shim.agent_released");
    if let Some(failure) = exec_failure(failure_report, plan, &pidfd) {
        return Err(failure.into());
    }
    Ok(Launched {
        agent,
        pid,
        pidfd,
        shim,
        stdout,
        stderr,
        stdin,
        oom,
        group,
    })
}

/// A control group of the run's own, where one may be made.
fn own_group(shim: Identity, plan: &Plan) -> Option<RunGroup> {
    let name = format!("agent-run-{}-{}", shim.pid, shim.start);
    RunGroup::create(&name, plan.confined)
}

fn open_stdout(plan: &Plan) -> io::Result<(OwnedFd, OwnedFd)> {
    match plan.stdout {
        Stdout::Pty(window) => Pty::open(window).map(|pty| (pty.master, pty.slave)),
        Stdout::Pipe => Ok(pipe_with(PipeFlags::CLOEXEC)?),
    }
}

fn open_stdin(dir: &RunDir, plan: &Plan) -> Result<(OwnedFd, Option<OwnedFd>), ShimError> {
    let path = match plan.stdin {
        Stdin::Pipe => {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC).step("open a pipe")?;
            return Ok((read, Some(write)));
        }
        Stdin::Prompt => dir.prompt(),
        Stdin::Null => "/dev/null".into(),
    };
    match File::open(&path) {
        Ok(file) => Ok((file.into(), None)),
        Err(error) => Err(failure("open", &path, &error).into()),
    }
}

/// Waits until the child has become the CLI (`None`) or has said why it could not.
fn exec_failure(report: OwnedFd, plan: &Plan, pidfd: &PidFd) -> Option<SpawnFailure> {
    let limit = Timespec {
        tv_sec: EXEC_LIMIT.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: 0,
    };
    let mut fds = [PollFd::new(&report, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&limit)));
    if ready == Ok(0) {
        // Whatever it hangs on, it has not run yet: nothing is lost by ending it.
        let _gone = pidfd.signal(Signal::KILL);
        let error = io::Error::from(io::ErrorKind::TimedOut);
        return Some(failure("execute", &plan.program, &error));
    }
    let mut text = Vec::new();
    File::from(report).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}
