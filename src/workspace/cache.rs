//! What was fetched before: the next clone of a repository fetches only what is new in it.
//!
//! An entry is a bare repository that no workspace shares a file with: objects are copied into the
//! workspace, for whoever owns one can change its files, and what others clone must not change with
//! them. The server is asked every time, with the credentials of the clone at hand: a cache opens no
//! repository to those who may not read it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use git2::{Repository, RepositoryInitOptions};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::source::open;
use crate::files;

/// Where entries are, and how much they may hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// The folder.
    pub path: PathBuf,
    /// When all entries together are above this, in bytes, the ones that were used longest ago go.
    pub limit: u64,
}

/// How much of a repository's past an entry holds. A past that was cut off and a whole one have
/// entries of their own: git cannot tell what is missing in a mixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    Commits(u32),
    Whole,
}

impl Depth {
    fn name(self) -> String {
        match self {
            Self::Commits(1) => "tip".to_owned(),
            Self::Commits(commits) => format!("last-{commits}"),
            Self::Whole => "whole".to_owned(),
        }
    }
}

/// One repository's entry, locked as long as this lives.
pub(super) struct Entry {
    repository: Repository,
    lock_path: PathBuf,
    _lock: File,
}

impl Entry {
    /// Opens or makes the entry of an address; waits while another clone uses it.
    pub(super) fn open(cache: &Cache, url: &str, depth: Depth) -> io::Result<Self> {
        let name = Uuid::new_v5(&Uuid::NAMESPACE_URL, url.as_bytes());
        let name = format!("{name}-{}", depth.name());
        let lock_path = cache.path.join(format!("{name}.lock"));
        let lock = loop {
            files::create_private_dir(&cache.path)?;
            let lock = match files::append_private(&lock_path) {
                // Whoever had the last entry has just taken the folder away with it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                lock => lock?,
            };
            flock(&lock, FlockOperation::LockExclusive)?;
            // Whoever held it may have removed it: then it locks nothing.
            let named = lock_path.metadata().map(|metadata| metadata.ino());
            if named.is_ok_and(|named| lock.metadata().is_ok_and(|lock| lock.ino() == named)) {
                break lock;
            }
        };
        // Its time is what says when the entry was used last.
        lock.set_modified(now())?;
        let path = cache.path.join(name);
        let repository = match open(&path) {
            Ok(repository) => repository,
            Err(_) => make(&path).map_err(io::Error::other)?,
        };
        Ok(Self {
            repository,
            lock_path,
            _lock: lock,
        })
    }

    pub(super) fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Takes the entry away again where nothing was ever fetched into it.
    pub(super) fn discard_if_empty(self) {
        let mut references = self.repository.references();
        let is_empty = references
            .as_mut()
            .map_or(true, |found| found.next().is_none());
        drop(references);
        if is_empty {
            // What stays is made use of, or made anew, by the next clone.
            fs::remove_dir_all(self.repository.path()).ok();
            fs::remove_file(&self.lock_path).ok();
            // The folders as well, unless there are other entries.
            for folder in self.lock_path.ancestors().skip(1).take(2) {
                fs::remove_dir(folder).ok();
            }
        }
    }

    /// Copies all objects, and how far they go back, into a new repository; `refspecs` say which
    /// references are the clone's own.
    pub(super) fn copy_into(
        &self,
        workspace: &Repository,
        refspecs: &[String],
    ) -> Result<(), git2::Error> {
        let broken = |error: io::Error| git2::Error::from_str(&error.to_string());
        let from = self.repository.path();
        copy_tree(&from.join("objects"), &workspace.path().join("objects")).map_err(broken)?;
        match fs::copy(from.join("shallow"), workspace.path().join("shallow")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(broken(error)),
            _ => {}
        }
        for refspec in refspecs {
            let Some((_, target)) = refspec.split_once(':') else {
                continue;
            };
            for reference in self.repository.references_glob(target)? {
                let reference = reference?;
                if let (Ok(name), Some(target)) = (reference.name(), reference.target()) {
                    workspace.reference(name, target, true, "clone")?;
                }
            }
        }
        Ok(())
    }
}

fn make(path: &Path) -> Result<Repository, git2::Error> {
    // What is there and is no repository is the rest of one.
    if path.exists() {
        fs::remove_dir_all(path).map_err(|error| git2::Error::from_str(&error.to_string()))?;
    }
    let mut plain = RepositoryInitOptions::new();
    plain.bare(true).external_template(false).no_reinit(true);
    Repository::init_opts(path, &plain)
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    files::create_private_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Removes entries, those that were used longest ago first, until the rest is within the limit. An
/// entry that is in use stays.
pub(super) fn trim(cache: &Cache) -> io::Result<()> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(&cache.path)? {
        let lock = entry?.path();
        if lock
            .extension()
            .is_some_and(|extension| extension == "lock")
        {
            let used = lock.metadata()?.modified()?;
            entries.push((used, size(&lock.with_extension(""))?, lock));
        }
    }
    entries.sort();
    let mut total: u64 = entries.iter().map(|(_, size, _)| size).sum();
    for (_, size, path) in entries {
        if total <= cache.limit {
            break;
        }
        let lock = File::open(&path)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        let folder = path.with_extension("");
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        total -= size;
    }
    Ok(())
}

fn size(folder: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut total = 0;
    for entry in entries {
        let entry = entry?;
        total += if entry.file_type()?.is_dir() {
            size(&entry.path())?
        } else {
            entry.metadata()?.len()
        };
    }
    Ok(total)
}

#[allow(clippy::disallowed_methods)] // a file's stamp, which is wall time by nature
fn now() -> SystemTime {
    SystemTime::now()
}
