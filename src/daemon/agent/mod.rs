//! The agent of a session before it runs: which program it is and whom it runs as, how it comes to
//! this machine, where it runs, what it is started with and which files it gets at.
//!
//! What the CLIs themselves say and want is in `crate::agent`; here is what the settings and this
//! machine make of them.

mod executable;
pub(super) mod install;
pub(super) mod launch;
pub(super) mod program;
pub(super) mod reach;
pub(super) mod sandbox;
pub(super) mod survey;
pub(super) mod version;
