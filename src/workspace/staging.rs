//! A folder to clone into that becomes the workspace when all is well, and nothing otherwise.
//!
//! Beside the workspace where that does not exist yet: one rename makes it. Within it where it
//! exists and is empty, which may be a mount point that cannot be renamed: its entries move up,
//! `.git` last, so that a folder without `.git` was never finished.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::clock::Clock;
use crate::files;

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

    /// Makes it the workspace.
    pub(super) fn finish(self) -> io::Result<()> {
        if !self.within {
            return fs::rename(&self.path, &self.target);
        }
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            if name != ".git" {
                fs::rename(self.path.join(&name), self.target.join(&name))?;
            }
        }
        fs::rename(self.path.join(".git"), self.target.join(".git"))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Gone already when it became the workspace.
        fs::remove_dir_all(&self.path).ok();
    }
}
