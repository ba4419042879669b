//! What daemon and shim say to each other on a run's control socket: one JSON object a line.
//!
//! A connection that said `hello` is told of every growth of the spool (told late, it hears of the
//! last length only) and of the end. Every request is answered by a notice with its `id`, in order.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::RunDir;

/// What a shim writes to its stdout, as a line, once the CLI runs. Anything else is its complaint.
pub const READY: &str = "started";

/// The longest line on a control socket, both ways: a prompt of several MiB in base64.
pub const MAX_LINE: usize = 16 * 1024 * 1024;

/// Daemon to shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the asker, repeated in the answer.
    pub id: u64,
    /// What is to be done.
    #[serde(flatten)]
    pub command: Command,
}

/// What a shim can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Watch the run from here on.
    Hello {
        /// The contract that the asker speaks.
        contract: u32,
    },
    /// Climb the kill ladder.
    Stop(Stop),
    /// Send one signal to the CLI process.
    Signal {
        /// The signal's number.
        number: i32,
    },
    /// Send a frame to the CLI's stdin pipe.
    Stdin {
        /// The frame, in base64.
        data: String,
    },
    /// Close the CLI's stdin pipe behind what was sent.
    CloseStdin,
    /// Kill what the CLI has started since then, and not the CLI itself.
    Sweep {
        /// The kernel's clock, in ticks of 10 ms since the machine's start.
        since: u64,
    },
    /// Say how the run is.
    Stat,
    /// Change the spool's quota.
    Quota {
        /// The new quota.
        bytes: u64,
    },
}

/// How patient a stop is: SIGINT to the CLI, SIGTERM to its process group, SIGKILL to its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Time after SIGINT; 0 leaves SIGINT out.
    pub interrupt_grace_ms: u64,
    /// Time after SIGTERM; 0 leaves SIGTERM out.
    pub term_grace_ms: u64,
}

impl Stop {
    /// Lets the CLI save its session: 5 s after each signal.
    pub const ORDERLY: Self = Self {
        interrupt_grace_ms: 5_000,
        term_grace_ms: 5_000,
    };
    /// At once.
    pub const NOW: Self = Self {
        interrupt_grace_ms: 0,
        term_grace_ms: 0,
    };
}

/// Shim to daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "snake_case")]
pub enum Notice {
    /// How the run is: the answer to `hello` and `stat`.
    State {
        /// The request.
        id: u64,
        /// The length of the spool.
        spool_bytes: u64,
        /// Whether the CLI's output is left unread, because of the quota or the disk.
        held: bool,
    },
    /// The request was carried out.
    Done {
        /// The request.
        id: u64,
    },
    /// The frame is recorded and on its way: the answer to `stdin`.
    Sent {
        /// The request.
        id: u64,
        /// How long the spool was then.
        spool_bytes: u64,
        /// How long the record of the input is with it.
        input_bytes: u64,
    },
    /// The request cannot be carried out.
    Refused {
        /// The request.
        id: u64,
        /// Why.
        reason: String,
    },
    /// The spool has grown, or the reading of output stopped or went on.
    Spool {
        /// Its length.
        bytes: u64,
        /// As in `state`.
        held: bool,
    },
    /// The run is over and its status record is durable.
    Exited,
}

/// Creates a run's control socket, in place of one that a dead shim left behind.
pub fn bind(dir: &RunDir, folder: &File) -> io::Result<UnixListener> {
    match std::fs::remove_file(dir.path().join(RunDir::CONTROL)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(address(folder))
}

/// The socket's address while `folder`, the run's folder, is open.
pub fn address(folder: &File) -> PathBuf {
    format!("/proc/self/fd/{}/{}", folder.as_raw_fd(), RunDir::CONTROL).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_flat_object() {
        let request = Request {
            id: 3,
            command: Command::Stop(Stop::NOW),
        };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(
            text,
            r#"{"id":3,"command":"stop","interrupt_grace_ms":0,"term_grace_ms":0}"#
        );
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
    }

    #[test]
    fn a_socket_far_below_the_root_can_be_bound_and_reached() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d".repeat(120)).join("e".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        let dir = RunDir::new(&deep);
        let folder = dir.open().unwrap();
        let first = bind(&dir, &folder).unwrap();
        drop(first);
        let _second = bind(&dir, &folder).unwrap();
        std::os::unix::net::UnixStream::connect(address(&folder)).unwrap();
    }
}
