//! A folder to clone into that becomes the workspace when all is well, and nothing otherwise.
//!
//! Beside the workspace where that does not exist yet: one rename makes it. Within it where it
//! exists and is empty, which may be a mount point that cannot be renamed: one rename says that the
//! clone is whole, then its entries move up, `.git` last. A death in between is made good by
//! [`resume`]: what is whole goes on moving, what is not is removed and made anew.
//!
//! What is another user's in the end is given to them before it is there, the folder that was there
//! last: as long as that is ours, nobody else changes what is in it.

use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use crate::clock::Clock;
use crate::{files, process};

/// What marks a folder as the rest of a clone that was cut off.
const MARK: &str = ".agent-runner-cloning-";
/// What marks a folder within the workspace as a whole clone, whose entries are moving up.
const WHOLE: &str = ".agent-runner-cloned-";

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
        crash_point!("clone.checked_out");
        if !self.within {
            if let Some(owner) = owner {
                process::give(&self.path, owner)?;
            }
            crash_point!("clone.before_rename");
            return fs::rename(&self.path, &self.target);
        }
        if let Some(owner) = owner {
            process::give_content_of(&self.path, owner)?;
        }
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let whole = name.replacen(MARK, WHOLE, 1);
        crash_point!("clone.before_whole");
        fs::rename(&self.path, self.target.join(&whole))?;
        crash_point!("clone.whole");
        move_up(&self.target, &whole)?;
        owner.map_or(Ok(()), |owner| give_rest(&self.target, owner))
    }
}

/// Goes on with a whole clone whose entries were moving up into `target` when a death came between.
pub(super) fn resume(target: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(target) else {
        // Nothing to go on with; whoever needs the folder says what is wrong with it.
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        // Where the workspace is another user's: only we have made a folder that is ours.
        let found = entry.metadata()?;
        let is_ours = found.is_dir() && found.uid() == rustix::process::geteuid().as_raw();
        if is_ours && let Some(name) = name.to_str().filter(|name| name.starts_with(WHOLE)) {
            move_up(target, name)?;
        }
    }
    Ok(())
}

/// Moves all entries of a folder into the one above it, `.git` last, and removes it. By descriptors:
/// the folder above may be another user's, who can change what its names lead to.
fn move_up(target: &Path, name: &str) -> io::Result<()> {
    const FOLDER: OFlags = OFlags::RDONLY
        .union(OFlags::DIRECTORY)
        .union(OFlags::CLOEXEC);
    const GIT: &CStr = c".git";
    let above = openat(CWD, target, FOLDER, Mode::empty())?;
    let whole = openat(&above, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
    let mut names: Vec<CString> = Vec::new();
    for entry in Dir::read_from(&whole)? {
        let name = entry?.file_name().to_owned();
        if ![c".", c"..", GIT].contains(&name.as_c_str()) {
            names.push(name);
        }
    }
    let has_git = statat(&whole, GIT, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    for name in names
        .iter()
        .map(CString::as_c_str)
        .chain(has_git.then_some(GIT))
    {
        match statat(&above, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => renameat(&whole, name, &above, name)?,
            Err(error) => return Err(error.into()),
            // Whoever put it there means it: it is not replaced.
            Ok(_) => {
                let taken = target.join(OsStr::from_bytes(name.to_bytes()));
                let text = format!("{} is there already", taken.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
        }
        crash_point!("clone.entry_moved");
    }
    Ok(unlinkat(&above, name, AtFlags::REMOVEDIR)?)
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
