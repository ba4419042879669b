//! Whose the state dir is: whoever owns a folder, or may write to it, can put other files in the
//! place of those in it, however closed these are.
//!
//! With an agent of another user the state dir must be the daemon's, or root's: a volume that was
//! given to the agent, or one that everybody may write to, is no place for keys and the journal.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;

use rustix::process::{getegid, geteuid};

/// What group and others must not do to the folder.
const WRITING: u32 = 0o022;

/// The owner of the state dir, where that is neither this process's user nor root, and the folder
/// cannot be taken over: [`take_over`] does that where it is empty and this process is root.
pub fn stranger(state_dir: &Path) -> io::Result<Option<u32>> {
    let owner = state_dir.metadata()?.uid();
    let may_take = geteuid().is_root() && is_empty(state_dir)?;
    Ok((!is_trusted(owner) && !may_take).then_some(owner))
}

/// Makes sure that nobody else owns the folder or may write to it, and gives the owner where that
/// cannot be. Root takes an empty one: a folder that a person has made for a container's volume.
pub(super) fn take_over(state_dir: &Path) -> io::Result<Option<u32>> {
    let folder = File::open(state_dir)?;
    let found = folder.metadata()?;
    if !is_trusted(found.uid()) {
        let own = (geteuid().as_raw(), getegid().as_raw());
        if !geteuid().is_root() || fchown(&folder, Some(own.0), Some(own.1)).is_err() {
            return Ok(Some(found.uid()));
        }
        // Looked at when it is ours, so that nothing was put there since.
        close(&folder)?;
        if !is_empty(state_dir)? {
            fchown(&folder, Some(found.uid()), Some(found.gid()))?;
            return Ok(Some(found.uid()));
        }
    } else if found.uid() == geteuid().as_raw() {
        close(&folder)?;
    }
    Ok(None)
}

fn close(folder: &File) -> io::Result<()> {
    let mode = folder.metadata()?.mode();
    if mode & WRITING == 0 {
        return Ok(());
    }
    folder.set_permissions(Permissions::from_mode(mode & 0o7777 & !WRITING))
}

/// A volume of root's with this user's group is what Kubernetes makes of `fsGroup`.
fn is_trusted(owner: u32) -> bool {
    owner == geteuid().as_raw() || owner == 0
}

fn is_empty(folder: &Path) -> io::Result<bool> {
    Ok(std::fs::read_dir(folder)?.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: u32 = 1000;

    #[allow(clippy::print_stderr)]
    fn given_to_the_agent() -> Option<tempfile::TempDir> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        if !geteuid().is_root() {
            eprintln!("skipped: only root can give a folder away (run it as root)");
            return None;
        }
        std::os::unix::fs::chown(dir.path(), Some(AGENT), Some(AGENT)).unwrap();
        Some(dir)
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_closed_to_them() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        assert_eq!(take_over(dir.path()).unwrap(), None);
        assert_eq!(dir.path().metadata().unwrap().mode() & 0o777, 0o755);
    }

    #[test]
    fn an_empty_folder_of_the_agents_is_taken_by_root() {
        let Some(dir) = given_to_the_agent() else {
            return;
        };
        assert_eq!(stranger(dir.path()).unwrap(), None);
        assert_eq!(take_over(dir.path()).unwrap(), None);
        let found = dir.path().metadata().unwrap();
        assert_eq!((found.uid(), found.mode() & 0o777), (0, 0o755));
    }

    #[test]
    fn a_folder_that_the_agent_may_have_filled_is_none_of_ours() {
        let Some(dir) = given_to_the_agent() else {
            return;
        };
        std::fs::write(dir.path().join("config.toml"), "").unwrap();
        assert_eq!(stranger(dir.path()).unwrap(), Some(AGENT));
        assert_eq!(take_over(dir.path()).unwrap(), Some(AGENT));
        assert_eq!(dir.path().metadata().unwrap().uid(), AGENT);
    }
}
