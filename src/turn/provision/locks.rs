//! Locks that a CLI's dead processes have left in its home.
//!
//! A CLI that is killed holds its locks for good, as far as the next one knows: OpenCode waits a
//! minute for each before it takes it for abandoned. Here a lock is taken away whose owner is known
//! to be gone: a process of this machine, by the host's name, that is not there any more. What
//! cannot be read, or is of another machine or container, is left to the CLI.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::agent::{HomeLocks, LockOwner};
use crate::files;
use crate::process;

/// The most that is read of a file that names an owner.
const OWNER_BYTES: u64 = 4 * 1024;

/// Takes away the locks of the dead.
pub(super) fn release(home: &Path, locks: &HomeLocks) -> io::Result<()> {
    let entries = match std::fs::read_dir(home.join(locks.folder)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let host = process::host_name()?;
    for entry in entries {
        let lock = entry?.path();
        let name = lock.file_name().unwrap_or_default();
        if name.as_encoded_bytes().ends_with(locks.name_end.as_bytes())
            && is_of_the_dead(&lock, locks, &host)
        {
            take_away(&lock, locks, &host)?;
        }
    }
    Ok(())
}

fn is_of_the_dead(lock: &Path, locks: &HomeLocks, host: &str) -> bool {
    let is_dead = |owner: LockOwner| owner.host == host && !process::is_there(owner.pid);
    owner(lock, locks).is_some_and(is_dead)
}

fn owner(lock: &Path, locks: &HomeLocks) -> Option<LockOwner> {
    let mut content = Vec::new();
    let file = files::open_plain(&lock.join(locks.owner_file)).ok()?;
    file.take(OWNER_BYTES).read_to_end(&mut content).ok()?;
    locks.owner(&content)
}

/// In the CLI's own way: whoever has made the breaker's folder is alone with the lock, so that none
/// is taken away that a living process has just taken over.
fn take_away(lock: &Path, locks: &HomeLocks, host: &str) -> io::Result<()> {
    let mut breaker = lock.as_os_str().to_owned();
    breaker.push(locks.breaker_end);
    let breaker = PathBuf::from(breaker);
    if std::fs::create_dir(&breaker).is_err() {
        return Ok(());
    }
    let taken = if is_of_the_dead(lock, locks, host) {
        tracing::info!(lock = %lock.display(), "a dead process of the agent's CLI held this lock");
        std::fs::remove_dir_all(lock)
    } else {
        Ok(())
    };
    std::fs::remove_dir(&breaker)?;
    taken
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;
    use crate::agent::{TurnSpec, by_name};

    struct Held {
        home: tempfile::TempDir,
        locks: &'static HomeLocks,
    }

    impl Held {
        fn new() -> Self {
            let opencode = by_name("opencode").unwrap();
            let plan = (opencode.plan)(&TurnSpec::plain()).unwrap();
            let locks = plan.home_locks.unwrap();
            let home = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(home.path().join(locks.folder)).unwrap();
            Self { home, locks }
        }

        fn lock(&self, name: &str) -> PathBuf {
            self.home.path().join(self.locks.folder).join(name)
        }

        fn hold(&self, name: &str, pid: u32, host: &str) {
            let lock = self.lock(name);
            std::fs::create_dir(&lock).unwrap();
            std::fs::write(lock.join("heartbeat"), "").unwrap();
            let meta = serde_json::json!({"token": "t", "pid": pid, "hostname": host});
            std::fs::write(lock.join(self.locks.owner_file), meta.to_string()).unwrap();
        }

        fn release(&self) -> Vec<String> {
            release(self.home.path(), self.locks).unwrap();
            let entries = std::fs::read_dir(self.home.path().join(self.locks.folder)).unwrap();
            let mut names: Vec<_> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    fn dead() -> u32 {
        let mut child: Child = Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        pid
    }

    #[test]
    fn only_locks_of_the_dead_of_this_machine_are_taken_away() {
        let held = Held::new();
        let (dead, host) = (dead(), process::host_name().unwrap());
        held.hold("dead.lock", dead, &host);
        held.hold("living.lock", std::process::id(), &host);
        held.hold("elsewhere.lock", dead, &format!("not-{host}"));
        held.hold("other", dead, &host);
        std::fs::create_dir(held.lock("new.lock")).unwrap();
        let left = ["elsewhere.lock", "living.lock", "new.lock", "other"];
        assert_eq!(held.release(), left);
        assert_eq!(held.release(), left, "again");
    }

    #[test]
    fn a_lock_that_is_being_taken_over_is_left_to_whoever_does() {
        let held = Held::new();
        held.hold("dead.lock", dead(), &process::host_name().unwrap());
        std::fs::create_dir(held.lock("dead.lock.breaker")).unwrap();
        assert_eq!(held.release(), ["dead.lock", "dead.lock.breaker"]);
    }

    #[test]
    fn a_home_without_locks_is_as_it_was() {
        let held = Held::new();
        let home = tempfile::tempdir().unwrap();
        release(home.path(), held.locks).unwrap();
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
