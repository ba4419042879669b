//! Folders that are given to another user.
//!
//! Whoever they are given to may have a process already, which changes names while we walk. Nothing
//! is reached by its path: each folder is opened below the first one without a link on the way, and
//! what is in it is given by its name there, a link as the link that it is. A folder is given after
//! all that is in it, so that one that belongs to that user was given whole.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fchown, openat,
    openat2, statat,
};

use crate::files;

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Gives a folder and all in it to another user, and lets that user pass through the folders
/// between `top` and it. Those stay closed to reading, and what else is in them stays private.
/// Only root may do this.
pub fn hand_over(top: &Path, path: &Path, owner: (u32, u32)) -> io::Result<()> {
    give(path, owner)?;
    match path.parent() {
        Some(above) => files::let_pass(top, above),
        None => Ok(()),
    }
}

/// Gives a folder and all in it to another user.
pub fn give(path: &Path, owner: (u32, u32)) -> io::Result<()> {
    let root = openat(CWD, path, FOLDER, Mode::empty())?;
    give_content(&root, owner)?;
    Ok(chown(&root, owner)?)
}

/// Gives the folder alone.
pub fn give_alone(path: &Path, owner: (u32, u32)) -> io::Result<()> {
    Ok(chown(&openat(CWD, path, FOLDER, Mode::empty())?, owner)?)
}

/// Gives all that is in a folder.
pub fn give_content_of(path: &Path, owner: (u32, u32)) -> io::Result<()> {
    give_content(&openat(CWD, path, FOLDER, Mode::empty())?, owner)
}

/// A step of the walk. Descriptors are held for one folder at a time: there may be thousands of
/// them within each other.
enum Step {
    Into(PathBuf),
    OutOf(PathBuf),
}

fn give_content(root: &OwnedFd, owner: (u32, u32)) -> io::Result<()> {
    let mut steps = give_files(root, Path::new(""), owner)?;
    while let Some(step) = steps.pop() {
        match step {
            Step::Into(path) => {
                let within = give_files(&below(root, &path)?, &path, owner)?;
                steps.push(Step::OutOf(path));
                steps.extend(within);
            }
            Step::OutOf(path) => chown(&below(root, &path)?, owner)?,
        }
    }
    Ok(())
}

/// Gives what is no folder in the folder at `path`; the folders.
fn give_files(folder: &OwnedFd, path: &Path, owner: (u32, u32)) -> io::Result<Vec<Step>> {
    let mut folders = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if is_folder(folder, name, entry.file_type())? {
            folders.push(Step::Into(path.join(OsStr::from_bytes(name.to_bytes()))));
        } else {
            let (uid, gid) = ids(owner);
            chownat(folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(folders)
}

fn is_folder(folder: &OwnedFd, name: &CStr, kind: FileType) -> io::Result<bool> {
    let kind = match kind {
        FileType::Unknown => {
            let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            FileType::from_raw_mode(found.st_mode)
        }
        kind => kind,
    };
    Ok(kind == FileType::Directory)
}

fn below(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(root, path, FOLDER, Mode::empty(), within)
}

fn chown(folder: &OwnedFd, owner: (u32, u32)) -> rustix::io::Result<()> {
    let (uid, gid) = ids(owner);
    fchown(folder, uid, gid)
}

fn ids((uid, gid): (u32, u32)) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::process::as_user;

    /// Nobody's, on every Linux.
    const NOBODY: (u32, u32) = (65_534, 65_534);
    const ROUNDS: usize = 200;

    fn uid(path: &Path) -> u32 {
        path.symlink_metadata().unwrap().uid()
    }

    #[test]
    fn a_folder_that_is_handed_over_can_be_passed_to_and_not_read_above() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("state");
        let home = top.join("agents/claude");
        files::create_private_dir(&home).unwrap();
        symlink("/", home.join("link")).unwrap();
        let own = dir.path().metadata().unwrap();
        hand_over(&top, &home, (own.uid(), own.gid())).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(
            [mode(&top), mode(&top.join("agents")), mode(&home)],
            [0o711, 0o711, 0o700]
        );
    }

    #[test]
    fn all_of_it_is_given_however_deep_and_a_link_as_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        if uid(dir.path()) != 0 {
            return; // only root gives anything away
        }
        let (given, kept) = (dir.path().join("given"), dir.path().join("kept"));
        fs::write(&kept, "").unwrap();
        // more than descriptors that a process may have
        let deepest = given.join(vec!["d"; 1_500].join("/"));
        fs::create_dir_all(&deepest).unwrap();
        fs::write(deepest.join("file"), "").unwrap();
        symlink(&kept, given.join("link")).unwrap();
        symlink(dir.path(), given.join("folder")).unwrap();
        give(&given, NOBODY).unwrap();
        for path in [
            &given,
            &given.join("d"),
            &deepest,
            &deepest.join("file"),
            &given.join("link"),
            &given.join("folder"),
        ] {
            assert_eq!(uid(path), NOBODY.0, "{}", path.display());
        }
        assert_eq!([uid(&kept), uid(dir.path())], [0, 0]);
    }

    #[test]
    fn folders_that_turn_into_links_meanwhile_give_nothing_else_away() {
        let dir = tempfile::tempdir().unwrap();
        if uid(dir.path()) != 0 {
            return; // only root gives anything away
        }
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(dir.path(), open).unwrap();
        let (given, private) = (dir.path().join("given"), dir.path().join("private"));
        for folder in [&given, &private] {
            fs::create_dir_all(folder.join("in/file")).unwrap();
            fs::write(folder.join("file"), "").unwrap();
        }
        give(&given, NOBODY).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (name, aside) = (given.join("in"), given.join("aside"));
                as_user(NOBODY, || {
                    while !done.load(Ordering::Relaxed) {
                        drop(fs::rename(&name, &aside));
                        drop(symlink(&private, &name));
                        drop(fs::remove_file(&name));
                        drop(fs::rename(&aside, &name));
                    }
                    Ok(())
                })
            });
            for _ in 0..ROUNDS {
                // What it looks for may be gone: then nothing more is given.
                drop(give(&given, NOBODY));
            }
            done.store(true, Ordering::Relaxed);
        });
        let all = ["", "file", "in", "in/file"].map(|name| uid(&private.join(name)));
        assert_eq!(all, [0; 4]);
    }
}
