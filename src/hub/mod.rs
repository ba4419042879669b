//! The Coder Hub: its wire protocol, and our side of it as the session's lead.
//!
//! Pure: `protocol`, `pi` (events → frames), `state` (what to do when a connection ends), `acks`,
//! `inbound` (frames → commands), `address`, `credentials`. Effects: `rest`, `outbox` (journal →
//! frames), `link` (the WebSocket). Nothing here sees an agent's raw output.

mod acks;
mod address;
mod credentials;
mod inbound;
pub mod link;
pub mod outbox;
pub mod pi;
pub mod protocol;
pub mod rest;
mod state;

pub use address::{HubAddress, InvalidAddress};
pub use credentials::{Credentials, InvalidCredentials};
pub use inbound::{Command, CommandId};
pub use state::{Phase, StartError, Timing};
