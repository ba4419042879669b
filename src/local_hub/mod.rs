//! The embedded Hub: a Coder Hub for one machine, so that everything works without an account.
//!
//! ```text
//! lead ──ws──► socket ──► store (one thread, group commit) ──► room ──► feeds ──► ws, sse
//!                             ▲                                  │
//!                           rest ◄───────────────────────────────┘
//! ```
//!
//! Guarantees: an event is acknowledged only when it is stored; a re-sent event is stored and
//! shown once; every viewer gets all events that its filter passes, in the lead's order, with
//! the lead's bytes; a slow viewer slows nobody.
//!
//! It shares the wire types in [`crate::hub::protocol`] with our own lead and nothing else, so
//! that the two cannot hide each other's faults. It deliberately has no model, no tools and no
//! sandboxes: a paused session runs again when a lead connects, which a [`Waker`] may start.

mod activity;
mod auth;
mod entries;
mod feed;
mod file_entries;
mod filter;
mod frame;
mod loops;
mod questions;
mod rest;
mod room;
mod server;
mod sessions;
mod socket;
mod sse;
mod store;
mod waking;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::net::TcpListener;

pub use auth::ApiKey;
pub use store::StoreError;
pub use waking::{Waker, Woken};

use crate::clock::Clock;
use crate::ids::SessionId;
use crate::tasks::Tasks;
use auth::Gate;
use server::Hub;
use sessions::Sessions;
use store::Store;
use waking::Waking;

/// An embedded Hub, open but not yet listening.
pub struct LocalHub {
    hub: Arc<Hub>,
}

/// Why a Hub cannot serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Anyone who reaches the address could run agents.
    #[error(
        "{0} is not a loopback address: a Hub that others can reach needs a key; pass --api-key-file FILE or set AGENT_RUNNER_API_KEY, or listen on 127.0.0.1"
    )]
    KeyRequired(SocketAddr),
    /// The listener has no address.
    #[error("the listening socket is not usable: {0}")]
    Listener(#[source] std::io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl LocalHub {
    /// Opens the Hub's state in `dir`, creating it where it is missing. Everything that the Hub
    /// starts runs in a group of its own that ends with `tasks` or by [`LocalHub::stop`].
    /// Paused sessions wait for a lead.
    pub async fn open(dir: &Path, key: Option<ApiKey>, tasks: &Tasks) -> Result<Self, StoreError> {
        Self::open_with(dir, key, None, tasks).await
    }

    /// As [`LocalHub::open`]; `waker` has paused sessions led again that are resumed.
    pub async fn open_with(
        dir: &Path,
        key: Option<ApiKey>,
        waker: Option<Arc<dyn Waker>>,
        tasks: &Tasks,
    ) -> Result<Self, StoreError> {
        let dir = dir.to_owned();
        let store = tokio::task::spawn_blocking(move || Store::open(&dir))
            .await
            .map_err(|_| StoreError::Closed)??;
        let hub = Hub {
            gate: Gate::new(key),
            sessions: Sessions::new(store),
            waking: Waking::new(waker),
            tasks: tasks.child(),
            started_at: Clock.wall(),
        };
        Ok(Self { hub: Arc::new(hub) })
    }

    /// Whether a Hub with or without a key may listen there.
    pub fn check_address(address: SocketAddr, has_key: bool) -> Result<(), HubError> {
        if has_key || address.ip().is_loopback() {
            Ok(())
        } else {
            Err(HubError::KeyRequired(address))
        }
    }

    /// Starts serving; returns at once with the address.
    pub fn serve(&self, listener: TcpListener) -> Result<SocketAddr, HubError> {
        let address = listener.local_addr().map_err(HubError::Listener)?;
        Self::check_address(address, self.hub.gate.is_keyed())?;
        let accepting = server::accept(Arc::clone(&self.hub), listener);
        self.hub.tasks.spawn("hub-accept", accepting);
        Ok(address)
    }

    /// Makes a session. `fields` are those of a create request but `task` (`repo`, `label`, …).
    ///
    /// # Panics
    /// Never: the Hub makes its ids of legal characters.
    pub async fn create_session(
        &self,
        task: &str,
        fields: Map<String, Value>,
    ) -> Result<SessionId, StoreError> {
        let row = self.hub.sessions.create(task.to_owned(), fields).await?;
        Ok(SessionId::try_from(row.id).expect("the Hub makes ids of legal characters"))
    }

    /// Closes all connections (1001), stores what was taken in, and closes the store.
    pub async fn stop(self) {
        self.hub.tasks.stop().await;
        // The store's thread is joined in its drop; that blocks until the queue is committed.
        let closing = tokio::task::spawn_blocking(move || drop(self.hub));
        if closing.await.is_err() {
            tracing::error!("the Hub's store did not close in order");
        }
    }
}
