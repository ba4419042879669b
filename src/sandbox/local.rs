//! Runs on this machine, as processes of this user.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

use super::attach::{self, Attach};
use super::{RunHandle, SandboxError};
use crate::files;
use crate::process::Environment;
use crate::spool::control::READY;
use crate::spool::{Phase, Plan, RunDir, Status};

/// A shim answers within milliseconds; an `execve` over a network may take its own limit of 30 s.
const START_LIMIT: Duration = Duration::from_secs(40);
/// The longest answer of a shim that is read.
const MAX_ANSWER: u64 = 16 * 1024;

/// Starts and finds runs on this machine.
#[derive(Debug, Clone)]
pub struct LocalSandbox {
    program: PathBuf,
}

impl LocalSandbox {
    /// Shims are this very program, even when its file was replaced meanwhile.
    pub fn of_this_program() -> Self {
        Self::with_program("/proc/self/exe")
    }

    /// Shims are the `agent-runner` program at this path.
    pub fn with_program(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
        }
    }

    /// Creates the run's folder and starts the CLI in it. When this returns, the CLI runs, and goes
    /// on whatever becomes of this process; or its shim was killed, which the handle tells.
    pub async fn start(
        &self,
        dir: &RunDir,
        plan: &Plan,
        prompt: &[u8],
        environment: &Environment,
    ) -> Result<RunHandle, SandboxError> {
        crash_point!("sandbox.before_folder");
        prepare(dir, plan, prompt)?;
        crash_point!("sandbox.plan_written");
        let (answer, starter) = self
            .spawn(dir, environment)
            .map_err(|error| shim_error(dir, error.to_string()))?;
        crash_point!("sandbox.shim_spawned");
        let answer = read_answer(answer, starter)
            .await
            .map_err(|error| shim_error(dir, error.to_string()))?;
        crash_point!("sandbox.shim_answered");
        answered(dir, &answer).await
    }

    fn spawn(&self, dir: &RunDir, environment: &Environment) -> io::Result<(Receiver, Child)> {
        // Neither a file nor an argument: the environment may hold keys.
        let mut block = File::from(memfd_create("environment", MemfdFlags::CLOEXEC)?);
        block.write_all(&environment.to_block())?;
        block.rewind()?;
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let starter = Command::new(&self.program)
            .arg("shim")
            .arg(dir.path())
            .env_clear()
            .envs(crate::crash_point::variables())
            .stdin(block)
            .stdout(write)
            .stderr(Stdio::from(files::append_private(&dir.shim_log())?))
            .spawn()?;
        Ok((Receiver::from_owned_fd(read)?, starter))
    }
}

/// What a shim's first line means.
pub(super) async fn answered(dir: &RunDir, answer: &str) -> Result<RunHandle, SandboxError> {
    if answer.trim_end() == READY {
        return started(dir).await;
    }
    let reason = complaint(dir, answer);
    match (Status::read(dir)?.map(|status| status.phase), reason) {
        (Some(Phase::SpawnFailed(failure)), _) => Err(failure.into()),
        (_, Some(reason)) => Err(shim_error(dir, reason)),
        // A shim that fails says why; one that ends without a word was killed.
        (_, None) => started(dir).await,
    }
}

/// Writes what the shim will read.
pub(super) fn prepare(dir: &RunDir, plan: &Plan, prompt: &[u8]) -> Result<(), SandboxError> {
    files::create_private_dir(dir.path()).map_err(SandboxError::file(dir.path().to_owned()))?;
    let write = |path: PathBuf, content: &[u8]| {
        files::create_private(&path)
            .and_then(|mut file| file.write_all(content))
            .map_err(SandboxError::file(path))
    };
    crash_point!("sandbox.folder_made");
    write(dir.prompt(), prompt)?;
    crash_point!("sandbox.prompt_written");
    let plan =
        serde_json::to_vec(plan).map_err(|error| SandboxError::file(dir.plan())(error.into()))?;
    write(dir.plan(), &plan)
}

/// Reads the shim's one line and takes its starter, which has long ended, off the process table.
async fn read_answer(answer: Receiver, mut starter: Child) -> io::Result<String> {
    let mut line = Vec::new();
    let mut answer = answer.take(MAX_ANSWER);
    let read = async {
        while !line.contains(&b'\n') && answer.read_buf(&mut line).await? > 0 {}
        Ok::<(), io::Error>(())
    };
    let in_time = tokio::time::timeout(START_LIMIT, read).await;
    if in_time.is_err() {
        starter.kill()?;
    }
    starter.wait()?;
    in_time??;
    Ok(String::from_utf8_lossy(&line).into_owned())
}

async fn started(dir: &RunDir) -> Result<RunHandle, SandboxError> {
    match attach::attach(dir).await? {
        Attach::Running(run) => Ok(run),
        // A CLI may be done, and a shim dead, before anyone could look.
        Attach::Ended(ending) => RunHandle::ended(dir, ending),
    }
}

pub(super) fn shim_error(dir: &RunDir, reason: String) -> SandboxError {
    SandboxError::Shim {
        path: dir.path().to_owned(),
        reason,
    }
}

/// What a shim that did not start has to say of it.
fn complaint(dir: &RunDir, answer: &str) -> Option<String> {
    let words = |text: &str| Some(text.trim().to_owned()).filter(|words| !words.is_empty());
    words(answer).or_else(|| words(&std::fs::read_to_string(dir.shim_log()).ok()?))
}
