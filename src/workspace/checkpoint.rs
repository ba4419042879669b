//! Checkpoints: what a workspace held at a moment, kept in its own repository under a hidden ref.
//!
//! Guarantees: neither the branch nor the index nor a file of the workspace changes when one is
//! taken; files that git does not track yet are in it, ignored ones, large ones and repositories
//! within are not; restoring one takes
//! another first, so that nothing is lost. No hook and no filter program runs.
//!
//! The refs are `refs/agent-runner/<session>/<ordinal>-<name>`: no command of git's shows or pushes
//! them unless told to. The newest [`KEPT`] of a session are kept.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use git2::build::CheckoutBuilder;
use git2::{
    Diff, DiffFormat, DiffOptions, ErrorCode, IndexAddOption, Oid, Repository, Signature, Tree,
};
use serde::{Deserialize, Serialize};

use super::git_library::prepare_git;
use super::source::open;
use crate::config::Author;

/// Checkpoints of a session that are kept: a turn each, and some.
const KEPT: usize = 200;

/// A file above this that git does not track yet is left out: a checkpoint is no backup of data.
const LARGEST_UNTRACKED: u64 = 32 * 1024 * 1024;

/// Files above this are compared as wholes.
const LARGEST_COMPARED: i64 = 8 * 1024 * 1024;

/// The name of the checkpoint before a session's first turn.
pub const START: &str = "start";

/// A checkpoint to take.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckpointRequest {
    /// The folder with `.git` in it.
    pub workspace: PathBuf,
    /// Of this session.
    pub session: String,
    /// Its turn's id, or what else it is taken for. A name that the session has already replaces
    /// its checkpoint: a turn has one, however often its end is tried.
    pub name: String,
    /// On whose behalf; nobody: ours.
    pub author: Option<Author>,
}

/// A checkpoint, and what changed since the session's one before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Its whole ref.
    pub reference: String,
    /// Files that were made, changed or removed.
    pub files: u64,
    /// Lines that are new.
    pub insertions: u64,
    /// Lines that are gone.
    pub deletions: u64,
    /// Untracked files that were left out for their size, and repositories within this one.
    pub left_out: Vec<String>,
}

/// One that is there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Of this session.
    pub session: String,
    /// Its place in the session, from 1.
    pub ordinal: u64,
    /// Its name.
    pub name: String,
    /// When it was taken, in seconds since 1970.
    pub at: i64,
    reference: String,
    tree: Oid,
}

/// Why a checkpoint could not be taken, shown or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// There is no repository.
    #[error("{} is in no git repository, and checkpoints are kept in one", .0.display())]
    NoRepository(PathBuf),
    /// The repository has no checkpoint at all.
    #[error("{} has no checkpoint{} yet; each turn of an agent there leaves one", .path.display(), of(.session.as_deref()))]
    None {
        /// The workspace.
        path: PathBuf,
        /// Of this session.
        session: Option<String>,
    },
    /// The repository has no such checkpoint.
    #[error("there is no checkpoint `{wanted}`{}; `agent-runner diff --list` shows them", of(.session.as_deref()))]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// Of this session.
        session: Option<String>,
    },
    /// What was read cannot be written.
    #[error("cannot write the difference: {0}")]
    Write(#[from] io::Error),
    /// libgit2 says no.
    #[error("git cannot use the repository in {}: {}", .path.display(), .source.message())]
    Git {
        /// The workspace.
        path: PathBuf,
        /// libgit2's error.
        source: git2::Error,
    },
}

fn of(session: Option<&str>) -> String {
    session.map_or_else(String::new, |session| format!(" of session {session}"))
}

/// Takes a checkpoint; `None` where the workspace is no repository.
pub fn take(request: &CheckpointRequest) -> Result<Option<Checkpoint>, CheckpointError> {
    match Checkpoints::open(&request.workspace) {
        Ok(checkpoints) => {
            let author = request.author.as_ref();
            let taken = checkpoints.take(&request.session, &request.name, author);
            taken.map(Some)
        }
        Err(CheckpointError::NoRepository(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The checkpoints of one repository.
pub struct Checkpoints {
    repository: Repository,
    path: PathBuf,
}

impl Checkpoints {
    /// Those in the repository at this very path.
    pub fn open(workspace: &Path) -> Result<Self, CheckpointError> {
        Self::with(workspace, open)
    }

    /// Those in the repository that a path lies in.
    pub fn around(path: &Path) -> Result<Self, CheckpointError> {
        Self::with(path, |path| Repository::discover(path))
    }

    fn with(
        path: &Path,
        open: impl FnOnce(&Path) -> Result<Repository, git2::Error>,
    ) -> Result<Self, CheckpointError> {
        let fault = |source: git2::Error| match source.code() {
            ErrorCode::NotFound => CheckpointError::NoRepository(path.to_owned()),
            _ => CheckpointError::Git {
                path: path.to_owned(),
                source,
            },
        };
        prepare_git().map_err(fault)?;
        let repository = open(path).map_err(fault)?;
        let path = repository.workdir().ok_or_else(|| {
            // A repository without files has nothing to keep.
            CheckpointError::NoRepository(path.to_owned())
        })?;
        Ok(Self {
            path: path.to_owned(),
            repository,
        })
    }

    /// The workspace.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes one.
    pub fn take(
        &self,
        session: &str,
        name: &str,
        author: Option<&Author>,
    ) -> Result<Checkpoint, CheckpointError> {
        let earlier = self.list(Some(session))?;
        self.take_after(session, name, author, earlier)
            .map_err(|source| self.fault(source))
    }

    fn take_after(
        &self,
        session: &str,
        name: &str,
        author: Option<&Author>,
        mut earlier: Vec<Listed>,
    ) -> Result<Checkpoint, git2::Error> {
        let same = earlier.iter().position(|listed| listed.name == name);
        let ordinal = match same {
            Some(place) => earlier.remove(place).ordinal,
            None => earlier.last().map_or(0, |last| last.ordinal) + 1,
        };
        let (tree, left_out) = self.present()?;
        let reference = format!("refs/agent-runner/{session}/{ordinal:06}-{name}");
        self.commit(&reference, name, author, &tree)?;
        let before = earlier.iter().rfind(|listed| listed.ordinal < ordinal);
        let before = match before {
            Some(listed) => Some(self.repository.find_tree(listed.tree)?),
            None => self.head_tree(),
        };
        let stats = self.diff_trees(before.as_ref(), &tree)?.stats()?;
        let surplus = earlier.len().saturating_sub(KEPT);
        for old in earlier.iter().take(surplus) {
            self.repository.find_reference(&old.reference)?.delete()?;
        }
        Ok(Checkpoint {
            reference,
            files: stats.files_changed() as u64,
            insertions: stats.insertions() as u64,
            deletions: stats.deletions() as u64,
            left_out,
        })
    }

    /// All that the workspace holds now, as a tree, and what was left out of it.
    ///
    /// The index is read and never written: it knows which files have not changed, and the agent's
    /// own git may be using it.
    fn present(&self) -> Result<(Tree<'_>, Vec<String>), git2::Error> {
        let mut index = self.repository.index()?;
        let mut left_out = Vec::new();
        let mut tracked_or_small = |path: &Path, _pathspec: &[u8]| {
            // A repository within is not this one's, and libgit2 has no name for it without HEAD.
            if path.as_os_str().as_bytes().ends_with(b"/") {
                left_out.push(path.display().to_string());
                return 1;
            }
            let at = self.path.join(path);
            let size = at.symlink_metadata().map_or(0, |metadata| metadata.len());
            // Nobody reads the index while it is added to; a tracked file is in HEAD.
            if size > LARGEST_UNTRACKED && !self.is_in_head(path) {
                left_out.push(path.display().to_string());
                return 1;
            }
            0
        };
        index.add_all(["*"], IndexAddOption::DEFAULT, Some(&mut tracked_or_small))?;
        index.update_all(["*"], None)?;
        let tree = index.write_tree()?;
        // What was added is forgotten again: the next one reads the agent's index anew.
        index.read(true)?;
        Ok((self.repository.find_tree(tree)?, left_out))
    }

    fn is_in_head(&self, path: &Path) -> bool {
        let head = self.head_tree();
        head.is_some_and(|tree| tree.get_path(path).is_ok())
    }

    fn head_tree(&self) -> Option<Tree<'_>> {
        self.repository.head().ok()?.peel_to_tree().ok()
    }

    fn commit(
        &self,
        reference: &str,
        name: &str,
        author: Option<&Author>,
        tree: &Tree<'_>,
    ) -> Result<(), git2::Error> {
        let we = Signature::now("agent-runner", "agent-runner@localhost")?;
        let who = match author {
            Some(author) => Signature::now(author.name(), author.address())?,
            None => we.clone(),
        };
        let head = self.repository.head();
        let head = head.and_then(|head| head.peel_to_commit()).ok();
        let parents: Vec<_> = head.iter().collect();
        let message = format!("agent-runner checkpoint: {name}");
        let commit = self
            .repository
            .commit(None, &who, &we, &message, tree, &parents)?;
        match self.repository.reference(reference, commit, true, &message) {
            Err(error) if error.code() == ErrorCode::Locked => {
                // Nobody else writes this very reference: whoever did has died over it.
                let lock = self
                    .repository
                    .commondir()
                    .join(format!("{reference}.lock"));
                if let Err(error) = std::fs::remove_file(&lock) {
                    let text = format!("cannot remove {}: {error}", lock.display());
                    return Err(git2::Error::from_str(&text));
                }
                self.repository
                    .reference(reference, commit, true, &message)?;
            }
            made => drop(made?),
        }
        Ok(())
    }

    /// What is there, oldest first; of one session, or of all.
    pub fn list(&self, session: Option<&str>) -> Result<Vec<Listed>, CheckpointError> {
        let found = self.read_refs(session);
        let mut found = found.map_err(|source| self.fault(source))?;
        // Of one session by its own count: the clock may have been set back.
        match session {
            Some(_) => found.sort_by_key(|listed| listed.ordinal),
            None => found.sort_by_key(|listed| (listed.at, listed.ordinal)),
        }
        Ok(found)
    }

    fn read_refs(&self, session: Option<&str>) -> Result<Vec<Listed>, git2::Error> {
        let glob = format!("refs/agent-runner/{}/*", session.unwrap_or("*"));
        let mut found = Vec::new();
        for reference in self.repository.references_glob(&glob)? {
            let reference = reference?;
            // Anyone may make refs: what is none of ours is passed over.
            let Ok(name) = reference.name() else { continue };
            let Some((session, ordinal, name)) = parse(name) else {
                continue;
            };
            let Ok(commit) = reference.peel_to_commit() else {
                continue;
            };
            found.push(Listed {
                session: session.to_owned(),
                ordinal,
                name: name.to_owned(),
                at: commit.time().seconds(),
                reference: reference.name().unwrap_or_default().to_owned(),
                tree: commit.tree_id(),
            });
        }
        Ok(found)
    }

    /// The checkpoint with this name or place: of that session, or of the one that took the last.
    pub fn find(&self, wanted: &str, session: Option<&str>) -> Result<Listed, CheckpointError> {
        let unknown = |session: Option<&str>| CheckpointError::Unknown {
            wanted: wanted.to_owned(),
            session: session.map(str::to_owned),
        };
        let all = self.list(session)?;
        let session = match (session, all.last()) {
            (Some(session), _) => session.to_owned(),
            (None, Some(last)) => last.session.clone(),
            (None, None) => return Err(self.without(None)),
        };
        let ordinal: Option<u64> = wanted.parse().ok();
        let found = all.into_iter().find(|listed| {
            listed.session == session && (listed.name == wanted || Some(listed.ordinal) == ordinal)
        });
        found.ok_or_else(|| unknown(Some(&session)))
    }

    /// There is no checkpoint: of that session, or at all.
    pub fn without(&self, session: Option<&str>) -> CheckpointError {
        CheckpointError::None {
            path: self.path().to_owned(),
            session: session.map(str::to_owned),
        }
    }

    /// Writes what changed from the checkpoint to the workspace as it is now.
    pub fn write_since(
        &self,
        from: &Listed,
        form: Form,
        out: &mut dyn io::Write,
    ) -> Result<(), CheckpointError> {
        let fault = |source| self.fault(source);
        let from = self.repository.find_tree(from.tree).map_err(fault)?;
        let (now, _) = self.present().map_err(fault)?;
        self.write(Some(&from), &now, form, out)
    }

    /// Writes what changed from the session's checkpoint before to this one.
    pub fn write_of(
        &self,
        to: &Listed,
        form: Form,
        out: &mut dyn io::Write,
    ) -> Result<(), CheckpointError> {
        let fault = |source| self.fault(source);
        let all = self.list(Some(&to.session))?;
        let before = all.iter().rfind(|listed| listed.ordinal < to.ordinal);
        let before = before.map(|listed| self.repository.find_tree(listed.tree));
        let before = before
            .transpose()
            .map_err(fault)?
            .or_else(|| self.head_tree());
        let to = self.repository.find_tree(to.tree).map_err(fault)?;
        self.write(before.as_ref(), &to, form, out)
    }

    fn write(
        &self,
        from: Option<&Tree<'_>>,
        to: &Tree<'_>,
        form: Form,
        out: &mut dyn io::Write,
    ) -> Result<(), CheckpointError> {
        let diff = self
            .diff_trees(from, to)
            .map_err(|source| self.fault(source))?;
        if form == Form::Stat {
            return self.write_stat(&diff, out);
        }
        let mut written = Ok(());
        let printed = diff.print(DiffFormat::Patch, |_, _, line| {
            let origin = line.origin();
            let mark: &[u8] = match origin {
                '+' | '-' | ' ' => &[u8::try_from(origin).unwrap_or(b' ')],
                _ => b"",
            };
            written = out
                .write_all(mark)
                .and_then(|()| out.write_all(line.content()));
            written.is_ok()
        });
        written?;
        printed.map_err(|source| self.fault(source))
    }

    fn write_stat(&self, diff: &Diff<'_>, out: &mut dyn io::Write) -> Result<(), CheckpointError> {
        const WIDTH: usize = 80;
        let stats = diff.stats().map_err(|source| self.fault(source))?;
        let text = stats.to_buf(git2::DiffStatsFormat::FULL, WIDTH);
        let text = text.map_err(|source| self.fault(source))?;
        out.write_all(&text)?;
        Ok(())
    }

    fn diff_trees(&self, from: Option<&Tree<'_>>, to: &Tree<'_>) -> Result<Diff<'_>, git2::Error> {
        let mut options = DiffOptions::new();
        options.max_size(LARGEST_COMPARED);
        self.repository
            .diff_tree_to_tree(from, Some(to), Some(&mut options))
    }

    /// Makes the workspace's files what they were; returns the checkpoint that was taken of what
    /// they are now. The branch and the index stay where they are; ignored files are not touched.
    pub fn restore(&self, to: &Listed, undo: &str) -> Result<Checkpoint, CheckpointError> {
        let kept = self.take(&to.session, undo, None)?;
        crash_point!("restore.kept");
        let fault = |source| self.fault(source);
        let tree = self.repository.find_tree(to.tree).map_err(fault)?;
        let (now, _) = self.present().map_err(fault)?;
        self.remove_new(&now, &tree).map_err(fault)?;
        crash_point!("restore.removed");
        let mut files = CheckoutBuilder::new();
        files.force().update_index(false);
        files.progress(|_, _, _| {
            crash_point!("restore.file_written");
        });
        self.repository
            .checkout_tree(tree.as_object(), Some(&mut files))
            .map_err(fault)?;
        Ok(kept)
    }

    /// Removes the files that are in `now` and not in `then`; what was too large for a checkpoint is
    /// in neither, and stays.
    fn remove_new(&self, now: &Tree<'_>, then: &Tree<'_>) -> Result<(), git2::Error> {
        for delta in self.diff_trees(Some(now), then)?.deltas() {
            let is_new = delta.status() == git2::Delta::Deleted;
            let Some(path) = delta.old_file().path().filter(|_| is_new) else {
                continue;
            };
            let at = self.path.join(path);
            match std::fs::remove_file(&at) {
                Ok(()) => {
                    self.remove_empty_folders(path);
                    crash_point!("restore.file_removed");
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let text = format!("cannot remove {}: {error}", at.display());
                    return Err(git2::Error::from_str(&text));
                }
            }
        }
        Ok(())
    }

    fn remove_empty_folders(&self, path: &Path) {
        for folder in path
            .ancestors()
            .skip(1)
            .filter(|folder| *folder != Path::new(""))
        {
            if std::fs::remove_dir(self.path.join(folder)).is_err() {
                return; // not empty
            }
        }
    }

    fn fault(&self, source: git2::Error) -> CheckpointError {
        CheckpointError::Git {
            path: self.path.clone(),
            source,
        }
    }
}

/// How a difference is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Each changed line.
    Patch,
    /// A line for each file.
    Stat,
}

/// Session, place and name of a ref of ours.
fn parse(reference: &str) -> Option<(&str, u64, &str)> {
    let (session, rest) = reference
        .strip_prefix("refs/agent-runner/")?
        .split_once('/')?;
    let (ordinal, name) = rest.split_once('-')?;
    Some((session, ordinal.parse().ok()?, name))
}
