//! The daemon's local API: HTTP and SSE for every shell, at any time.
//!
//! ```text
//! Unix socket ─┐
//!              ├─► connection limit, guard ─► routes ─► Host, its sessions and their journal
//! TCP + token ─┘
//! ```
//!
//! Guarantees: a prompt is durable before it is answered, and the same `prompt_id` is one prompt;
//! a cursor never skips or repeats an event; nobody but the daemon's own user, root, and over TCP
//! who shows the token, is served anything but `/healthz`; a reader costs no thread and no queue.
//!
//! The server knows a [`Host`] and nothing of how it comes by its sessions. What goes over the
//! wire is in [`wire`], for the server and for clients.

mod approval;
mod events;
mod failure;
mod guard;
mod host;
mod logs;
mod metrics;
mod requests;
mod routes;
mod server;
mod settings;
mod socket;
mod status;
mod usage;
pub mod wire;

pub use approval::{answer_of, request_waiting};
pub use host::{
    CreateError, Created, DaemonFacts, EndError, Host, HostedSession, HubDoor, LedSession,
    LogSource, NewSession, Standing,
};
pub use routes::{DOCUMENT, table};
pub use server::{ApiConfig, Network, Serving, serve};
pub use socket::{SocketError, socket_path};
