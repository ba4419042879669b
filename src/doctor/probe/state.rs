//! Looks at the state dir without making it.

use std::path::Path;

use rustix::fs::{Access, access, statvfs};

use super::super::state::StateFacts;
use crate::journal::{StateLock, stranger};

/// Looks at the state dir, or at the folder that it would be made in.
pub(in super::super) fn state(path: &Path) -> StateFacts {
    let exists = path.is_dir();
    let there = path
        .ancestors()
        .find(|folder| folder.symlink_metadata().is_ok())
        .unwrap_or(Path::new("/"));
    let usable = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    let fault = if there.is_dir() {
        let fault = access(there, usable).err();
        fault
            .map(|error| format!("{}: {error}", there.display()))
            .or_else(|| foreign(path))
    } else {
        Some(format!("{} is no folder", there.display()))
    };
    let (holder, locked) = match StateLock::holder(path) {
        Ok(holder) => (holder, None),
        // What is no folder was said already.
        Err(_) if !exists => (None, None),
        Err(error) => (None, Some(format!("its lock file: {error}"))),
    };
    StateFacts {
        path: path.to_owned(),
        exists,
        fault: fault.or(locked),
        holder,
        free_bytes: statvfs(there)
            .ok()
            .map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
    }
}

fn foreign(path: &Path) -> Option<String> {
    let owner = stranger(path).ok()??;
    Some(format!("it belongs to user {owner}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_dir_is_looked_at_and_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let facts = state(&path);
        assert!(!facts.exists && facts.fault.is_none() && !path.exists());
        assert!(facts.free_bytes.unwrap() > 0);

        let lock = StateLock::take(&path).unwrap();
        let own = std::process::id().to_string();
        assert_eq!(state(&path).holder, Some(own));
        drop(lock);
        assert_eq!(state(&path).holder, None);
    }

    #[test]
    fn a_file_in_its_place_or_on_the_way_is_a_fault() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("state")] {
            let fault = state(&path).fault.unwrap();
            assert!(fault.contains("is no folder"), "{fault}");
        }
    }
}
