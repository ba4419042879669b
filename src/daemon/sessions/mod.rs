//! The sessions of one daemon, from the first to the last: which there are, what is stored of each,
//! how each runs on a task of its own, how it ends and when what is left of it goes.
//!
//! ```text
//! Registry ─ begins, opens again ─► Hosted ─► Led … ─ ending ─► verdict, retention
//! ```

mod ending;
pub(super) mod host;
pub(super) mod hosted;
pub(super) mod record;
pub(super) mod registry;
pub(super) mod retention;
mod verdict;
