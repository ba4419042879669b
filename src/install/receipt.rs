//! What a release's folder holds once it was found good: written last, so that a folder with a
//! receipt was whole, and read to tell whether it still is.
//!
//! Sizes are compared, not contents: it tells a torn or half-removed release in milliseconds, and
//! makes no promise against somebody who can write to the prefix.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::environment::is_executable;
use crate::files;

const NAME: &str = "receipt.json";

/// A release's files.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Receipt {
    version: String,
    /// Relative to the release's folder, as are the files.
    pub(super) executable: PathBuf,
    /// Regular files and their sizes in bytes.
    files: BTreeMap<PathBuf, u64>,
}

impl Receipt {
    /// Takes stock of `folder`, makes all of it durable, and leaves the receipt in it.
    pub(super) fn write(folder: &Path, version: &str, executable: &Path) -> io::Result<()> {
        let mut files = BTreeMap::new();
        seal(folder, Path::new(""), &mut files)?;
        let receipt = Self {
            version: version.to_owned(),
            executable: executable.to_owned(),
            files,
        };
        let text = serde_json::to_vec(&receipt)?;
        let path = folder.join(NAME);
        files::replace_durably(&path, &text)?;
        // In an image, root installs and another user looks whether it is there.
        std::fs::set_permissions(&path, Permissions::from_mode(0o644))
    }

    /// The receipt of `folder` when it holds `version`, every file as it was written.
    pub(super) fn intact(folder: &Path, version: &str) -> Option<Self> {
        let text = std::fs::read(folder.join(NAME)).ok()?;
        let receipt: Self = serde_json::from_slice(&text).ok()?;
        let as_written = |(path, size): (&PathBuf, &u64)| {
            folder
                .join(path)
                .symlink_metadata()
                .is_ok_and(|metadata| metadata.is_file() && metadata.len() == *size)
        };
        (receipt.version == version
            && receipt.files.contains_key(&receipt.executable)
            && receipt.files.iter().all(as_written)
            && is_executable(&folder.join(&receipt.executable)))
        .then_some(receipt)
    }
}

/// npm does not sync what it unpacks, and a rename may reach the disk before the files do.
fn seal(root: &Path, below: &Path, files: &mut BTreeMap<PathBuf, u64>) -> io::Result<()> {
    let folder = root.join(below);
    for entry in std::fs::read_dir(&folder)? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            seal(root, &path, files)?;
        } else if kind.is_file() {
            let file = File::open(entry.path())?;
            file.sync_all()?;
            files.insert(path, file.metadata()?.len());
        }
    }
    files::sync_dir(&folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_intact_until_a_file_is_missing_or_torn() {
        let dir = tempfile::tempdir().unwrap();
        let executable = dir.path().join("bin/cli");
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        std::fs::write(&executable, "#!/bin/sh\n").unwrap();
        let mode = Permissions::from_mode(0o755);
        std::fs::set_permissions(&executable, mode).unwrap();
        std::fs::write(dir.path().join("data"), "12345").unwrap();
        let intact = |version| Receipt::intact(dir.path(), version).is_some();

        assert!(!intact("1.0.0"));
        Receipt::write(dir.path(), "1.0.0", Path::new("bin/cli")).unwrap();
        assert!(intact("1.0.0"));
        assert!(!intact("1.0.1"));
        let receipt = dir.path().join(NAME).metadata().unwrap();
        assert_eq!(receipt.permissions().mode() & 0o777, 0o644);
        std::fs::write(dir.path().join("extra"), "").unwrap();
        assert!(intact("1.0.0"));
        std::fs::write(dir.path().join("data"), "123").unwrap();
        assert!(!intact("1.0.0"));
        std::fs::write(dir.path().join("data"), "12345").unwrap();
        assert!(intact("1.0.0"));
        let mode = Permissions::from_mode(0o644);
        std::fs::set_permissions(&executable, mode).unwrap();
        assert!(!intact("1.0.0"));
    }
}
