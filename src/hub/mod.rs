//! The Coder Hub: its wire protocol, and our side of it as the session's lead.
//!
//! Pure: `protocol`, `pi` (events → frames), `state` (what to do when a connection ends), `acks`,
//! `inbound` (frames → commands and actions), `history` (what was said), `offer` (what a Hub brings), `address`, `credentials`. Effects: `rest`, `outbox` (journal →
//! frames), `link` (the WebSocket of a lead), `controller` (that of a person at a terminal). Nothing here sees an agent's raw output.

mod acks;
mod address;
pub mod controller;
mod credentials;
pub mod file;
pub mod history;
mod inbound;
pub mod link;
mod offer;
pub mod outbox;
pub mod pi;
pub mod protocol;
mod proxy;
pub mod rest;
mod state;

pub use address::{HubAddress, InvalidAddress};
pub use credentials::{Credentials, InvalidCredentials, Reread};
pub use inbound::{Actions, Command, CommandId, Confirm, Level, Notify, Place, Said, SystemPrompt};
pub use offer::{HubAgent, HubTool, Offer};
pub use proxy::Proxies;
pub use state::{Phase, StartError, Timing};
