//! Cloning: find the revision, fetch it, check it out, and only then be there.

use std::cell::Cell;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use git2::build::CheckoutBuilder;
use git2::{ErrorCode, ObjectType, Repository, Tree, TreeWalkMode, TreeWalkResult};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;

use super::cache::Cache;
use super::callbacks::{Stopped, Watch};
use super::error::CloneError;
use super::fault::Fault;
use super::git_library::prepare_git;
use super::http::{Access, with_access};
use super::policy::AllowList;
use super::revision::Revision;
use super::source::{from_network, from_this_machine, open, some_of};
use super::staging::{self, Staging};
use super::submodules;
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
    /// Certificates to trust besides the machine's, as a PEM file.
    pub ca_file: Option<PathBuf>,
    /// Where fetched objects are kept for the next clone.
    pub cache: Option<Cache>,
    /// How much of it.
    pub extent: Extent,
}

/// How much of a repository is cloned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// So many commits of a branch or tag, over the network; 0: all.
    pub depth: u32,
    /// Its submodules as well, from where this list allows it.
    pub submodules: Option<AllowList>,
    /// No more bytes than this, received or checked out.
    pub most: u64,
    /// Whose it is to be, where that is another user: it is given to them before it is there. Else a
    /// repository of this machine shares its objects' files with the clone, where the file system
    /// lets it; the files would be theirs as well.
    pub owner: Option<(u32, u32)>,
}

impl Default for Extent {
    /// The newest commit, no submodules, 20 GiB.
    fn default() -> Self {
        Self {
            depth: 1,
            submodules: None,
            most: 20 << 30,
            owner: None,
        }
    }
}

/// How far a clone is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
/// a minute). A clone from the network is as deep as asked for, one from this machine whole and
/// linked.
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
        most: request.extent.most,
    };
    prepare_git().map_err(|source| CloneError::Git {
        url: url.clone(),
        source,
    })?;
    let folder = |source| CloneError::Folder {
        path: request.into.clone(),
        source,
    };
    staging::resume(&request.into).map_err(folder)?;
    if let Some(workspace) = existing(&request.into, &url) {
        if let Some(owner) = request.extent.owner {
            staging::give_rest(&request.into, owner).map_err(folder)?;
        }
        return Ok(workspace);
    }
    let staging = Staging::open(&request.into, clock).map_err(folder)?;
    let staging = staging.ok_or_else(|| CloneError::Occupied {
        path: request.into.clone(),
        url: url.clone(),
    })?;
    let made = make(request, &watch, staging.path(), progress);
    let (commit, branch) = made.map_err(|fault| fault.explain(request, &watch))?;
    if let Some(allowed) = &request.extent.submodules {
        submodules::clone_into(staging.path(), request, allowed, &watch, progress)?;
    }
    if !watch.go_on() {
        return Err(Fault::Stopped.explain(request, &watch));
    }
    staging.finish(request.extent.owner).map_err(folder)?;
    Ok(Workspace {
        path: request.into.clone(),
        commit,
        branch,
        reused: false,
    })
}

/// The commit and the branch that were checked out.
pub(super) type CheckedOut = (Option<String>, Option<String>);

fn existing(path: &Path, url: &str) -> Option<Workspace> {
    let repository = match open(path) {
        Err(error) if error.code() == ErrorCode::Owner => return given_away(path, url),
        opened => opened.ok()?,
    };
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

/// No name of a branch is longer than a path.
const MAX_HEAD: u64 = 4096;

/// Neither a link nor a pipe.
fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|file| file.is_file())
}

/// A workspace that root gave to its agent's user: libgit2 opens nothing of another user's, so
/// that its origin and its branch are read from the files. The commit is left out: its file may be
/// a link to wherever the agent likes.
fn given_away(path: &Path, url: &str) -> Option<Workspace> {
    let file = |name: &str| Some(path.join(".git").join(name)).filter(|path| is_file(path));
    let config = git2::Config::open(&file("config")?).ok()?;
    let same = config.get_string("remote.origin.url").ok()? == url;
    let mut head = String::new();
    let open = std::fs::File::open(file("HEAD")?).ok()?;
    open.take(MAX_HEAD).read_to_string(&mut head).ok()?;
    let branch = head.trim_end().strip_prefix("ref: refs/heads/");
    let is_name = |name: &&str| git2::Branch::name_is_valid(name).unwrap_or(false);
    same.then(|| Workspace {
        path: path.to_owned(),
        commit: None,
        branch: branch.filter(is_name).map(str::to_owned),
        reused: true,
    })
}

pub(super) fn make(
    request: &CloneRequest,
    watch: &Watch<'_>,
    into: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<CheckedOut, Fault> {
    if !watch.go_on() {
        return Err(Fault::Stopped);
    }
    let (repository, default) = if let Some(source) = request.url.local_path() {
        from_this_machine(source, into, request.extent.owner.is_none())?
    } else {
        let access = Access {
            token: request.token.clone(),
            ca_file: request.ca_file.clone(),
            reach: request.url.reach(),
        };
        with_access(access, || from_network(request, watch, into, progress))?
    };
    check_out(
        &repository,
        request.revision.as_ref(),
        default,
        watch,
        progress,
    )
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
    if !watch.has_room_for(files_size(repository, &commit.tree()?)?) {
        return Err(Fault::Stopped);
    }
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

/// The bytes of all files of a tree, from what the objects say of themselves: a small pack may hold
/// large ones.
fn files_size(repository: &Repository, tree: &Tree<'_>) -> Result<u64, git2::Error> {
    let objects = repository.odb()?;
    let mut size = 0_u64;
    tree.walk(TreeWalkMode::PreOrder, |_, entry| {
        if entry.kind() == Some(ObjectType::Blob)
            && let Ok((bytes, _)) = objects.read_header(entry.id())
        {
            size = size.saturating_add(bytes as u64);
        }
        TreeWalkResult::Ok
    })?;
    Ok(size)
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
