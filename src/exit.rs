//! How a process ended: what the shim records, the adapters judge and the events tell.

use serde::{Deserialize, Serialize};

/// How a CLI process ended, as far as is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code, when it exited by itself.
    pub code: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// The kernel killed it for want of memory.
    pub oom: bool,
}
