//! A push to a repository of this machine: its objects, and one branch that moves forward.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use git2::{Oid, Repository};
use serde::{Deserialize, Serialize};

use crate::workspace::git_library::prepare_git;
use crate::workspace::source::open;

/// What goes where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LocalPush {
    /// The repository.
    pub target: PathBuf,
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
pub(in crate::workspace) fn refs(target: &std::path::Path) -> io::Result<Vec<(String, String)>> {
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
pub(in crate::workspace) fn push(job: &LocalPush) -> io::Result<()> {
    let repository = opened(&job.target)?;
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

fn move_branch(repository: &Repository, job: &LocalPush) -> Result<(), git2::Error> {
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

fn opened(target: &std::path::Path) -> io::Result<Repository> {
    prepare_git().map_err(io::Error::other)?;
    open(target).map_err(io::Error::other)
}
