//! Cloning in a process of its own.
//!
//! libgit2 and OpenSSL parse what strangers send: a fault in them takes down this worker and not
//! the daemon, their memory goes with it, and a server that falls silent is left by ending it.
//!
//! ```text
//! parent ── stdin: one job, then held open ──► worker        worker ends when stdin does
//! parent ◄── stdout: progress…, then done or failed ── worker
//! ```

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc;

use super::{CloneRequest, Progress, RepoUrl, Revision, Workspace, clone, prepare_git};
use crate::clock::Clock;
use crate::process;

/// The name of the hidden command that is the worker.
pub const COMMAND: &str = "clone-worker";

/// What a worker is to do. It travels through a pipe only: it may hold a token.
#[derive(Serialize, Deserialize)]
struct Job {
    url: String,
    revision: Option<String>,
    token: Option<String>,
    into: PathBuf,
    limit_ms: u64,
    ca_file: Option<PathBuf>,
}

/// What a worker says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Report {
    Progress(Progress),
    Done(Workspace),
    Failed(String),
}

/// Why a clone in a process of its own failed: what, where, what next.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WorkerError(String);

/// Clones in a worker; ends it when dropped. It goes on no faster than `progress` is read, and
/// goes on all the same when nobody reads it any more.
pub async fn clone_apart(
    request: &CloneRequest,
    progress: mpsc::Sender<Progress>,
) -> Result<Workspace, WorkerError> {
    let broken =
        |error: io::Error| WorkerError(format!("the process that clones has failed: {error}"));
    let (mut worker, output) = Worker::start(request).map_err(broken)?;
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next_line().await.map_err(broken)? {
        match serde_json::from_str(&line).map_err(|error| broken(error.into()))? {
            Report::Progress(step) => drop(progress.send(step).await),
            Report::Done(workspace) => return Ok(workspace),
            Report::Failed(message) => return Err(WorkerError(message)),
        }
    }
    let status = worker.child.wait().map_err(broken)?;
    Err(WorkerError(format!(
        "the process that cloned {} ended early ({status}); try again, and report it with the \
         address if it does so again",
        request.url
    )))
}

struct Worker {
    child: Child,
}

impl Worker {
    fn start(request: &CloneRequest) -> io::Result<(Self, Receiver)> {
        let job = Job {
            url: request.url.to_string(),
            revision: request.revision.as_ref().map(ToString::to_string),
            token: request
                .token
                .as_ref()
                .map(|token| token.expose_secret().to_owned()),
            into: request.into.clone(),
            limit_ms: u64::try_from(request.limit.as_millis()).unwrap_or(u64::MAX),
            ca_file: request.ca_file.clone(),
        };
        let mut line = serde_json::to_vec(&job)?;
        line.push(b'\n');
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let child = Command::new("/proc/self/exe")
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(write)
            .stderr(Stdio::null())
            .spawn()?;
        let mut worker = Self { child };
        match &mut worker.child.stdin {
            Some(stdin) => stdin.write_all(&line)?,
            None => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        Ok((worker, Receiver::from_owned_fd(read)?))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // One that has ended is only taken off the process table.
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = ended {
            tracing::warn!(%error, "the process that clones may still be there");
        }
    }
}

/// The worker's side: takes its job from stdin, reports to stdout.
pub fn serve() -> io::Result<()> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let job: Job = serde_json::from_str(&line)?;
    // Before there is another thread: it changes this process's environment.
    let prepared = prepare_git(job.ca_file.as_deref());
    std::thread::spawn(|| {
        // Nothing follows: the end of stdin is the end of the parent, or its wish.
        let _ended = io::stdin().lock().read_to_end(&mut Vec::new());
        process::end_now(1)
    });
    let report = match prepared {
        Ok(()) => run(job),
        Err(error) => Report::Failed(format!("libgit2 cannot be used: {}", error.message())),
    };
    say(&report)
}

fn run(job: Job) -> Report {
    let request = match request(job) {
        Ok(request) => request,
        Err(message) => return Report::Failed(message),
    };
    let never = AtomicBool::new(false);
    let mut progress = |step| {
        // A parent that is gone ends this process by itself.
        drop(say(&Report::Progress(step)));
    };
    match clone(&request, Clock, &never, &mut progress) {
        Ok(workspace) => Report::Done(workspace),
        Err(error) => Report::Failed(error.to_string()),
    }
}

fn request(job: Job) -> Result<CloneRequest, String> {
    let url = RepoUrl::parse(&job.url, Path::new("/")).map_err(|error| error.to_string())?;
    let revision = job.revision.as_deref().map(Revision::parse).transpose();
    Ok(CloneRequest {
        url,
        revision: revision.map_err(|error| error.to_string())?,
        token: job.token.map(SecretString::from),
        into: job.into,
        limit: Duration::from_millis(job.limit_ms),
        ca_file: job.ca_file,
    })
}

fn say(report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    io::stdout().lock().write_all(&line)
}
