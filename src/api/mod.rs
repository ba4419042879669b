//! The daemon's local API: HTTP and SSE for every shell, at any time.
//!
//! The server knows a [`Host`] and nothing of how it comes by its sessions.

mod host;

pub use host::{
    CreateError, Created, DaemonFacts, Host, HostedSession, LedSession, LogSource, NewSession,
    Standing,
};
