//! Private files: created 0600 in folders of 0700, never through a symlink, replaced atomically.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

const O_NOFOLLOW: i32 = 0o400_000;
/// A FIFO that somebody put there is an error, not something to wait for.
const O_NONBLOCK: i32 = 0o4000;

/// Creates `path` and its missing parents with mode 0700; an existing folder is left as it is.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Creates `path` and its missing parents with mode 0711: other users may pass through it to what
/// is theirs, and see nothing of it.
pub fn create_passable_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o711).create(path)
}

/// Creates a new file of mode 0600; an error when anything has that name already.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(O_NOFOLLOW)
        .open(path)
}

/// Opens a file of mode 0600 for appending, creating it where it is missing.
pub fn append_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(O_NOFOLLOW)
        .open(path)
}

/// Opens a file of mode 0600 for reading and writing at any place, creating it where it is missing.
pub fn update_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(O_NOFOLLOW)
        .open(path)
}

/// Replaces `path` by `content` (mode 0600): after a crash the file is either the old or the new
/// one, whole. Durable when it returns.
pub fn replace_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = temporary(path)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(O_NOFOLLOW | O_NONBLOCK)
        .open(&temporary)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    crash_point!("files.before_write");
    file.write_all(content)?;
    file.sync_all()?;
    crash_point!("files.before_rename");
    std::fs::rename(&temporary, path)?;
    crash_point!("files.renamed");
    sync_dir(parent)
}

/// Replaces `path` by `content`, with that mode: for what others may read and that is no promise. A
/// reader finds the old one or the new one, whole.
pub fn replace_readable(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let temporary = temporary(path)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(O_NOFOLLOW | O_NONBLOCK)
        .open(&temporary)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    drop(file);
    std::fs::rename(&temporary, path)
}

/// Where [`replace_durably`] puts the new content first: what a process that died in between has
/// left there is nothing.
pub fn temporary(path: &Path) -> io::Result<PathBuf> {
    let mut name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_owned();
    name.push(".new");
    Ok(path.with_file_name(name))
}

/// Whether `path` can be read and holds `content`, no more and no less.
pub fn holds(path: &Path, content: &[u8]) -> bool {
    let longest = content.len() as u64 + 1;
    let read = || {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(O_NONBLOCK)
            .open(path)?;
        let mut found = Vec::with_capacity(content.len() + 1);
        file.take(longest).read_to_end(&mut found)?;
        io::Result::Ok(found)
    };
    read().is_ok_and(|found| found == content)
}

/// Opens a file to be read whose folder others may write to: no link is followed, and nothing is
/// waited for, as a pipe would have it.
pub fn open_plain(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(O_NOFOLLOW | O_NONBLOCK)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// Makes the names in a folder durable.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Lets other users pass through `path` and the folders between `top` and it; they stay closed to
/// reading.
pub fn let_pass(top: &Path, path: &Path) -> io::Result<()> {
    for folder in path
        .ancestors()
        .take_while(|folder| folder.starts_with(top))
    {
        std::fs::set_permissions(folder, Permissions::from_mode(0o711))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_private_and_leaves_no_temporary_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status.json");
        replace_durably(&path, b"one").unwrap();
        replace_durably(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings");
        std::fs::write(&path, b"one").unwrap();
        assert!(holds(&path, b"one"));
        assert!(!holds(&path, b"on") && !holds(&path, b"ones"));
        assert!(!holds(Path::new("/dev/zero"), b"one"));
        let private = rustix::fs::Mode::RWXU;
        for name in ["settings.new", "fifo"] {
            rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join(name), private).unwrap();
        }
        assert!(!holds(&dir.path().join("fifo"), b"one"));
        assert!(replace_durably(&path, b"two").is_err());
    }

    #[test]
    fn a_planted_symlink_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        std::fs::write(&target, b"kept").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(append_private(&link).is_err());
        assert!(create_private(&link).is_err());
        assert_eq!(std::fs::read(&target).unwrap(), b"kept");
    }
}
