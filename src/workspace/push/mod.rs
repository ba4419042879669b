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

mod content;
mod lfs;
mod local;
mod over_ssh;
mod pack;
mod pointer;
mod receive;
mod sent;
mod ssh_login;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

pub use content::Uploaded;
pub(super) use local::{StoreRequest, Target, WorkerPush};
pub(super) use pack::{PackRequest, Packed};
pub(super) use pointer::{ContentRequest, copy_content, size_at_head};

pub(super) use pack::pack;
pub(super) use ssh_login::SshLogin;

use reqwest::StatusCode;
use serde::{Deserialize, Serialize};

use self::content::Contents;
use self::lfs::Store;
use self::receive::{Server, Update};
use self::sent::Sent;
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

impl PushRequest {
    /// Forgets what was pushed for the turn that has ended.
    pub fn settle(&self) {
        remove(&sent::note(&self.rescue));
    }
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
        /// What Git LFS keeps apart of them.
        contents: Brought,
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

/// What became of the files that commits leave to Git LFS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Brought {
    /// The other side has all of them; these it did not have before.
    All(Uploaded),
    /// It has no Git LFS; so many are named there that nobody gets from it.
    None(usize),
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

/// Pushes what the turn called `turn` has left; whatever goes wrong is in the answer. What that turn
/// has pushed already, before the death of a daemon, is told again.
pub async fn push(request: &PushRequest, turn: &str, credentials: &Credentials) -> Pushed {
    let reference = format!("refs/heads/{}", request.branch);
    let found = look(request, credentials).await;
    let (refs, remote) = match found {
        Ok((refs, remote)) => (refs, Ok(remote)),
        Err(error) => (Vec::new(), Err(error)),
    };
    let old = refs.iter().find(|(name, _)| *name == reference);
    let old = old.map(|(_, commit)| commit.clone());
    let has = refs.into_iter().map(|(_, commit)| commit);
    let job = PackRequest {
        workspace: request.workspace.clone(),
        reference: reference.clone(),
        has: has.chain(request.base.clone()).collect(),
        old: old.clone(),
    };
    let bundle = beside(&request.rescue, ".new");
    let earlier = left_by_a_death(request, turn, &bundle);
    let packed = match make_bundle(&job, &bundle).await {
        Ok(packed) => packed,
        Err(error) => return unpacked(&bundle, &error),
    };
    let Some(head) = packed.head.clone().filter(|_| packed.commits > 0) else {
        remove(&bundle);
        let arrived = earlier.filter(|sent| old.as_ref() == Some(&sent.head));
        return arrived.map_or(Pushed::Nothing, Pushed::from);
    };
    crash_point!("push.packed");
    if packed.diverged {
        return diverged(request, &bundle);
    }
    let sending = Sending {
        request,
        credentials,
        reference: &reference,
        old,
        head: &head,
        packed: &packed,
        bundle: &bundle,
    };
    let mut leaving = Sent::new(turn, packed.commits, &head);
    leaving.keep(&sent::note(&request.rescue));
    let sent = match remote {
        // Large, and rare.
        Ok(remote) => Box::pin(sending.to(remote)).await,
        Err(error) => Err(error),
    };
    crash_point!("push.sent");
    match sent {
        Ok(contents) => {
            leaving.contents = Some(contents);
            arrived(request, leaving, &bundle)
        }
        Err(error) => refused(request, &error, &bundle),
    }
}

/// What a daemon that died over this turn's push has sent. A content on its way may be large, and
/// nobody else would remove it.
fn left_by_a_death(request: &PushRequest, turn: &str, bundle: &Path) -> Option<Sent> {
    remove(&contents(request, bundle).temporary);
    let note = sent::note(&request.rescue);
    let earlier = Sent::read(&note).filter(|sent| sent.turn == turn);
    if earlier.is_none() {
        remove(&note);
    }
    earlier
}

/// The other side has it.
fn arrived(request: &PushRequest, sent: Sent, bundle: &Path) -> Pushed {
    sent.keep(&sent::note(&request.rescue));
    crash_point!("push.noted");
    remove(bundle);
    remove(&request.rescue);
    Pushed::from(sent)
}

/// The other side has not taken it.
fn refused(request: &PushRequest, error: &PushError, bundle: &Path) -> Pushed {
    remove(&sent::note(&request.rescue));
    Pushed::Failed {
        why: error.to_string(),
        rescue: keep(bundle, &request.rescue),
    }
}

/// Nothing could be made of our commits that could be sent or kept.
fn unpacked(bundle: &Path, error: &PushError) -> Pushed {
    remove(bundle);
    let why = format!("what is to be pushed cannot be packed: {error}");
    Pushed::Failed { why, rescue: None }
}

/// The other side has commits that ours do not follow: ours are kept beside the workspace.
fn diverged(request: &PushRequest, bundle: &Path) -> Pushed {
    match keep(bundle, &request.rescue) {
        Some(rescue) => Pushed::Diverged { rescue },
        None => Pushed::Failed {
            why: "the branch has commits of somebody else's".to_owned(),
            rescue: None,
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

/// Puts a content into a repository of this machine, in the worker.
pub(super) fn store(request: &StoreRequest) -> io::Result<bool> {
    local::store(request)
}

/// Asks a server for its Git LFS by ssh, in the worker.
pub(super) fn ssh_login(typed: &str) -> io::Result<Option<SshLogin>> {
    ssh_login::ask(&address(typed)?)
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
    async fn to(&self, remote: Remote) -> Result<Brought, PushError> {
        match remote {
            Remote::Worker(target) => {
                let brought = self.contents_to(&target).await?;
                let job = WorkerPush {
                    target,
                    bundle: self.bundle.to_owned(),
                    pack_at: self.packed.pack_at,
                    reference: self.reference.to_owned(),
                    old: self.old.clone(),
                    new: self.head.to_owned(),
                };
                apart::push_apart(&job).await?;
                Ok(brought)
            }
            Remote::Server(server) => match self.to_server(server).await {
                // One that lives for minutes may have gone while the pack was on its way.
                (server, Err(PushError::Unauthorized(_))) => self.to_server(server).await.1,
                (_, sent) => sent,
            },
        }
    }

    /// With the token that its source gives now: packing has taken its time.
    async fn to_server(&self, server: Server) -> (Server, Result<Brought, PushError>) {
        let server = match self.credentials.token(&self.request.url).await {
            Ok(token) => server.with_token(token),
            Err(error) => return (server, Err(error.into())),
        };
        let store = self.store(&server, lfs::endpoint(&server.url));
        let uploaded = match store.upload(&self.packed.pointers).await {
            Ok(uploaded) => uploaded,
            Err(error) => return (server, Err(error)),
        };
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
        (server, sent.map(|()| Brought::All(uploaded)))
    }

    /// Brings along what Git LFS keeps apart.
    async fn contents_to(&self, target: &Target) -> Result<Brought, PushError> {
        let pointers = &self.packed.pointers;
        match target {
            _ if pointers.is_empty() => Ok(Brought::All(Uploaded::default())),
            Target::Folder(folder) => {
                let stored = self.contents_to_folder(folder).await;
                remove(&self.contents().temporary);
                stored.map(Brought::All)
            }
            Target::Ssh(typed) => self.contents_by_ssh(typed).await,
        }
    }

    async fn contents_to_folder(&self, folder: &Path) -> Result<Uploaded, PushError> {
        let mut uploaded = Uploaded::default();
        let contents = self.contents();
        for pointer in &self.packed.pointers {
            let mut job = StoreRequest {
                folder: folder.to_owned(),
                pointer: pointer.clone(),
                content: None,
            };
            if apart::store_apart(&job).await? {
                uploaded = uploaded.and(pointer, self.request.max_size)?;
                contents.checked(pointer).await?;
                job.content = Some(contents.temporary.clone());
                apart::store_apart(&job).await?;
            }
        }
        Ok(uploaded)
    }

    async fn contents_by_ssh(&self, typed: &str) -> Result<Brought, PushError> {
        let asked = apart::login_apart(typed).await;
        let login = asked.map_err(|error| {
            PushError::Lfs(format!(
                "{error}; git.push = \"agent\" has the agent's git push, with git-lfs itself"
            ))
        })?;
        let Some(login) = login else {
            return Ok(Brought::None(self.packed.pointers.len()));
        };
        for secret in login.secrets() {
            let masked = self.credentials.masked(secret.into());
            masked.map_err(PushError::Lfs)?;
        }
        let host = address(typed)?.host().to_owned();
        let url = lfs::named_by_ssh(&host, &login.href)?;
        let odd = || PushError::Lfs("the server gives a header that is none".to_owned());
        let server = Server::new(&url, None, self.request.url.reach())?;
        let server = server.with_headers(login.headers().ok_or_else(odd)?);
        let store = self.store(&server, server.url.clone());
        store.upload(&self.packed.pointers).await.map(Brought::All)
    }

    fn store<'a>(&'a self, server: &'a Server, endpoint: String) -> Store<'a> {
        Store {
            server,
            endpoint,
            contents: self.contents(),
            reference: self.reference,
            most: self.request.max_size,
        }
    }

    fn contents(&self) -> Contents<'_> {
        contents(self.request, self.bundle)
    }
}

/// Where contents are on their way.
fn contents<'a>(request: &'a PushRequest, bundle: &Path) -> Contents<'a> {
    Contents {
        workspace: &request.workspace,
        temporary: beside(bundle, ".lfs"),
    }
}

/// Removes what pushes of a session have left in its folder beside rescues: those are the only copy of
/// what nobody has taken, and stay until somebody removes them.
pub fn forget(folder: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "bundle") {
            remove(&path);
        }
    }
    match std::fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(error),
        _ => Ok(()),
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
