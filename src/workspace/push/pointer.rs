//! Pointers of Git LFS: small blobs that stand in a commit for content which is kept elsewhere.
//!
//! They are looked for in the files that the commits to push have changed; all of it happens with the
//! rights of the workspace's owner. Extensions of Git LFS are passed over: the content that is kept is
//! named all the same.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use git2::{Commit, FileMode, ObjectType, Oid, Repository, Tree, TreeWalkMode, TreeWalkResult};
use serde::{Deserialize, Serialize};

use crate::files;
use crate::workspace::git_library::prepare_git;
use crate::workspace::source::open;

/// No pointer is larger, says Git LFS.
const LARGEST: usize = 1024;
/// As many as one push may add: what the worker says of them takes ten megabytes.
const MOST: usize = 100_000;

/// What stands for a content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Pointer {
    /// Its SHA-256, in lower-case hex digits.
    pub oid: String,
    /// In bytes.
    pub size: u64,
}

/// Which content to copy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContentRequest {
    /// The repository.
    pub workspace: PathBuf,
    /// The content.
    pub pointer: Pointer,
}

impl Pointer {
    /// None where the bytes are anything else.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
        if bytes.len() > LARGEST || lines.next()? != "version https://git-lfs.github.com/spec/v1" {
            return None;
        }
        let mut lines = lines.skip_while(|line| line.starts_with("ext-"));
        let oid = lines.next()?.strip_prefix("oid sha256:")?;
        let size = lines.next()?.strip_prefix("size ")?;
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_whole = lines.next().is_none()
            && oid.len() == 64
            && oid.bytes().all(is_hex)
            && size.bytes().all(|byte| byte.is_ascii_digit());
        let size = size.parse().ok().filter(|_| is_whole)?;
        Some(Self {
            oid: oid.to_owned(),
            size,
        })
    }
}

/// The pointers that these commits add.
pub(super) fn in_commits(
    repository: &Repository,
    commits: &BTreeSet<Oid>,
) -> io::Result<Vec<Pointer>> {
    let mut seen = BTreeSet::new();
    let mut found = BTreeSet::new();
    for commit in commits {
        let blobs = added(repository, *commit).map_err(io::Error::other)?;
        for blob in blobs {
            if seen.insert(blob) {
                found.extend(pointer(repository, blob).map_err(io::Error::other)?);
            }
        }
        if found.len() > MOST {
            let why = format!("more than {MOST} new files of Git LFS");
            return Err(io::Error::other(why));
        }
    }
    Ok(found.into_iter().collect())
}

/// How much content the files at HEAD leave to Git LFS, in bytes.
pub(in crate::workspace) fn size_at_head(workspace: &Path) -> io::Result<u64> {
    prepare_git().map_err(io::Error::other)?;
    let repository = open(workspace).map_err(io::Error::other)?;
    let Ok(tree) = repository.head().and_then(|head| head.peel_to_tree()) else {
        return Ok(0);
    };
    let mut found = BTreeSet::new();
    let mut fault = None;
    let walked = tree.walk(TreeWalkMode::PreOrder, |_, entry| {
        if entry.kind() == Some(ObjectType::Blob) {
            match pointer(&repository, entry.id()) {
                Ok(pointer) => found.extend(pointer),
                Err(error) => {
                    fault = Some(error);
                    return TreeWalkResult::Abort;
                }
            }
        }
        TreeWalkResult::Ok
    });
    match fault {
        Some(error) => return Err(io::Error::other(error)),
        None => walked.map_err(io::Error::other)?,
    }
    let sizes = found.iter().map(|pointer| pointer.size);
    Ok(sizes.fold(0, u64::saturating_add))
}

fn pointer(repository: &Repository, blob: Oid) -> Result<Option<Pointer>, git2::Error> {
    let objects = repository.odb()?;
    let (size, kind) = objects.read_header(blob)?;
    if kind != ObjectType::Blob || size > LARGEST {
        return Ok(None);
    }
    Ok(Pointer::parse(objects.read(blob)?.data()))
}

/// The files' blobs that a commit has and none of its parents has there.
fn added(repository: &Repository, commit: Oid) -> Result<BTreeSet<Oid>, git2::Error> {
    let commit: Commit<'_> = repository.find_commit(commit)?;
    let tree = commit.tree()?;
    let mut parents = commit.parents();
    let first = parents.next().map(|parent| parent.tree()).transpose()?;
    let mut added = changed(repository, first.as_ref(), &tree)?;
    for parent in parents {
        let others = changed(repository, Some(&parent.tree()?), &tree)?;
        added.retain(|blob| others.contains(blob));
    }
    Ok(added)
}

fn changed(
    repository: &Repository,
    old: Option<&Tree<'_>>,
    new: &Tree<'_>,
) -> Result<BTreeSet<Oid>, git2::Error> {
    let diff = repository.diff_tree_to_tree(old, Some(new), None)?;
    let is_file = |mode| matches!(mode, FileMode::Blob | FileMode::BlobExecutable);
    let after = diff.deltas().map(|delta| delta.new_file());
    let mut blobs: BTreeSet<Oid> = after
        .filter(|file| is_file(file.mode()))
        .map(|file| file.id())
        .collect();
    // One that was only moved is not new.
    for delta in diff.deltas() {
        blobs.remove(&delta.old_file().id());
    }
    Ok(blobs)
}

/// Where Git LFS keeps a content in a repository.
pub(super) fn place(repository: &Repository, pointer: &Pointer) -> io::Result<PathBuf> {
    let oid = &pointer.oid;
    let (one, two) = (oid.get(..2), oid.get(2..4));
    let (Some(one), Some(two)) = (one, two) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let store = repository.commondir().join("lfs/objects");
    Ok(store.join(one).join(two).join(oid))
}

/// Copies a content out of the repository's store, in the worker; no more of it than it may have.
pub(in crate::workspace) fn copy_content(
    request: &ContentRequest,
    out: &mut dyn Write,
) -> io::Result<()> {
    prepare_git().map_err(io::Error::other)?;
    let repository = open(&request.workspace).map_err(io::Error::other)?;
    let size = request.pointer.size;
    let path = place(&repository, &request.pointer)?;
    let named = |error: io::Error| {
        let why = format!("{} cannot be read: {error}", path.display());
        io::Error::new(error.kind(), why)
    };
    let file = files::open_plain(&path).map_err(named)?;
    // One byte more shows that it is another.
    io::copy(&mut file.take(size.saturating_add(1)), out).map_err(named)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: &str = "version https://git-lfs.github.com/spec/v1\n";

    #[test]
    fn a_pointer_is_read_as_git_lfs_writes_it() {
        let oid = "0a".repeat(32);
        for between in ["", "ext-0-foo sha256:11\next-1-bar sha256:22\n"] {
            for end in ["", "\n"] {
                let text = format!("{VERSION}{between}oid sha256:{oid}\nsize 12345{end}");
                let read = Pointer::parse(text.as_bytes()).unwrap();
                assert_eq!((read.oid.as_str(), read.size), (oid.as_str(), 12345));
            }
        }
    }

    #[test]
    fn what_only_looks_like_a_pointer_is_none() {
        let oid = "0a".repeat(32);
        let good = format!("oid sha256:{oid}\nsize 1\n");
        let padded = format!("{VERSION}{}{good}", "ext-0-a sha256:1\n".repeat(60));
        for text in [
            String::new(),
            good.clone(),
            VERSION.to_owned(),
            format!("{VERSION}oid sha256:{oid}\n"),
            format!("{VERSION}oid sha256:{oid}\nsize \n"),
            format!("{VERSION}oid sha256:{oid}\nsize +1\n"),
            format!("{VERSION}oid sha256:{oid}\nsize 99999999999999999999\n"),
            format!("{VERSION}oid sha256:{}\nsize 1\n", oid.to_uppercase()),
            format!("{VERSION}oid sha256:{}\nsize 1\n", &oid[1..]),
            format!("{VERSION}oid sha256:../../../{}\nsize 1\n", &oid[9..]),
            format!("{VERSION}oid md5:{oid}\nsize 1\n"),
            format!("{VERSION}{good}\n"),
            format!("{VERSION}{good}more\n"),
            format!(" {VERSION}{good}"),
            padded,
        ] {
            assert_eq!(Pointer::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Pointer::parse(&[0xff; 8]), None);
    }
}
