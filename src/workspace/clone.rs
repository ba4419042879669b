//! Cloning: find the revision, fetch it, check it out, and only then be there.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use git2::build::{CheckoutBuilder, CloneLocal, RepoBuilder};
use git2::{
    AutotagOption, Direction, ErrorCode, FetchOptions, ProxyOptions, RemoteRedirect, Repository,
    RepositoryInitOptions, RepositoryOpenFlags,
};
use secrecy::SecretString;

use crate::clock::Clock;

use super::callbacks::{Stopped, Watch};
use super::error::CloneError;
use super::git_library;
use super::revision::Revision;
use super::staging::Staging;
use super::url::RepoUrl;

/// What to clone, and where to.
#[derive(Debug)]
pub struct CloneRequest {
    /// From here.
    pub url: RepoUrl,
    /// This; `None`: what the repository has as its HEAD.
    pub revision: Option<Revision>,
    /// For a private repository.
    pub token: Option<SecretString>,
    /// Into this folder: missing, empty, or a clone of the same address, which is used as it is.
    pub into: PathBuf,
    /// In no more time than this.
    pub limit: Duration,
    /// Certificates to trust besides the machine's; the first clone of a process decides.
    pub ca_file: Option<PathBuf>,
}

/// How far a clone is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Progress {
    /// Objects come in; `total` is 0 as long as the server counts.
    Receiving {
        objects: usize,
        total: usize,
        bytes: u64,
    },
    /// Files are written.
    CheckingOut { files: usize, total: usize },
}

/// A clone to work in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// The folder.
    pub path: PathBuf,
    /// The commit that is checked out; `None`: the repository has none yet.
    pub commit: Option<String>,
    /// The branch that is checked out; `None` on a tag or commit.
    pub branch: Option<String>,
    /// Whether it was there already.
    pub reused: bool,
}

/// Makes the workspace. Blocks; ends soon after `cancelled` is set (a silent server's own limit is
/// a minute). A clone from the network is shallow, one from this machine whole and linked.
pub fn clone(
    request: &CloneRequest,
    clock: Clock,
    cancelled: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Workspace, CloneError> {
    let url = request.url.to_string();
    let watch = Watch {
        cancelled,
        deadline: clock.now() + request.limit,
        clock,
        stopped: Cell::new(Stopped::No),
    };
    git_library::prepare(request.ca_file.as_deref()).map_err(|source| CloneError::Git {
        url: url.clone(),
        source,
    })?;
    if let Some(workspace) = existing(&request.into, &url) {
        return Ok(workspace);
    }
    let folder = |source| CloneError::Folder {
        path: request.into.clone(),
        source,
    };
    let staging = Staging::open(&request.into, clock).map_err(folder)?;
    let staging = staging.ok_or_else(|| CloneError::Occupied {
        path: request.into.clone(),
        url: url.clone(),
    })?;
    let made = make(request, &watch, staging.path(), progress);
    let (commit, branch) = made.map_err(|fault| fault.explain(request, &watch))?;
    if !watch.go_on() {
        return Err(Fault::Stopped.explain(request, &watch));
    }
    staging.finish().map_err(folder)?;
    Ok(Workspace {
        path: request.into.clone(),
        commit,
        branch,
        reused: false,
    })
}

/// libgit2's name for whether a server may send elsewhere.
const FOLLOW_REDIRECTS: &str = "http.followRedirects";

/// What stopped a clone, before it is put into words.
enum Fault {
    Git(git2::Error),
    NoRevision(Vec<String>),
    Stopped,
}

impl From<git2::Error> for Fault {
    fn from(error: git2::Error) -> Self {
        Self::Git(error)
    }
}

/// The commit and the branch that were checked out.
type CheckedOut = (Option<String>, Option<String>);

fn existing(path: &Path, url: &str) -> Option<Workspace> {
    let repository = open(path).ok()?;
    let same = repository.find_remote("origin").ok()?.url().ok()? == url;
    let head = repository.head().ok();
    let branch = head.as_ref().filter(|head| head.is_branch());
    same.then(|| Workspace {
        path: path.to_owned(),
        commit: head
            .as_ref()
            .and_then(|head| Some(head.target()?.to_string())),
        branch: branch.and_then(|head| Some(head.shorthand().ok()?.to_owned())),
        reused: true,
    })
}

/// The repository at this very path; none of a folder above counts.
fn open(path: &Path) -> Result<Repository, git2::Error> {
    Repository::open_ext(path, RepositoryOpenFlags::NO_SEARCH, &[] as &[&Path])
}

fn make(
    request: &CloneRequest,
    watch: &Watch<'_>,
    into: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<CheckedOut, Fault> {
    if !watch.go_on() {
        return Err(Fault::Stopped);
    }
    let (repository, default) = match request.url.local_path() {
        Some(source) => from_this_machine(source, into)?,
        None => from_network(request, watch, into, progress)?,
    };
    check_out(
        &repository,
        request.revision.as_ref(),
        default,
        watch,
        progress,
    )
}

/// All of it, its objects linked; the branch that is its HEAD.
fn from_this_machine(source: &Path, into: &Path) -> Result<(Repository, Option<String>), Fault> {
    let original = open(source)?;
    let head = original.head().ok();
    let branch = head.as_ref().filter(|head| head.is_branch());
    let branch = branch.and_then(|head| Some(head.shorthand().ok()?.to_owned()));
    let source = source
        .to_str()
        .ok_or_else(|| git2::Error::from_str("the path is not UTF-8"))?;
    let mut nothing = CheckoutBuilder::new();
    nothing.dry_run();
    let mut builder = RepoBuilder::new();
    builder
        .clone_local(CloneLocal::Local)
        .with_checkout(nothing);
    let repository = builder.clone(source, into)?;
    // libgit2 made the source's branch ours already; which one is ours is decided below.
    for made in repository.references_glob("refs/heads/*")? {
        made?.delete()?;
    }
    Ok((repository, branch))
}

/// Only what is asked for, without its past.
fn from_network(
    request: &CloneRequest,
    watch: &Watch<'_>,
    into: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Repository, Option<String>), Fault> {
    let mut plain = RepositoryInitOptions::new();
    // A template could bring hooks.
    plain.external_template(false).no_reinit(true);
    let repository = Repository::init_opts(into, &plain)?;
    // For both connections: a token must not follow to another host. Taken out again below.
    let mut config = repository.config()?;
    config.set_bool(FOLLOW_REDIRECTS, false)?;
    let default = fetch(&repository, request, watch, progress)?;
    config.remove(FOLLOW_REDIRECTS)?;
    Ok((repository, default))
}

/// Fetches what is asked for; gives the remote's default branch.
fn fetch(
    repository: &Repository,
    request: &CloneRequest,
    watch: &Watch<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Option<String>, Fault> {
    let token = request.token.as_ref();
    let mut remote = repository.remote("origin", &request.url.to_string())?;
    let callbacks = watch.callbacks(token, &mut *progress);
    let connection = remote.connect_auth(Direction::Fetch, Some(callbacks), Some(proxy()))?;
    let heads = connection.list()?;
    let names: Vec<String> = heads.iter().map(|head| head.name().to_owned()).collect();
    let default = connection.default_branch().ok();
    let default = default
        .as_ref()
        .and_then(|name| name.as_str().ok()?.strip_prefix("refs/heads/"));
    let default = default.map(str::to_owned);
    drop(connection);
    if let Some((refspecs, depth)) =
        refspecs(request.revision.as_ref(), default.as_deref(), &names)?
    {
        let mut options = FetchOptions::new();
        options
            .remote_callbacks(watch.callbacks(token, progress))
            .proxy_options(proxy())
            .follow_redirects(RemoteRedirect::None)
            .download_tags(AutotagOption::None)
            .depth(depth);
        remote.fetch(&refspecs, Some(&mut options), None)?;
    }
    Ok(default)
}

/// What to fetch for a revision and how deep (0: all). `None`: there is nothing to fetch.
#[allow(clippy::type_complexity)] // read in one place
fn refspecs(
    revision: Option<&Revision>,
    default: Option<&str>,
    names: &[String],
) -> Result<Option<(Vec<String>, i32)>, Fault> {
    let branch = |name: &str| format!("+refs/heads/{name}:refs/remotes/origin/{name}");
    let Some(revision) = revision else {
        return Ok(default.map(|name| (vec![branch(name)], 1)));
    };
    let has = |prefix: &str| {
        names
            .iter()
            .any(|name| *name == format!("{prefix}{revision}"))
    };
    if has("refs/heads/") {
        Ok(Some((vec![branch(revision.as_str())], 1)))
    } else if has("refs/tags/") {
        Ok(Some((
            vec![format!("+refs/tags/{revision}:refs/tags/{revision}")],
            1,
        )))
    } else if revision.commit().is_some() {
        // Servers need not give out a commit by its id: it is looked for in all there is.
        Ok(Some((
            vec![branch("*"), "+refs/tags/*:refs/tags/*".to_owned()],
            0,
        )))
    } else {
        let branches = names
            .iter()
            .filter_map(|name| name.strip_prefix("refs/heads/"));
        Err(Fault::NoRevision(some_of(branches)))
    }
}

fn proxy() -> ProxyOptions<'static> {
    let mut proxy = ProxyOptions::new();
    proxy.auto();
    proxy
}

fn check_out(
    repository: &Repository,
    revision: Option<&Revision>,
    default: Option<String>,
    watch: &Watch<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<CheckedOut, Fault> {
    let name = revision
        .map(|revision| revision.as_str().to_owned())
        .or(default);
    let branch = name.and_then(|name| {
        let remote = format!("refs/remotes/origin/{name}");
        Some((
            repository
                .find_reference(&remote)
                .ok()?
                .peel_to_commit()
                .ok()?,
            name,
        ))
    });
    let (commit, branch) = match (branch, revision) {
        (Some((commit, name)), _) => {
            let mut local = repository.branch(&name, &commit, true)?;
            local.set_upstream(Some(&format!("origin/{name}")))?;
            repository.set_head(&format!("refs/heads/{name}"))?;
            (commit, Some(name))
        }
        (None, Some(revision)) => {
            let tag = repository.find_reference(&format!("refs/tags/{revision}"));
            let commit = match (tag, revision.commit()) {
                (Ok(tag), _) => tag.peel_to_commit()?,
                (Err(_), Some(id)) => repository.find_commit(id).map_err(|_| absent(repository))?,
                (Err(_), None) => return Err(absent(repository)),
            };
            repository.set_head_detached(commit.id())?;
            (commit, None)
        }
        // No commit yet, or a HEAD that is no branch.
        (None, None) => match repository.head().and_then(|head| head.peel_to_commit()) {
            Ok(commit) => (commit, None),
            Err(_) => return Ok((None, None)),
        },
    };
    let mut checkout = CheckoutBuilder::new();
    checkout
        .force()
        .progress(|_, files, total| progress(Progress::CheckingOut { files, total }));
    repository.checkout_tree(commit.as_object(), Some(&mut checkout))?;
    if !watch.go_on() {
        return Err(Fault::Stopped);
    }
    Ok((Some(commit.id().to_string()), branch))
}

fn absent(repository: &Repository) -> Fault {
    let names = repository.references_glob("refs/remotes/origin/*");
    let names: Vec<String> = names
        .into_iter()
        .flatten()
        .filter_map(|reference| {
            Some(
                reference
                    .ok()?
                    .shorthand()
                    .ok()?
                    .strip_prefix("origin/")?
                    .to_owned(),
            )
        })
        .collect();
    Fault::NoRevision(some_of(
        names
            .iter()
            .map(String::as_str)
            .filter(|name| *name != "HEAD"),
    ))
}

/// Enough to recognise the name that was meant.
fn some_of<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    const ENOUGH: usize = 8;
    names.take(ENOUGH).map(str::to_owned).collect()
}

impl Fault {
    fn explain(self, request: &CloneRequest, watch: &Watch<'_>) -> CloneError {
        let url = request.url.to_string();
        match watch.stopped.get() {
            Stopped::Cancelled => return CloneError::Cancelled { url },
            Stopped::TimedOut => {
                let limit = request.limit;
                return CloneError::TimedOut { url, limit };
            }
            Stopped::NoToken => return CloneError::AuthNeeded { url },
            Stopped::TokenRefused => return CloneError::AuthRefused { url },
            Stopped::No => {}
        }
        match self {
            Self::Stopped => CloneError::Cancelled { url },
            Self::NoRevision(known) => CloneError::NoRevision {
                url,
                revision: request
                    .revision
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                known,
            },
            Self::Git(source) => explain_git(source, request),
        }
    }
}

/// libgit2 has codes for some faults and only words for others.
fn explain_git(source: git2::Error, request: &CloneRequest) -> CloneError {
    let url = request.url.to_string();
    let message = source.message().to_owned();
    match source.code() {
        ErrorCode::Certificate => CloneError::Certificate { url, message },
        ErrorCode::Auth => CloneError::AuthRefused { url },
        ErrorCode::Owner => CloneError::ForeignOwner { url },
        ErrorCode::NotFound if request.url.local_path().is_some() => CloneError::NotFound { url },
        _ if message.contains("status code: 404") => CloneError::NotFound { url },
        _ if message.contains("status code: 403") => CloneError::AuthRefused { url },
        _ if message.contains("redirect") => CloneError::Redirect { url },
        _ if request.url.local_path().is_none() => CloneError::Network { url, message },
        _ => CloneError::Git { url, source },
    }
}
