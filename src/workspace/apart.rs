//! Git work in a process of its own.
//!
//! libgit2 reads what anyone may have written: a fault in it ends that process and not the daemon,
//! and its memory goes with it. A server that says nothing can only be left by ending the process.
//! And a workspace that belongs to another user is worked on as that user: what its files point to
//! is then that user's affair.
//!
//! ```text
//! parent ── stdin: one job, then held open ──► worker        worker ends when stdin does
//! parent ◄── stdout: progress…, then done or failed ── worker
//! ```

use std::fs::File;
use std::io::{self, BufRead as _, BufWriter, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc;

use super::cache::Cache;
use super::checkpoint::{self, Checkpoint, CheckpointRequest};
use super::push::{
    self, ContentRequest, PackRequest, Packed, SshLogin, StoreRequest, Target, WorkerPush,
};
use super::{CloneRequest, Extent, Progress, Reach, RepoUrl, Revision, Workspace, clone};
use crate::clock::Clock;
use crate::process::{self, Reach as Files};

/// The name of the hidden command that is the worker.
pub const COMMAND: &str = "git-worker";

/// What a worker is to do. It travels through a pipe only: it may hold a token.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Job {
    Clone(CloneJob),
    Checkpoint(CheckpointJob),
    /// The bundle goes to stderr.
    Pack(PackRequest),
    /// The content goes to stderr.
    LfsContent(ContentRequest),
    LfsSize(PathBuf),
    LfsStore(StoreRequest),
    /// At the address as it was typed.
    LfsLogin(String),
    Refs(Target),
    Push(WorkerPush),
}

#[derive(Serialize, Deserialize)]
struct CheckpointJob {
    request: CheckpointRequest,
    /// Whether the agent is kept in its workspace, and so this is.
    is_confined: bool,
}

#[derive(Serialize, Deserialize)]
struct CloneJob {
    url: String,
    revision: Option<String>,
    token: Option<String>,
    into: PathBuf,
    limit_ms: u64,
    ca_file: Option<PathBuf>,
    cache: Option<Cache>,
    reach: Reach,
    extent: Extent,
}

/// What a worker says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Report {
    Progress(Progress),
    Done(Value),
    Failed(String),
}

/// Why git work in a process of its own failed: what, where, what next.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WorkerError(String);

impl From<io::Error> for WorkerError {
    fn from(error: io::Error) -> Self {
        Self(format!("the process that runs git has failed: {error}"))
    }
}

/// Clones in a worker; ends it when dropped. It goes on no faster than `progress` is read, and
/// goes on all the same when nobody reads it any more.
pub async fn clone_apart(
    request: &CloneRequest,
    progress: mpsc::Sender<Progress>,
) -> Result<Workspace, WorkerError> {
    let token = request.token.as_ref();
    let job = Job::Clone(CloneJob {
        url: request.url.to_string(),
        revision: request.revision.as_ref().map(ToString::to_string),
        token: token.map(|token| token.expose_secret().to_owned()),
        into: request.into.clone(),
        limit_ms: u64::try_from(request.limit.as_millis()).unwrap_or(u64::MAX),
        ca_file: request.ca_file.clone(),
        cache: request.cache.clone(),
        reach: request.url.reach(),
        extent: request.extent.clone(),
    });
    let what = format!("cloned {}", request.url);
    work(&job, Ground::Nothing, &what, Some(progress)).await
}

/// Packs what is to be pushed into `bundle`, as the workspace's owner.
pub(super) async fn pack_apart(request: &PackRequest, bundle: File) -> Result<Packed, WorkerError> {
    let what = format!("packed {}", request.workspace.display());
    let owner = owner(&request.workspace)?;
    let ground = Ground::Bundle { bundle, owner };
    bounded(
        work(&Job::Pack(request.clone()), ground, &what, None),
        &what,
    )
    .await
}

/// Copies what Git LFS keeps in the repository into `file`, as the workspace's owner.
pub(super) async fn content_apart(request: &ContentRequest, file: File) -> Result<(), WorkerError> {
    let what = format!("read a file of Git LFS in {}", request.workspace.display());
    let owner = owner(&request.workspace)?;
    let ground = Ground::Bundle {
        bundle: file,
        owner,
    };
    let job = Job::LfsContent(request.clone());
    bounded(work(&job, ground, &what, None), &what).await
}

/// How much the files of a workspace leave to Git LFS, in bytes.
pub async fn lfs_size_apart(workspace: &Path) -> Result<u64, WorkerError> {
    let what = format!("looked for Git LFS in {}", workspace.display());
    let ground = Ground::Workspace(owner(workspace)?);
    let job = Job::LfsSize(workspace.to_owned());
    bounded(work(&job, ground, &what, None), &what).await
}

/// Stores a content in a repository of this machine; whether it was not there.
pub(super) async fn store_apart(request: &StoreRequest) -> Result<bool, WorkerError> {
    let what = format!("stored a file of Git LFS in {}", request.folder.display());
    let job = Job::LfsStore(request.clone());
    bounded(work(&job, Ground::Nothing, &what, None), &what).await
}

/// Where a server that is reached by ssh takes what Git LFS keeps; none where it has no Git LFS.
pub(super) async fn login_apart(address: &str) -> Result<Option<SshLogin>, WorkerError> {
    let what = format!("asked {address} for its Git LFS");
    let job = Job::LfsLogin(address.to_owned());
    bounded(work(&job, Ground::Nothing, &what, None), &what).await
}

/// The refs of a repository of this machine, or of one that is reached by ssh.
pub(super) async fn refs_apart(target: &Target) -> Result<Vec<(String, String)>, WorkerError> {
    let what = format!("looked at {target}");
    let job = Job::Refs(target.clone());
    bounded(work(&job, Ground::Nothing, &what, None), &what).await
}

/// Pushes to such a repository.
pub(super) async fn push_apart(request: &WorkerPush) -> Result<(), WorkerError> {
    let what = format!("pushed to {}", request.target);
    let job = Job::Push(request.clone());
    bounded(work(&job, Ground::Nothing, &what, None), &what).await
}

async fn bounded<T>(
    working: impl Future<Output = Result<T, WorkerError>>,
    what: &str,
) -> Result<T, WorkerError> {
    const LIMIT: Duration = Duration::from_mins(5);
    let done = tokio::time::timeout(LIMIT, working).await;
    let late = || {
        format!(
            "the process that {what} took longer than {} s",
            LIMIT.as_secs()
        )
    };
    done.unwrap_or_else(|_| Err(WorkerError(late())))
}

/// The workspace's owner, where that is not us.
fn owner(workspace: &Path) -> io::Result<Option<(u32, u32)>> {
    let owner = workspace.metadata()?;
    let is_ours = owner.uid() == rustix::process::getuid().as_raw();
    Ok((!is_ours).then_some((owner.uid(), owner.gid())))
}

/// Takes a checkpoint in a worker; `None` where the workspace is no repository. The worker is the
/// workspace's owner: another user's repository is full of paths that this user chose. Where the agent
/// `is_confined` to the workspace, so is the worker. It has a minute.
pub async fn checkpoint_apart(
    request: &CheckpointRequest,
    is_confined: bool,
) -> Result<Option<Checkpoint>, WorkerError> {
    const LIMIT: Duration = Duration::from_mins(1);
    if !may_be_repository(&request.workspace) {
        // a process would take longer to find that out than many a turn
        return Ok(None);
    }
    let taken = tokio::time::timeout(LIMIT, take_apart(request, is_confined)).await;
    taken.unwrap_or_else(|_| {
        Err(WorkerError(format!(
            "no checkpoint of {} within {} s; name what is large in .gitignore, or set \
             checkpoints = false",
            request.workspace.display(),
            LIMIT.as_secs()
        )))
    })
}

/// Whether there is anything for libgit2 to look at: it does so in that folder alone.
fn may_be_repository(workspace: &Path) -> bool {
    let has = |name: &str| workspace.join(name).symlink_metadata().is_ok();
    has(".git") || (has("HEAD") && has("objects"))
}

async fn take_apart(
    request: &CheckpointRequest,
    is_confined: bool,
) -> Result<Option<Checkpoint>, WorkerError> {
    let user = owner(&request.workspace)?;
    let what = format!("took a checkpoint of {}", request.workspace.display());
    let job = Job::Checkpoint(CheckpointJob {
        request: request.clone(),
        is_confined,
    });
    work(&job, Ground::Workspace(user), &what, None).await
}

/// What a worker works on, and so whose rights it has: a folder of ours, another user's workspace,
/// or both it and a file of ours.
enum Ground {
    Nothing,
    Workspace(Option<(u32, u32)>),
    Bundle {
        bundle: File,
        owner: Option<(u32, u32)>,
    },
}

async fn work<T: DeserializeOwned>(
    job: &Job,
    ground: Ground,
    what: &str,
    progress: Option<mpsc::Sender<Progress>>,
) -> Result<T, WorkerError> {
    let (user, stderr) = match ground {
        Ground::Nothing => (None, Stdio::null()),
        Ground::Workspace(user) => (user, Stdio::null()),
        Ground::Bundle { bundle, owner } => (owner, Stdio::from(bundle)),
    };
    let (mut worker, output) = Worker::start(job, user, stderr)?;
    let mut lines = BufReader::new(output).lines();
    let odd = |error: serde_json::Error| WorkerError::from(io::Error::from(error));
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line).map_err(odd)? {
            Report::Progress(step) => {
                if let Some(progress) = &progress {
                    progress.send(step).await.ok(); // nobody reads it any more
                }
            }
            Report::Done(answer) => return serde_json::from_value(answer).map_err(odd),
            Report::Failed(message) => return Err(WorkerError(message)),
        }
    }
    let status = worker.child.wait()?;
    Err(WorkerError(format!(
        "the process that {what} ended early ({status}); try again, and report it if it does so \
         again"
    )))
}

struct Worker {
    child: Child,
}

impl Worker {
    fn start(job: &Job, user: Option<(u32, u32)>, stderr: Stdio) -> io::Result<(Self, Receiver)> {
        let mut line = serde_json::to_vec(job)?;
        line.push(b'\n');
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(write)
            .stderr(stderr);
        if let Some((uid, gid)) = user {
            // That user can look into the process: nothing of ours may be in it.
            command.uid(uid).gid(gid).env_clear();
        }
        if matches!(job, Job::Checkpoint(_)) {
            // It asks no server, and reading all roots of the machine takes longer than its work.
            command.env("SSL_CERT_FILE", "/dev/null");
            command.env("SSL_CERT_DIR", "/dev/null");
        }
        let child = command.spawn()?;
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
            tracing::warn!(%error, "the process that runs git may still be there");
        }
    }
}

/// The worker's side: takes its job from stdin, reports to stdout.
pub fn serve() -> io::Result<()> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let job: Job = serde_json::from_str(&line)?;
    std::thread::spawn(|| {
        // Nothing follows: the end of stdin is the end of the parent, or its wish.
        let _ended = io::stdin().lock().read_to_end(&mut Vec::new());
        process::end_now(1)
    });
    say(&run(job).unwrap_or_else(Report::Failed))
}

fn run(job: Job) -> Result<Report, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let answer = match job {
        Job::Clone(job) => {
            let request = request(job)?;
            let never = AtomicBool::new(false);
            let mut progress = |step| {
                // A parent that is gone ends this process by itself.
                drop(say(&Report::Progress(step)));
            };
            let made = clone(&request, Clock, &never, &mut progress);
            serde_json::to_value(made.map_err(|error| words(&error))?)
        }
        Job::Checkpoint(CheckpointJob {
            request,
            is_confined,
        }) => {
            if is_confined {
                keep_to(&request.workspace, true).map_err(|error| words(&error))?;
            }
            serde_json::to_value(checkpoint::take(&request).map_err(|error| words(&error))?)
        }
        Job::Pack(request) => {
            keep_to(&request.workspace, false).map_err(|error| words(&error))?;
            let packed = push::pack(&request, &mut BufWriter::new(io::stderr().lock()));
            serde_json::to_value(packed.map_err(|error| words(&error))?)
        }
        Job::LfsContent(request) => {
            keep_to(&request.workspace, false).map_err(|error| words(&error))?;
            let copied = push::copy_content(&request, &mut io::stderr().lock());
            serde_json::to_value(copied.map_err(|error| words(&error))?)
        }
        Job::LfsSize(workspace) => {
            serde_json::to_value(push::size_at_head(&workspace).map_err(|error| words(&error))?)
        }
        Job::LfsStore(request) => {
            serde_json::to_value(push::store(&request).map_err(|error| words(&error))?)
        }
        Job::LfsLogin(address) => {
            serde_json::to_value(push::ssh_login(&address).map_err(|error| words(&error))?)
        }
        Job::Refs(target) => {
            serde_json::to_value(push::worker_refs(&target).map_err(|error| words(&error))?)
        }
        Job::Push(request) => {
            serde_json::to_value(push::worker_push(&request).map_err(|error| words(&error))?)
        }
    };
    Ok(Report::Done(answer.map_err(|error| words(&error))?))
}

/// From here on this process gets at the workspace and nothing else. An agent that is kept in there may
/// have put a link to other repositories of its user in the place of what was cloned: what these hold
/// would be pushed.
fn keep_to(workspace: &Path, writes: bool) -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    let mut reach = Files::default();
    let places = if writes {
        &mut reach.write
    } else {
        &mut reach.read
    };
    places.push(workspace.to_owned());
    match process::restrict_files(&reach) {
        // An older kernel: the ends of links are looked at at least.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            let root = workspace.canonicalize()?;
            let inside = workspace.join(".git").canonicalize()?.starts_with(&root);
            inside.then_some(()).ok_or_else(|| {
                io::Error::other("its `.git` leads out of the workspace, and is not followed")
            })
        }
        restricted => restricted,
    }
}

fn request(job: CloneJob) -> Result<CloneRequest, String> {
    let url = RepoUrl::parse(&job.url, Path::new("/")).map_err(|error| error.to_string())?;
    let revision = job.revision.as_deref().map(Revision::parse).transpose();
    Ok(CloneRequest {
        url: url.with_reach(job.reach),
        revision: revision.map_err(|error| error.to_string())?,
        token: job.token.map(SecretString::from),
        into: job.into,
        limit: Duration::from_millis(job.limit_ms),
        ca_file: job.ca_file,
        cache: job.cache,
        extent: job.extent,
    })
}

fn say(report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    io::stdout().lock().write_all(&line)
}
