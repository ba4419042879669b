//! One daemon per state dir: a lock that the kernel drops with the process, however it ends.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::owner;
use crate::files;

/// How often a lock that another has is tried, and the pause between: a second in all, in which even
/// a busy machine gets from `fork` to `execve`.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// The state dir's lock; held until dropped.
#[derive(Debug)]
pub struct StateLock {
    path: PathBuf,
    file: File,
}

/// Why a state dir cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateLockError {
    /// It cannot be made or written to.
    #[error(
        "state dir {path} cannot be used: {source}; give another with --state-dir, or mend its \
         owner and mode"
    )]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its owner is neither this user nor root, and could put other files in the place of ours.
    #[error(
        "state dir {path} belongs to user {owner}, who could read and change what is in it; give \
         it to the daemon's user (chown -R {own} {path}), or give another with --state-dir"
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// The user of this process.
        own: u32,
    },
    /// Another daemon has it.
    #[error(
        "state dir {path} is in use by another daemon (pid {pid}); talk to that one, stop it, or \
         give another --state-dir"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The other daemon, as its lock file says.
        pid: String,
    },
}

impl StateLock {
    /// Creates the state dir (0700) where it is missing, closes it to writing by others, and takes
    /// it.
    pub fn take(state_dir: &Path) -> Result<Self, StateLockError> {
        let unusable = |source| StateLockError::Unusable {
            path: state_dir.to_owned(),
            source,
        };
        files::create_private_dir(state_dir).map_err(unusable)?;
        if let Some(owner) = owner::take_over(state_dir).map_err(unusable)? {
            return Err(StateLockError::Foreign {
                path: state_dir.to_owned(),
                owner,
                own: rustix::process::geteuid().as_raw(),
            });
        }
        let path = state_dir.join("state.lock");
        let mut file = files::append_private(&path).map_err(unusable)?;
        if !lock(&file) {
            let pid = std::fs::read_to_string(&path).unwrap_or_default();
            return Err(StateLockError::InUse {
                path: state_dir.to_owned(),
                pid: pid.trim().to_owned(),
            });
        }
        if !is_at(&file, &path).map_err(unusable)? {
            // Whoever had it discarded the file before we got it.
            return Self::take(state_dir);
        }
        crash_point!("state.locked");
        file.set_len(0).map_err(unusable)?;
        writeln!(file, "{}", std::process::id()).map_err(unusable)?;
        Ok(Self { path, file })
    }

    /// The daemon that has the state dir, as its lock file says; `None` when none has. Makes
    /// nothing. Holds a shared lock for the moment that the question takes.
    pub fn holder(state_dir: &Path) -> io::Result<Option<String>> {
        let path = state_dir.join("state.lock");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(None),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                Ok(Some(std::fs::read_to_string(&path)?.trim().to_owned()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Forgets who holds the lock: for an end in order. The lock holds on until it is dropped.
    pub fn clear(&self) -> io::Result<()> {
        self.file.set_len(0)
    }

    /// The daemon that had the state dir and did not end in order; `None` when one has it, or the
    /// last one did.
    pub fn died(state_dir: &Path) -> io::Result<Option<String>> {
        if Self::holder(state_dir)?.is_some() {
            return Ok(None);
        }
        match std::fs::read_to_string(state_dir.join("state.lock")) {
            Ok(pid) => Ok(Some(pid.trim().to_owned()).filter(|pid| !pid.is_empty())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the lock's file. The lock holds on until it is dropped, for those who have opened
    /// the file already.
    pub fn discard(&self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

/// Locks `file`, and waits a little where another has it: a daemon that was killed while it started
/// a process leaves its lock to that process until its `execve`.
fn lock(file: &File) -> bool {
    for _ in 0..TRIES {
        if flock(file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return true;
        }
        std::thread::sleep(PAUSE);
    }
    false
}

/// Whether the open `file` is still the one of this name.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match path.symlink_metadata() {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_told_who_has_the_state_dir() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let lock = StateLock::take(&state).unwrap();
        let error = StateLock::take(&state).unwrap_err();
        let own = std::process::id().to_string();
        assert!(
            matches!(&error, StateLockError::InUse { pid, .. } if *pid == own),
            "{error}"
        );
        assert_eq!(StateLock::holder(&state).unwrap(), Some(own));
        assert_eq!(StateLock::died(&state).unwrap(), None);
        drop(lock);
        assert_eq!(StateLock::holder(&state).unwrap(), None);
        assert_eq!(
            StateLock::died(&state).unwrap(),
            Some(std::process::id().to_string())
        );
        StateLock::take(&state).unwrap().clear().unwrap();
        assert_eq!(StateLock::died(&state).unwrap(), None);
    }

    #[test]
    fn a_lock_that_is_let_go_meanwhile_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateLock::take(dir.path()).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| StateLock::take(dir.path()).map(drop));
            drop(first);
            second.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_discarded_lock_is_taken_anew() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateLock::take(dir.path()).unwrap();
        first.discard().unwrap();
        let second = StateLock::take(dir.path()).unwrap();
        drop(first);
        assert!(StateLock::take(dir.path()).is_err());
        drop(second);
        // Opened before the file was removed, locked after.
        let stale = files::append_private(&dir.path().join("state.lock")).unwrap();
        std::fs::remove_file(dir.path().join("state.lock")).unwrap();
        assert!(!is_at(&stale, &dir.path().join("state.lock")).unwrap());
    }

    #[test]
    fn a_state_dir_that_is_a_file_is_unusable() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        std::fs::write(&state, b"").unwrap();
        assert!(matches!(
            StateLock::take(&state),
            Err(StateLockError::Unusable { .. })
        ));
    }
}
