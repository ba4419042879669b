//! A small disk of a test's own, and filling it.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bench::skip;

/// Set in the copy of this program that runs in a namespace of its own.
const INSIDE: &str = "BOUNDS_TEST_INSIDE";

/// A tmpfs; unmounted when dropped.
pub(crate) struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one at `path`, a folder.
    pub(crate) fn mount(path: &Path, mebibytes: u32) -> Self {
        let size = format!("size={mebibytes}m");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(path)
            .status();
        assert!(status.unwrap().success(), "mount {}", path.display());
        let path = path.to_owned();
        Self { path }
    }

    /// Takes all the room that is left.
    pub(crate) fn fill(&self) {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.filler())
            .unwrap();
        for block in [256 * 1024, 4096] {
            while file.write_all(&vec![0; block]).is_ok() {}
        }
    }

    /// Gives it back.
    pub(crate) fn empty(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    /// Gives a part of it back.
    pub(crate) fn give_back(&self, bytes: u64) {
        let file = File::options().write(true).open(self.filler()).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(bytes)).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still has files open there keeps it until he ends.
        drop(Command::new("umount").arg("-l").arg(&self.path).status());
    }
}

/// A disk with a file system that can fail.
pub(crate) struct FailingDisk {
    path: PathBuf,
    image: PathBuf,
}

impl FailingDisk {
    /// At `path`, a folder; nothing where that is not allowed.
    pub(crate) fn mount(path: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            // No namespace lets a user mount a file system of a disk's.
            println!("skipped: needs root to mount a disk that fails");
            return None;
        }
        let disk = Self {
            path: path.to_owned(),
            image: path.with_extension("image"),
        };
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&disk.image);
        file.unwrap().set_len(96 << 20).unwrap();
        let mut mkfs = Command::new("mkfs.ext4");
        let made = mkfs.arg("-q").arg(&disk.image).status();
        if !made.is_ok_and(|made| made.success()) {
            skip("needs mkfs.ext4 (Debian: apt install e2fsprogs)");
            return None;
        }
        if !disk.mount_image() {
            println!("skipped: this machine mounts no file as a disk");
            return None;
        }
        Some(disk)
    }

    fn mount_image(&self) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).args([&self.image, &self.path]);
        mount.status().is_ok_and(|status| status.success())
    }

    /// From now on the kernel takes it for broken: each write and each sync is an error, what is
    /// there can be read.
    pub(crate) fn fail(&self) {
        let mut mount = Command::new("mount");
        mount.args(["-o", "remount,abort"]).arg(&self.path);
        // It says that it has not succeeded.
        drop(mount.output().unwrap());
        assert!(
            std::fs::write(self.path.join("probe"), "").is_err(),
            "it fails"
        );
    }

    /// Its owner has it checked and mounts it again; nobody uses it meanwhile.
    pub(crate) fn mend(&self) {
        let umount = Command::new("umount").arg(&self.path).status();
        assert!(umount.unwrap().success());
        let mended = Command::new("e2fsck").arg("-fy").arg(&self.image).output();
        assert!(mended.unwrap().status.code() < Some(4));
        assert!(self.mount_image());
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.path).status());
    }
}

/// Whether the test is to go on here: as root, or in a user namespace, in which the test then runs
/// once more. A machine that allows neither skips it.
pub(crate) fn may_mount(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    let allowed = Command::new("unshare").args(["-rm", "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        skip("needs root or user namespaces to mount a small disk");
        return false;
    }
    assert!(std::env::var_os(INSIDE).is_none(), "unshare gave no root");
    let status = Command::new("unshare")
        .arg("-rm")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status();
    assert!(status.unwrap().success(), "{test} failed in its namespace");
    false
}
