//! A push to a repository of this machine: its objects, and one branch that moves forward.

use std::fmt;
use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use git2::{Oid, Repository};
use serde::{Deserialize, Serialize};

use super::pointer::{self, Pointer};
use crate::workspace::git_library::prepare_git;
use crate::workspace::source::open;

/// A repository that a worker reaches by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// On this machine.
    Folder(PathBuf),
    /// By ssh, at this address as it was typed.
    Ssh(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Ssh(typed) => typed.fmt(f),
        }
    }
}

/// A content for a repository of this machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoreRequest {
    /// The repository.
    pub folder: PathBuf,
    /// The content.
    pub pointer: Pointer,
    /// Its file; without one, it is only asked whether it is missing there.
    pub content: Option<PathBuf>,
}

/// What goes where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WorkerPush {
    /// The repository.
    pub target: Target,
    /// The bundle, and where in it the pack begins.
    pub bundle: PathBuf,
    /// In bytes.
    pub pack_at: u64,
    /// The branch.
    pub reference: String,
    /// Where it was.
    pub old: Option<String>,
    /// Where it goes.
    pub new: String,
}

/// The refs of a repository of this machine, by name.
pub(super) fn refs(target: &Path) -> io::Result<Vec<(String, String)>> {
    let repository = opened(target)?;
    let mut found = Vec::new();
    for reference in repository.references().map_err(io::Error::other)? {
        let reference = reference.map_err(io::Error::other)?;
        if let (Ok(name), Ok(commit)) = (reference.name(), reference.peel_to_commit()) {
            found.push((name.to_owned(), commit.id().to_string()));
        }
    }
    Ok(found)
}

/// Takes the pack in, and moves the branch.
pub(super) fn push(target: &Path, job: &WorkerPush) -> io::Result<()> {
    let repository = opened(target)?;
    let mut bundle = File::open(&job.bundle)?;
    bundle.seek(SeekFrom::Start(job.pack_at))?;
    let objects = repository.odb().map_err(io::Error::other)?;
    let mut writer = objects.packwriter().map_err(io::Error::other)?;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let count = bundle.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        writer.write_all(chunk.get(..count).unwrap_or_default())?;
    }
    writer.commit().map_err(io::Error::other)?;
    move_branch(&repository, job).map_err(io::Error::other)
}

fn move_branch(repository: &Repository, job: &WorkerPush) -> Result<(), git2::Error> {
    let new = Oid::from_str(&job.new)?;
    repository.find_commit(new)?;
    let message = "agent-runner: push";
    match &job.old {
        None => repository.reference(&job.reference, new, false, message)?,
        Some(old) => {
            let old = Oid::from_str(old)?;
            repository.reference_matching(&job.reference, new, true, old, message)?
        }
    };
    Ok(())
}

/// Puts a content where Git LFS keeps it in that repository; whether it was not there.
pub(super) fn store(job: &StoreRequest) -> io::Result<bool> {
    let repository = opened(&job.folder)?;
    let path = pointer::place(&repository, &job.pointer)?;
    if path
        .metadata()
        .is_ok_and(|file| file.len() == job.pointer.size)
    {
        return Ok(false);
    }
    let Some(content) = &job.content else {
        return Ok(true);
    };
    let folder = path.parent().unwrap_or(&job.folder);
    // As git-lfs makes them, whatever the mask here: other users fetch from there.
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o755).create(folder)?;
    let new = path.with_added_extension("new");
    std::fs::copy(content, &new)?;
    std::fs::set_permissions(&new, Permissions::from_mode(0o444))?;
    File::open(&new)?.sync_all()?;
    std::fs::rename(&new, &path)?;
    Ok(true)
}

fn opened(target: &Path) -> io::Result<Repository> {
    prepare_git().map_err(io::Error::other)?;
    open(target).map_err(io::Error::other)
}
