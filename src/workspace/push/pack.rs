//! The commits of a workspace that its origin does not have, as a bundle: a header that names them,
//! then a pack.
//!
//! Made with the rights of the workspace's owner: what the repository's files point to is then that
//! user's affair. What comes out is trusted no further than the user is: a server checks it as it
//! checks any push.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use git2::{ErrorCode, Oid, Repository, Sort};
use serde::{Deserialize, Serialize};

use super::pointer::{self, Pointer};
use crate::workspace::git_library::prepare_git;
use crate::workspace::source::open;

/// What to pack.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PackRequest {
    /// The repository.
    pub workspace: PathBuf,
    /// The ref that the bundle gives the newest commit.
    pub reference: String,
    /// What the other side has, as far as it is known.
    pub has: Vec<String>,
    /// Where the other side's `reference` is now.
    pub old: Option<String>,
}

/// What was packed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Packed {
    /// The newest commit; none where the repository has none.
    pub head: Option<String>,
    /// How many commits the other side does not have.
    pub commits: u64,
    /// Whether the other side's `reference` has commits that are not in this history.
    pub diverged: bool,
    /// Where in the bundle the pack begins, in bytes.
    pub pack_at: u64,
    /// What the new commits leave to Git LFS, each content once.
    pub pointers: Vec<Pointer>,
}

/// Writes the bundle to `out`; nothing where there is nothing to push.
pub(in crate::workspace) fn pack(request: &PackRequest, out: &mut dyn Write) -> io::Result<Packed> {
    prepare_git().map_err(io::Error::other)?;
    let repository = open(&request.workspace).map_err(io::Error::other)?;
    let head = match repository.head().and_then(|head| head.peel_to_commit()) {
        Ok(commit) => commit.id(),
        Err(error) if is_empty(&error) => return Ok(Packed::nothing(None)),
        Err(error) => return Err(io::Error::other(error)),
    };
    write(&repository, request, head, out)
}

fn is_empty(error: &git2::Error) -> bool {
    matches!(error.code(), ErrorCode::UnbornBranch | ErrorCode::NotFound)
}

impl Packed {
    fn nothing(head: Option<Oid>) -> Self {
        Self {
            head: head.map(|head| head.to_string()),
            commits: 0,
            diverged: false,
            pack_at: 0,
            pointers: Vec::new(),
        }
    }
}

fn write(
    repository: &Repository,
    request: &PackRequest,
    head: Oid,
    out: &mut dyn Write,
) -> io::Result<Packed> {
    let known = |text: &String| {
        let id = Oid::from_str(text).ok()?;
        repository.find_commit(id).ok().map(|commit| commit.id())
    };
    let has: Vec<Oid> = request.has.iter().filter_map(known).collect();
    let old = request.old.as_ref();
    let is_ahead =
        |old: Oid| old == head || repository.graph_descendant_of(head, old).unwrap_or(false);
    let diverged = old.is_some_and(|old| !known(old).is_some_and(is_ahead));
    let (found, edge) = new_commits(repository, head, &has).map_err(io::Error::other)?;
    if found.is_empty() {
        return Ok(Packed::nothing(Some(head)));
    }
    let mut header = b"# v2 git bundle\n".to_vec();
    for commit in edge {
        header.extend_from_slice(format!("-{commit}\n").as_bytes());
    }
    header.extend_from_slice(format!("{head} {}\n\n", request.reference).as_bytes());
    out.write_all(&header)?;
    write_pack(repository, head, &has, out)?;
    Ok(Packed {
        head: Some(head.to_string()),
        commits: found.len() as u64,
        diverged,
        pack_at: header.len() as u64,
        pointers: pointer::in_commits(repository, &found)?,
    })
}

/// They, and the commits that they build on.
fn new_commits(
    repository: &Repository,
    head: Oid,
    has: &[Oid],
) -> Result<(BTreeSet<Oid>, BTreeSet<Oid>), git2::Error> {
    let mut walk = repository.revwalk()?;
    walk.push(head)?;
    for known in has {
        walk.hide(*known)?;
    }
    let found: BTreeSet<Oid> = walk.collect::<Result<_, _>>()?;
    let mut edge = BTreeSet::new();
    for commit in &found {
        let parents = repository.find_commit(*commit)?;
        edge.extend(
            parents
                .parent_ids()
                .filter(|parent| !found.contains(parent)),
        );
    }
    Ok((found, edge))
}

fn write_pack(
    repository: &Repository,
    head: Oid,
    has: &[Oid],
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut packed = Ok(());
    let made = (|| {
        let mut walk = repository.revwalk()?;
        walk.set_sorting(Sort::TIME)?;
        walk.push(head)?;
        for known in has {
            walk.hide(*known)?;
        }
        let mut builder = repository.packbuilder()?;
        builder.insert_walk(&mut walk)?;
        builder.foreach(|bytes| {
            packed = out.write_all(bytes);
            packed.is_ok()
        })
    })();
    packed?;
    made.map_err(io::Error::other)?;
    out.flush()
}
