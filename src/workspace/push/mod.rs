//! Pushing what an agent has committed, to a branch of the session's own.
//!
//! ```text
//! workspace ── pack (as its owner, no token) ──► bundle ──► server (token, no repository)
//!                                                  └─ kept as a rescue where the push fails
//! ```
//!
//! What the commits leave to Git LFS goes the same way before them, file by file: a branch does not
//! move to commits whose content the server does not have.
//!
//! Nothing is ever forced. A branch that has commits of somebody else's stays as it is; the bundle
//! holds all that was to be pushed, for `git fetch`.

mod lfs;
mod local;
mod over_ssh;
mod pack;
mod pointer;
mod receive;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

pub(super) use local::{Target, WorkerPush};
pub(super) use pack::{PackRequest, Packed};
pub(super) use pointer::{ContentRequest, copy_content};

pub(super) use pack::pack;

use reqwest::StatusCode;

use self::lfs::Contents;
use self::receive::{Server, Update};
use super::apart::{self, WorkerError};
use super::credentials::Credentials;
use super::ssh::SshAddress;
use super::url::RepoUrl;
use crate::files;

/// What is pushed where.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// The repository.
    pub workspace: PathBuf,
    /// Where it was cloned from.
    pub url: RepoUrl,
    /// The commit that it was cloned at.
    pub base: Option<String>,
    /// The branch, without `refs/heads/`.
    pub branch: String,
    /// The file for what cannot be pushed.
    pub rescue: PathBuf,
    /// At most this much content of Git LFS goes along, in bytes.
    pub max_size: u64,
}

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// There was nothing that the other side does not have.
    Nothing,
    /// The branch is at this commit now, with so many that it did not have.
    Done {
        /// Commits.
        commits: u64,
        /// The newest.
        head: String,
        /// So many files of Git LFS are named there whose content was not brought along.
        without_content: usize,
    },
    /// The branch has commits that the workspace does not; nothing was changed.
    Diverged {
        /// The bundle that holds what was to be pushed.
        rescue: PathBuf,
    },
    /// The other side took nothing.
    Failed {
        /// Why.
        why: String,
        /// The bundle that holds what was to be pushed, where it could be made.
        rescue: Option<PathBuf>,
    },
}

/// Why a push did not come about.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The server says no.
    #[error("the server refuses it: {0}")]
    Refused(String),
    /// The server does not take the token, or wants one.
    #[error(
        "the server refuses it: it answers {0}; check that the token may write to this repository"
    )]
    Unauthorized(StatusCode),
    /// What Git LFS keeps apart is not there, so the branch stays.
    #[error("the content of Git LFS files is not uploaded: {0}")]
    Lfs(String),
    /// The server cannot be reached, or makes no sense.
    #[error("the server cannot be used: {0}")]
    Network(String),
    /// No token.
    #[error(transparent)]
    Token(#[from] super::credentials::TokenError),
    /// A file cannot be used.
    #[error("a file cannot be used: {0}")]
    File(#[from] io::Error),
    /// git work in a process of its own failed.
    #[error(transparent)]
    Worker(#[from] WorkerError),
}

/// The other side.
enum Remote {
    Server(Server),
    Worker(Target),
}

/// Pushes; whatever goes wrong is in the answer.
pub async fn push(request: &PushRequest, credentials: &Credentials) -> Pushed {
    let reference = format!("refs/heads/{}", request.branch);
    let found = look(request, credentials).await;
    let (refs, remote) = match found {
        Ok((refs, remote)) => (refs, Ok(remote)),
        Err(error) => (Vec::new(), Err(error)),
    };
    let old = refs.iter().find(|(name, _)| *name == reference);
    let old = old.map(|(_, commit)| commit.clone());
    let job = PackRequest {
        workspace: request.workspace.clone(),
        reference: reference.clone(),
        has: refs
            .into_iter()
            .map(|(_, commit)| commit)
            .chain(request.base.clone())
            .collect(),
        old: old.clone(),
    };
    let bundle = beside(&request.rescue, ".new");
    let packed = match make_bundle(&job, &bundle).await {
        Ok(packed) => packed,
        Err(error) => {
            remove(&bundle);
            let why = format!("what is to be pushed cannot be packed: {error}");
            return Pushed::Failed { why, rescue: None };
        }
    };
    let Some(head) = packed.head.clone().filter(|_| packed.commits > 0) else {
        remove(&bundle);
        return Pushed::Nothing;
    };
    if packed.diverged {
        return match keep(&bundle, &request.rescue) {
            Some(rescue) => Pushed::Diverged { rescue },
            None => Pushed::Failed {
                why: "the branch has commits of somebody else's".to_owned(),
                rescue: None,
            },
        };
    }
    let without_content = match &remote {
        Ok(Remote::Worker(_)) => packed.pointers.len(),
        Ok(Remote::Server(_)) | Err(_) => 0,
    };
    let sent = match remote {
        Ok(remote) => {
            let sending = Sending {
                request,
                credentials,
                reference: &reference,
                old,
                head: &head,
                packed: &packed,
                bundle: &bundle,
            };
            sending.to(remote).await
        }
        Err(error) => Err(error),
    };
    match sent {
        Ok(()) => {
            remove(&bundle);
            remove(&request.rescue);
            Pushed::Done {
                commits: packed.commits,
                head,
                without_content,
            }
        }
        Err(error) => Pushed::Failed {
            why: error.to_string(),
            rescue: keep(&bundle, &request.rescue),
        },
    }
}

/// The other side's refs.
async fn look(
    request: &PushRequest,
    credentials: &Credentials,
) -> Result<(Vec<(String, String)>, Remote), PushError> {
    if let Some(folder) = request.url.local_path() {
        return by_worker(Target::Folder(folder.to_owned())).await;
    }
    let Some(url) = request.url.remote() else {
        return by_worker(Target::Ssh(request.url.to_string())).await;
    };
    let token = credentials.token(&request.url).await?;
    let server = Server::new(url, token, request.url.reach())?;
    let refs = server.refs().await?.into_iter();
    let refs = refs.map(|found| (found.name, found.commit)).collect();
    Ok((refs, Remote::Server(server)))
}

async fn by_worker(target: Target) -> Result<(Vec<(String, String)>, Remote), PushError> {
    let refs = apart::refs_apart(&target).await?;
    Ok((refs, Remote::Worker(target)))
}

/// The refs of a repository, in the worker.
pub(super) fn worker_refs(target: &Target) -> io::Result<Vec<(String, String)>> {
    match target {
        Target::Folder(folder) => local::refs(folder),
        Target::Ssh(typed) => over_ssh::refs(&address(typed)?),
    }
}

/// Pushes, in the worker.
pub(super) fn worker_push(job: &WorkerPush) -> io::Result<()> {
    match &job.target {
        Target::Folder(folder) => local::push(folder, job),
        Target::Ssh(typed) => over_ssh::push(&address(typed)?, job),
    }
}

fn address(typed: &str) -> io::Result<SshAddress> {
    let url = RepoUrl::parse(typed, Path::new("/")).map_err(io::Error::other)?;
    let address = url.ssh().cloned();
    address.ok_or_else(|| io::Error::other("it is no ssh address"))
}

async fn make_bundle(job: &PackRequest, path: &Path) -> Result<Packed, PushError> {
    if let Some(folder) = path.parent() {
        files::create_private_dir(folder)?;
    }
    remove(path);
    let bundle = files::create_private(path)?;
    Ok(apart::pack_apart(job, bundle).await?)
}

/// A branch with what it needs, on its way to the other side.
struct Sending<'a> {
    request: &'a PushRequest,
    credentials: &'a Credentials,
    reference: &'a str,
    old: Option<String>,
    head: &'a str,
    packed: &'a Packed,
    bundle: &'a Path,
}

impl Sending<'_> {
    async fn to(&self, remote: Remote) -> Result<(), PushError> {
        match remote {
            Remote::Worker(target) => {
                let job = WorkerPush {
                    target,
                    bundle: self.bundle.to_owned(),
                    pack_at: self.packed.pack_at,
                    reference: self.reference.to_owned(),
                    old: self.old.clone(),
                    new: self.head.to_owned(),
                };
                Ok(apart::push_apart(&job).await?)
            }
            Remote::Server(server) => match self.to_server(server).await {
                // One that lives for minutes may have gone while the pack was on its way.
                (server, Err(PushError::Unauthorized(_))) => self.to_server(server).await.1,
                (_, sent) => sent,
            },
        }
    }

    /// With the token that its source gives now: packing has taken its time.
    async fn to_server(&self, server: Server) -> (Server, Result<(), PushError>) {
        let server = match self.credentials.token(&self.request.url).await {
            Ok(token) => server.with_token(token),
            Err(error) => return (server, Err(error.into())),
        };
        if let Err(error) = self.contents(&server).upload(&self.packed.pointers).await {
            return (server, Err(error));
        }
        let pack = match File::open(self.bundle) {
            Ok(pack) => pack,
            Err(error) => return (server, Err(error.into())),
        };
        let update = Update {
            reference: self.reference,
            old: self.old.as_deref(),
            new: self.head,
            pack,
            pack_at: self.packed.pack_at,
        };
        let sent = server.update(update).await;
        (server, sent)
    }

    fn contents<'a>(&'a self, server: &'a Server) -> Contents<'a> {
        Contents {
            server,
            workspace: &self.request.workspace,
            reference: self.reference,
            most: self.request.max_size,
            temporary: beside(self.bundle, ".lfs"),
        }
    }
}

/// The path with this at its end.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

/// Keeps the bundle as the rescue.
fn keep(bundle: &Path, rescue: &Path) -> Option<PathBuf> {
    std::fs::rename(bundle, rescue).ok()?;
    Some(rescue.to_owned())
}

fn remove(path: &Path) {
    // Mostly nothing is there.
    drop(std::fs::remove_file(path));
}
