//! Getting the objects: linked from a folder of this machine, or fetched from a server.

use std::path::Path;

use git2::build::{CheckoutBuilder, CloneLocal, RepoBuilder};
use git2::{
    AutotagOption, Direction, FetchOptions, Repository, RepositoryInitOptions, RepositoryOpenFlags,
};

use super::cache::{Cache, Depth, Entry, trim};
use super::callbacks::Watch;
use super::clone::{CloneRequest, Progress};
use super::fault::Fault;
use super::revision::Revision;

/// The repository at this very path; none of a folder above counts.
pub(super) fn open(path: &Path) -> Result<Repository, git2::Error> {
    Repository::open_ext(path, RepositoryOpenFlags::NO_SEARCH, &[] as &[&Path])
}

/// All of it, its objects linked where that is asked for; the branch that is its HEAD.
pub(super) fn from_this_machine(
    source: &Path,
    into: &Path,
    linked: bool,
) -> Result<(Repository, Option<String>), Fault> {
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
        .clone_local(if linked {
            CloneLocal::Local
        } else {
            CloneLocal::NoLinks
        })
        .with_checkout(nothing);
    let repository = builder.clone(source, into)?;
    // libgit2 made the source's branch ours already; which one is ours is decided below.
    for made in repository.references_glob("refs/heads/*")? {
        made?.delete()?;
    }
    Ok((repository, branch))
}

/// Only what is asked for, as deep as it is asked for.
pub(super) fn from_network(
    request: &CloneRequest,
    watch: &Watch<'_>,
    into: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Repository, Option<String>), Fault> {
    let mut plain = RepositoryInitOptions::new();
    // A template could bring hooks.
    plain.external_template(false).no_reinit(true);
    let repository = Repository::init_opts(into, &plain)?;
    let Some(cache) = &request.cache else {
        let fetched = fetch(&repository, request, watch, progress)?;
        return Ok((repository, fetched.default));
    };
    let entry = match entry(cache, request) {
        Ok(entry) => entry,
        // A cache that cannot be used is no reason not to clone.
        Err(error) => {
            tracing::warn!(%error, path = %cache.path.display(), "cloning without the cache");
            let fetched = fetch(&repository, request, watch, progress)?;
            return Ok((repository, fetched.default));
        }
    };
    let fetched = match fetch(entry.repository(), request, watch, progress) {
        Ok(fetched) => fetched,
        Err(fault) => {
            entry.discard_if_empty();
            return Err(fault);
        }
    };
    repository.remote("origin", &request.url.to_string())?;
    entry.copy_into(&repository, &fetched.refspecs)?;
    drop(entry);
    if let Err(error) = trim(cache) {
        tracing::warn!(%error, path = %cache.path.display(), "the cache could not be trimmed");
    }
    Ok((repository, fetched.default))
}

fn entry(cache: &Cache, request: &CloneRequest) -> std::io::Result<Entry> {
    let revision = request.revision.as_ref();
    let depth = match (revision.and_then(Revision::commit), request.extent.depth) {
        (Some(_), _) | (None, 0) => Depth::Whole,
        (None, commits) => Depth::Commits(commits),
    };
    Entry::open(cache, &request.url.to_string(), depth)
}

/// What a fetch has found.
struct Fetched {
    /// The remote's default branch.
    default: Option<String>,
    /// What was asked for.
    refspecs: Vec<String>,
}

/// Fetches what is asked for.
fn fetch(
    repository: &Repository,
    request: &CloneRequest,
    watch: &Watch<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Fetched, Fault> {
    let url = request.url.to_string();
    let mut remote = match repository.find_remote("origin") {
        Ok(remote) => remote,
        Err(_) => repository.remote("origin", &url)?,
    };
    let callbacks = watch.callbacks(&mut *progress);
    let connection = remote.connect_auth(Direction::Fetch, Some(callbacks), None)?;
    let heads = connection.list()?;
    let names: Vec<String> = heads.iter().map(|head| head.name().to_owned()).collect();
    let default = connection.default_branch().ok();
    let default = default
        .as_ref()
        .and_then(|name| name.as_str().ok()?.strip_prefix("refs/heads/"));
    let default = default.map(str::to_owned);
    drop(connection);
    let wanted = refspecs(request.revision.as_ref(), default.as_deref(), &names)?;
    let (refspecs, whole) = wanted.unwrap_or_default();
    let depth = if whole { 0 } else { request.extent.depth };
    if !refspecs.is_empty() {
        let mut options = FetchOptions::new();
        options
            .remote_callbacks(watch.callbacks(progress))
            .download_tags(AutotagOption::None)
            .depth(i32::try_from(depth).unwrap_or(0));
        remote.fetch(&refspecs, Some(&mut options), None)?;
    }
    Ok(Fetched { default, refspecs })
}

/// What to fetch for a revision, and whether all of its past. `None`: there is nothing to fetch.
#[allow(clippy::type_complexity)] // read in one place
fn refspecs(
    revision: Option<&Revision>,
    default: Option<&str>,
    names: &[String],
) -> Result<Option<(Vec<String>, bool)>, Fault> {
    let branch = |name: &str| format!("+refs/heads/{name}:refs/remotes/origin/{name}");
    let Some(revision) = revision else {
        return Ok(default.map(|name| (vec![branch(name)], false)));
    };
    let has = |prefix: &str| {
        names
            .iter()
            .any(|name| *name == format!("{prefix}{revision}"))
    };
    if has("refs/heads/") {
        Ok(Some((vec![branch(revision.as_str())], false)))
    } else if has("refs/tags/") {
        Ok(Some((
            vec![format!("+refs/tags/{revision}:refs/tags/{revision}")],
            false,
        )))
    } else if revision.commit().is_some() {
        // Servers need not give out a commit by its id: it is looked for in all there is.
        Ok(Some((
            vec![branch("*"), "+refs/tags/*:refs/tags/*".to_owned()],
            true,
        )))
    } else {
        let branches = names
            .iter()
            .filter_map(|name| name.strip_prefix("refs/heads/"));
        Err(Fault::NoRevision(some_of(branches)))
    }
}

/// Enough to recognise the name that was meant.
pub(super) fn some_of<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    const ENOUGH: usize = 8;
    names.take(ENOUGH).map(str::to_owned).collect()
}
