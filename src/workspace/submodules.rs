//! Submodules, where they are asked for: each a clone of its own in its place.
//!
//! Their addresses come from the repository, which anyone may have written: an address must lead to
//! the repository's own server, be public, or stand in the settings' list. A token goes to the
//! repository's own server alone. A submodule is cloned into the folder that the checkout made for
//! it, with its `.git` in it: no name of a submodule is ever used as a path.

use std::path::{Component, Path, PathBuf};

use git2::{Repository, Submodule};
use url::Url;

use super::callbacks::Watch;
use super::clone::{CloneRequest, Extent, Progress, make};
use super::error::CloneError;
use super::fault::Fault;
use super::policy::AllowList;
use super::revision::Revision;
use super::source::open;
use super::url::RepoUrl;

/// Submodules within submodules, so deep.
const DEEPEST: usize = 8;
/// More than any project has; a repository that names more wants something else.
const MOST: usize = 256;

/// The mode of an entry that is a submodule's commit.
const LINK: i32 = 0o160_000;

/// Clones the submodules of the clone in `root`, and theirs.
pub(super) fn clone_into(
    root: &Path,
    request: &CloneRequest,
    allowed: &AllowList,
    watch: &Watch<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), CloneError> {
    let mut open: Vec<(PathBuf, RepoUrl, usize)> = vec![(root.to_owned(), request.url.clone(), 0)];
    let mut count = 0;
    while let Some((folder, url, depth)) = open.pop() {
        for wanted in wanted_in(&folder, &url, allowed)? {
            count += 1;
            if count > MOST || depth == DEEPEST {
                let why = "there are too many, or too many within each other";
                return Err(failed(&url, &wanted.path, why));
            }
            let place = folder.join(&wanted.path);
            let one = CloneRequest {
                token: request
                    .token
                    .clone()
                    .filter(|_| is_same_server(&wanted.url, &request.url)),
                url: wanted.url.clone(),
                revision: Some(wanted.commit),
                into: place.clone(),
                limit: request.limit,
                ca_file: request.ca_file.clone(),
                cache: request.cache.clone(),
                extent: Extent {
                    submodules: None,
                    ..request.extent.clone()
                },
            };
            make(&one, watch, &place, progress)
                .map_err(|fault| explain(fault, &one, watch, &url, &wanted.path))?;
            open.push((place, wanted.url, depth + 1));
        }
    }
    Ok(())
}

/// A submodule to clone.
struct Wanted {
    path: PathBuf,
    url: RepoUrl,
    commit: Revision,
}

fn wanted_in(folder: &Path, url: &RepoUrl, allowed: &AllowList) -> Result<Vec<Wanted>, CloneError> {
    let fault = |source| CloneError::Git {
        url: url.to_string(),
        source,
    };
    let repository = open(folder).map_err(fault)?;
    let mut wanted = Vec::new();
    for submodule in repository.submodules().map_err(fault)? {
        let path = submodule.path().to_owned();
        // One that is only named, in `.gitmodules` or by an entry, is none.
        let (Some(commit), Ok(Some(address))) = (commit_of(&repository, &path)?, submodule.url())
        else {
            continue;
        };
        if !is_own_empty_folder(folder, &path) {
            return Err(failed(
                url,
                &path,
                "its place is no empty folder of the repository",
            ));
        }
        let address = resolve(url, address)
            .and_then(|address| of_repository(&address, url, allowed))
            .map_err(|why| failed(url, &path, &why))?;
        note(submodule);
        wanted.push(Wanted {
            path,
            url: address,
            commit,
        });
    }
    Ok(wanted)
}

/// git's own commands see from the configuration that a submodule is in use.
fn note(mut submodule: Submodule<'_>) {
    // A name that git does not take leaves only `git submodule status` less telling.
    let noted = submodule.init(true);
    drop(noted);
}

/// The commit that the index has at that path, where it is a submodule's.
fn commit_of(repository: &Repository, path: &Path) -> Result<Option<Revision>, CloneError> {
    let index = repository.index().map_err(|source| CloneError::Git {
        url: path.display().to_string(),
        source,
    })?;
    let entry = index.get_path(path, 0);
    let link = entry.filter(|entry| i32::try_from(entry.mode).is_ok_and(|mode| mode == LINK));
    Ok(link.and_then(|entry| Revision::parse(&entry.id.to_string()).ok()))
}

/// Whether the checkout made it: a folder below real folders, with nothing in it.
fn is_own_empty_folder(root: &Path, path: &Path) -> bool {
    let mut at = root.to_owned();
    for part in path.components() {
        let Component::Normal(name) = part else {
            return false;
        };
        at.push(name);
        if !at.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            return false;
        }
    }
    at != root && std::fs::read_dir(&at).is_ok_and(|mut entries| entries.next().is_none())
}

/// A whole address of one that may be relative to the repository's.
fn resolve(parent: &RepoUrl, address: &str) -> Result<String, String> {
    if !address.starts_with("./") && !address.starts_with("../") {
        return Ok(address.to_owned());
    }
    let Some(parent) = parent.remote() else {
        return Err(format!(
            "its address `{}` is relative to a folder of this machine",
            address.escape_debug()
        ));
    };
    let mut base = parent.clone();
    base.set_path(&format!("{}/", parent.path().trim_end_matches('/')));
    base.join(address)
        .map(Url::into)
        .map_err(|error| error.to_string())
}

/// Reads an address that stands in a repository.
fn of_repository(address: &str, parent: &RepoUrl, allowed: &AllowList) -> Result<RepoUrl, String> {
    let own = RepoUrl::parse(address, Path::new("/"));
    match own {
        Ok(own) if own.remote().is_some() && is_same_server(&own, parent) => {
            Ok(own.with_reach(parent.reach()))
        }
        _ => RepoUrl::from_hub(address, allowed).map_err(|error| error.to_string()),
    }
}

fn is_same_server(one: &RepoUrl, other: &RepoUrl) -> bool {
    match (one.remote(), other.remote()) {
        (Some(one), Some(other)) => one.origin() == other.origin() && one.origin().is_tuple(),
        _ => false,
    }
}

fn explain(
    fault: Fault,
    request: &CloneRequest,
    watch: &Watch<'_>,
    parent: &RepoUrl,
    path: &Path,
) -> CloneError {
    match fault.explain(request, watch) {
        stopped @ (CloneError::Cancelled { .. } | CloneError::TimedOut { .. }) => stopped,
        error => failed(parent, path, &error.to_string()),
    }
}

fn failed(url: &RepoUrl, path: &Path, why: &str) -> CloneError {
    CloneError::Submodule {
        url: url.to_string(),
        name: path.display().to_string().escape_debug().to_string(),
        why: why.to_owned(),
    }
}
