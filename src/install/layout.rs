//! Where installed CLIs lie in a prefix.
//!
//! ```text
//! <prefix>/claude                                  -> .agent-runner/claude/2.1.197/…/claude
//! <prefix>/.agent-runner/claude/2.1.197/           a release, whole, with its receipt
//! <prefix>/.agent-runner/claude.lock               held while claude is installed
//! <prefix>/.agent-runner/.staging-claude-<uuid>    not yet a release
//! ```
//!
//! Invariants: a link and a release's folder appear by one rename, so that whoever looks sees the
//! old one or the new one, whole. Whoever holds an agent's lock is the only one that writes its
//! entries; staging folders that the holder finds are of installs that died. Only links into
//! `.agent-runner` are ever replaced.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::catalog::Release;
use super::error::InstallError;
use crate::clock::Clock;
use crate::files;

const STORE: &str = ".agent-runner";

/// A folder with installed CLIs, or one that is to become that.
#[derive(Debug)]
pub(super) struct Prefix {
    root: PathBuf,
}

impl Prefix {
    /// Touches nothing yet.
    pub(super) fn new(root: &Path) -> Result<Self, InstallError> {
        let root = std::path::absolute(root).map_err(InstallError::unusable(root))?;
        Ok(Self { root })
    }

    /// The executable that the link of the agent called `name` leads to, when agent-runner put it
    /// there.
    pub(super) fn linked(&self, name: &str) -> Option<PathBuf> {
        let target = std::fs::read_link(self.root.join(name)).ok()?;
        target.starts_with(STORE).then(|| self.root.join(target))
    }

    /// A release's folder.
    pub(super) fn release(&self, release: &Release) -> PathBuf {
        self.store().join(release.name).join(release.version)
    }

    /// An error where somebody else's file has the link's name.
    pub(super) fn check_link(&self, release: &Release) -> Result<(), InstallError> {
        let path = self.root.join(release.name);
        match path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(InstallError::Unusable { path, source }),
            Ok(_) if self.linked(release.name).is_some() => Ok(()),
            Ok(_) => Err(InstallError::Occupied { path }),
        }
    }

    /// Creates the prefix where it is missing, and takes the agent's lock when it is free.
    pub(super) fn try_lock(&self, release: &Release) -> Result<Option<AgentLock>, InstallError> {
        // Not private: what lies here is public, and agents may run as another user.
        let store = self.store();
        std::fs::create_dir_all(&store).map_err(InstallError::unusable(&store))?;
        let path = store.join(format!("{}.lock", release.name));
        let file = files::append_private(&path).map_err(InstallError::unusable(&path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(AgentLock { file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(InstallError::Unusable {
                path,
                source: error.into(),
            }),
        }
    }

    /// A new staging folder; removes those of installs that died.
    pub(super) fn stage(
        &self,
        release: &Release,
        _lock: &AgentLock,
    ) -> Result<Staging, InstallError> {
        self.clear(release)?;
        let name = format!("{}{}", staging_prefix(release), Clock.new_uuid());
        let path = self.store().join(name);
        std::fs::create_dir(&path).map_err(InstallError::unusable(&path))?;
        Ok(Staging { path })
    }

    /// Removes what installs that died have left: whoever holds the lock has nothing of its own yet, or
    /// has published it.
    fn clear(&self, release: &Release) -> Result<(), InstallError> {
        let prefix = staging_prefix(release);
        let store = self.store();
        let entries = std::fs::read_dir(&store).map_err(InstallError::unusable(&store))?;
        for entry in entries {
            let entry = entry.map_err(InstallError::unusable(&store))?;
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                remove(&entry.path()).map_err(InstallError::unusable(entry.path()))?;
            }
        }
        Ok(())
    }

    /// Makes a staging folder the release's folder. A broken release in its place is removed.
    pub(super) fn publish(
        &self,
        release: &Release,
        staging: &Staging,
        _lock: &AgentLock,
    ) -> Result<(), InstallError> {
        let path = self.release(release);
        let unusable = |source| InstallError::Unusable {
            path: path.clone(),
            source,
        };
        let agent = self.store().join(release.name);
        std::fs::create_dir_all(&agent).map_err(unusable)?;
        remove(&path).map_err(unusable)?;
        crash_point!("install.broken_removed");
        std::fs::rename(&staging.path, &path).map_err(unusable)?;
        files::sync_dir(&agent).map_err(unusable)
    }

    /// Points the agent's link at `executable` (relative to the release's folder).
    pub(super) fn link(
        &self,
        release: &Release,
        executable: &Path,
        _lock: &AgentLock,
    ) -> Result<(), InstallError> {
        self.check_link(release)?;
        let path = self.root.join(release.name);
        let unusable = |source| InstallError::Unusable {
            path: path.clone(),
            source,
        };
        let target: PathBuf = [STORE, release.name, release.version].iter().collect();
        let new = format!("{}link-{}", staging_prefix(release), Clock.new_uuid());
        let new = self.store().join(new);
        self.clear(release)?;
        std::os::unix::fs::symlink(target.join(executable), &new).map_err(unusable)?;
        crash_point!("install.link_made");
        std::fs::rename(&new, &path).map_err(unusable)?;
        files::sync_dir(&self.root).map_err(unusable)
    }

    fn store(&self) -> PathBuf {
        self.root.join(STORE)
    }
}

/// How the names begin of what is not in its place yet.
fn staging_prefix(release: &Release) -> String {
    format!(".staging-{}-", release.name)
}

/// The right to change an agent's entries, until it and all its shares are closed.
#[derive(Debug)]
pub(super) struct AgentLock {
    file: File,
}

impl AgentLock {
    /// The same lock for a child to hold.
    pub(super) fn share(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

/// A folder that is removed unless it was published.
#[derive(Debug)]
pub(super) struct Staging {
    pub(super) path: PathBuf,
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next install.
        drop(remove(&self.path));
    }
}

/// Removes whatever `path` is; fine when it is nothing.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalog::release;
    use super::*;

    #[test]
    fn the_lock_is_held_while_a_share_of_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        let prefix = Prefix::new(dir.path()).unwrap();
        let claude = release("claude").unwrap();
        let lock = prefix.try_lock(claude).unwrap().unwrap();
        let share = lock.share().unwrap();
        drop(lock);
        assert!(prefix.try_lock(claude).unwrap().is_none());
        assert!(
            prefix
                .try_lock(release("codex").unwrap())
                .unwrap()
                .is_some()
        );
        drop(share);
        assert!(prefix.try_lock(claude).unwrap().is_some());
    }

    #[test]
    fn only_its_own_link_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let prefix = Prefix::new(dir.path()).unwrap();
        let claude = release("claude").unwrap();
        let lock = prefix.try_lock(claude).unwrap().unwrap();
        prefix.link(claude, Path::new("a"), &lock).unwrap();
        prefix.link(claude, Path::new("b"), &lock).unwrap();
        let expected = prefix.release(claude).join("b");
        assert_eq!(prefix.linked("claude"), Some(expected));

        let own = dir.path().join("claude");
        std::fs::remove_file(&own).unwrap();
        std::fs::write(&own, "the user's").unwrap();
        let error = prefix.link(claude, Path::new("a"), &lock).unwrap_err();
        assert!(matches!(error, InstallError::Occupied { .. }), "{error}");
        assert_eq!(std::fs::read(&own).unwrap(), b"the user's");
    }

    #[test]
    fn a_new_staging_folder_clears_those_left_behind_for_the_same_agent() {
        let dir = tempfile::tempdir().unwrap();
        let prefix = Prefix::new(dir.path()).unwrap();
        let claude = release("claude").unwrap();
        let lock = prefix.try_lock(claude).unwrap().unwrap();
        let left = prefix.store().join(".staging-claude-1/node_modules");
        let other = prefix.store().join(".staging-codex-1");
        std::fs::create_dir_all(&left).unwrap();
        std::fs::create_dir_all(&other).unwrap();
        let staging = prefix.stage(claude, &lock).unwrap();
        assert!(!left.exists() && other.exists() && staging.path.exists());
    }
}
