//! A folder to clone into that becomes the workspace when all is well, and nothing otherwise.
//!
//! Beside the workspace where that does not exist yet: one rename makes it. Within it where it
//! exists and is empty, which may be a mount point that cannot be renamed: its entries move up,
//! `.git` last, so that a folder without `.git` was never finished.
//!
//! What is another user's in the end is given to them before it is there, the folder that was there
//! last: as long as that is ours, nobody else changes what is in it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::clock::Clock;
use crate::{files, process};

/// What marks a folder as the rest of a clone that was cut off.
const MARK: &str = ".agent-runner-cloning-";

pub(super) struct Staging {
    path: PathBuf,
    target: PathBuf,
    within: bool,
}

impl Staging {
    /// Makes the folder, and removes those that a crash left. `None`: `target` is not empty.
    pub(super) fn open(target: &Path, clock: Clock) -> io::Result<Option<Self>> {
        let within = target.exists();
        let parent = if within {
            target
        } else {
            target.parent().ok_or(io::ErrorKind::InvalidInput)?
        };
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let mark = if within {
            MARK.to_owned()
        } else {
            format!("{MARK}{name}-")
        };
        files::create_private_dir(parent)?;
        for entry in fs::read_dir(parent)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&mark) {
                fs::remove_dir_all(entry.path())?;
            } else if within {
                return Ok(None);
            }
        }
        let path = parent.join(format!("{mark}{}", clock.new_uuid()));
        files::create_private_dir(&path)?;
        Ok(Some(Self {
            path,
            target: target.to_owned(),
            within,
        }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it the workspace, of `owner` where that is another user.
    pub(super) fn finish(self, owner: Option<(u32, u32)>) -> io::Result<()> {
        if !self.within {
            if let Some(owner) = owner {
                process::give(&self.path, owner)?;
            }
            return fs::rename(&self.path, &self.target);
        }
        if let Some(owner) = owner {
            process::give_content_of(&self.path, owner)?;
        }
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            if name != ".git" {
                fs::rename(self.path.join(&name), self.target.join(&name))?;
            }
        }
        fs::rename(self.path.join(".git"), self.target.join(".git"))?;
        fs::remove_dir(&self.path)?;
        owner.map_or(Ok(()), |owner| give_rest(&self.target, owner))
    }
}

/// Gives the folder of a clone to its owner, where a crash came between: all that is in it was
/// given before.
pub(super) fn give_rest(target: &Path, owner: (u32, u32)) -> io::Result<()> {
    let is_theirs = |path: &Path| {
        let found = path.symlink_metadata();
        found.is_ok_and(|found| found.uid() == owner.0)
    };
    if is_theirs(&target.join(".git")) && !is_theirs(target) {
        process::give_alone(target, owner)?;
    }
    Ok(())
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Gone already when it became the workspace.
        fs::remove_dir_all(&self.path).ok();
    }
}
