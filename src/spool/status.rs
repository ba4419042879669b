//! The status record: how far a run is, and how it ended.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::RunDir;
use crate::exit::Exit;
use crate::files;
use crate::process::Identity;

/// The version of what shim and daemon agree on: this record, the folder, the control socket. A
/// daemon that finds another one reads what is there and sends no commands.
pub const CONTRACT: u32 = 1;

/// A record is a few KiB, and a list of processes at most.
const MOST: u64 = 1 << 20;

/// `status.json`. Readers ignore fields that they do not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the agreement between shim and daemon.
    pub contract: u32,
    /// How far the run is.
    #[serde(flatten)]
    pub phase: Phase,
    /// The shim, once there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shim: Option<Identity>,
    /// The CLI process, once there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Identity>,
    /// The CLI's own control group (v2), where one could be made: whatever is in it belongs to the
    /// run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<PathBuf>,
    /// Where the pids in here mean something: after a reboot, or in another container, they are
    /// other processes'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub world: Option<String>,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Phase {
    /// There is a CLI process. Durable before the CLI's first instruction.
    Started,
    /// The CLI could not be started; it never ran.
    SpawnFailed(SpawnFailure),
    /// The CLI is gone, and its tree with it but for what `leaked`. Nothing in the folder changes
    /// any more.
    Exited(Stopped),
    /// No shim ever came and a daemon closed the run: a shim that comes late must not start it.
    Abandoned,
}

/// Why a CLI could not be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("cannot {step} {path}: {message}", path = path.display())]
pub struct SpawnFailure {
    /// What was tried, as a verb.
    pub step: String,
    /// On what.
    pub path: PathBuf,
    /// The kernel's error number, where it was the kernel.
    #[serde(default)]
    pub errno: Option<i32>,
    /// The error in words.
    pub message: String,
}

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stopped {
    /// The exit of the CLI process itself.
    pub exit: Exit,
    /// The length of the spool.
    pub spool_bytes: u64,
    /// All that the CLI wrote to stderr, kept or not.
    pub stderr_bytes: u64,
    /// Output was lost because the spool was over its quota, or its file could not be written.
    pub spool_truncated: bool,
    /// The older part of stderr was dropped.
    pub stderr_truncated: bool,
    /// The run was over its time limit.
    pub timed_out: bool,
    /// How many processes of the CLI's control group the kernel killed meanwhile for want of
    /// memory. Others of the runner's may be in that group.
    pub oom_kills: u64,
    /// The signals that the shim sent to the CLI, in order.
    pub sent: Vec<i32>,
    /// Processes of the tree that were still there when the shim gave up.
    pub leaked: Vec<Identity>,
}

/// Why a status record cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatusError {
    /// It cannot be read or written.
    #[error("cannot access {path}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error.
        #[source]
        source: io::Error,
    },
    /// It is not a status record.
    #[error("{path} is not a status record", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl Status {
    /// Reads a run's record; `None` when there is none yet.
    pub fn read(dir: &RunDir) -> Result<Option<Self>, StatusError> {
        let path = dir.status();
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StatusError::Io { path, source }),
        };
        match serde_json::from_slice(&bytes) {
            Ok(status) => Ok(Some(status)),
            Err(source) => Err(StatusError::Malformed { path, source }),
        }
    }

    /// Replaces a run's record; durable when it returns.
    pub fn write(&self, dir: &RunDir) -> Result<(), StatusError> {
        let path = dir.status();
        serde_json::to_vec(self)
            .map_err(io::Error::from)
            .and_then(|bytes| files::replace_durably(&path, &bytes))
            .map_err(|source| StatusError::Io { path, source })
    }
}

/// In a container the CLI may be able to put something else in its place.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    files::open_plain(path)?
        .take(MOST)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_link_in_place_of_a_record_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("other");
        fs::write(&other, r#"{"contract":1,"state":"abandoned"}"#).unwrap();
        let dir = RunDir::new(dir.path());
        std::os::unix::fs::symlink(&other, dir.status()).unwrap();
        assert!(Status::read(&dir).is_err());
    }

    #[test]
    fn a_record_of_a_later_version_with_more_fields_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let dir = RunDir::new(dir.path());
        assert!(Status::read(&dir).unwrap().is_none());
        let text = r#"{"contract":9,"state":"exited","shim":{"pid":4,"start":5,"new":1},
            "exit":{"code":0,"signal":null,"oom":false},"spool_bytes":7,"mood":"good"}"#;
        fs::write(dir.status(), text).unwrap();
        let status = Status::read(&dir).unwrap().unwrap();
        assert_eq!(status.contract, 9);
        let Phase::Exited(stopped) = &status.phase else {
            panic!("{status:?}");
        };
        assert_eq!((stopped.exit.code, stopped.spool_bytes), (Some(0), 7));
        status.write(&dir).unwrap();
        assert_eq!(Status::read(&dir).unwrap().unwrap(), status);
    }

    #[test]
    fn a_torn_record_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let dir = RunDir::new(dir.path());
        fs::write(dir.status(), r#"{"contract":1,"sta"#).unwrap();
        let error = Status::read(&dir).unwrap_err().to_string();
        assert!(error.contains("status.json"), "{error}");
    }
}
