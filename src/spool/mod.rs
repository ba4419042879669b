//! One run on disk: its folder, its raw bytes, its status record.
//!
//! ```text
//! runs/<run id>/            0700
//!   plan.json               what is to run; written before the shim starts, never changed
//!   prompt.txt              the CLI's stdin, where stdin is a file
//!   spool.raw               stdout of the CLI, byte for byte, appended by the shim only
//!   stderr.log[.1]          its stderr: the last one to two MiB
//!   input.raw               what was sent to its stdin, where stdin is a pipe
//!   status.json             how far the run is; replaced atomically, durable before it counts
//!   control.sock            the living shim's control socket
//!   shim.log                what the shim itself has to say; empty unless it failed
//! ```
//!
//! The plan never holds the environment: it may hold keys, and those stay off the disk.

mod append;
pub mod control;
mod dir;
mod input;
mod plan;
mod reclaim;
mod status;
mod tail;

pub use append::{Appender, RotatingLog};
pub use dir::{Claim, RunDir};
pub use input::{Input, InputLog, read_inputs};
pub use plan::{Plan, Stdin, Stdout, User, Window};
pub use reclaim::Reclaimer;
pub use status::{CONTRACT, Phase, SpawnFailure, Status, StatusError, Stopped};
pub use tail::Tail;
