//! A run's folder and the names in it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The folder of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// Names the folder; creates nothing.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What is to run.
    pub fn plan(&self) -> PathBuf {
        self.0.join("plan.json")
    }

    /// The CLI's stdin.
    pub fn prompt(&self) -> PathBuf {
        self.0.join("prompt.txt")
    }

    /// The CLI's stdout.
    pub fn spool(&self) -> PathBuf {
        self.0.join("spool.raw")
    }

    /// The CLI's stderr; the older part is in the same name with `.1`.
    pub fn stderr(&self) -> PathBuf {
        self.0.join("stderr.log")
    }

    /// What was sent to the CLI's stdin.
    pub fn input(&self) -> PathBuf {
        self.0.join("input.raw")
    }

    /// How far the run is.
    pub fn status(&self) -> PathBuf {
        self.0.join("status.json")
    }

    /// The folder of the files that the CLI is started with.
    pub fn launch_files(&self) -> PathBuf {
        self.0.join("launch")
    }

    /// What made the container that the run is in, where it is in one. Beside the folder, which
    /// is open to the container.
    pub fn container(&self) -> PathBuf {
        self.0.with_extension("container")
    }

    /// The shim's own complaints.
    pub fn shim_log(&self) -> PathBuf {
        self.0.join("shim.log")
    }

    /// The name of the control socket within the folder. A socket's address holds 107 bytes only,
    /// so that it is reached by way of a descriptor of the folder.
    pub const CONTROL: &'static str = "control.sock";

    /// Opens the folder.
    pub fn open(&self) -> io::Result<File> {
        File::open(&self.0)
    }
}

/// The right to be the one shim of a run, held as a lock on its folder until dropped or dead.
#[derive(Debug)]
pub struct Claim(File);

impl Claim {
    /// Takes the right; `None` when another process has it.
    pub fn take(dir: &RunDir) -> io::Result<Option<Self>> {
        let file = dir.open()?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &File {
        &self.0
    }
}
