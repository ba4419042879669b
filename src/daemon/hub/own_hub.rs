//! An embedded Hub of this process's own, where no other is configured.
//!
//! Its key is in this process's memory only. The daemon's API tells it to the daemon's user, on the
//! socket that only they can use.

use std::path::Path;

use secrecy::SecretString;
use serde_json::Map;
use tokio::net::TcpListener;

use crate::config::{GateConfig, KeyInUrl};
use crate::daemon::{DaemonError, HubTarget};
use crate::files;
use crate::hub::{Credentials, HubAddress, Timing};
use crate::ids::SessionId;
use crate::journal::StateLockError;
use crate::local_hub::{ApiKey, LocalHub};
use crate::tasks::Tasks;

/// Its lead is in this process: it answers at once.
const WAIT: std::time::Duration = std::time::Duration::from_secs(10);

/// A Hub on a random loopback port that only this process has the key of. What it stores lies in
/// a folder, and is there again the next time.
pub struct OwnHub {
    hub: LocalHub,
    address: HubAddress,
    key: SecretString,
}

impl OwnHub {
    /// Opens the Hub in `dir` and has it listen.
    pub async fn open(dir: &Path, tasks: &Tasks) -> Result<Self, DaemonError> {
        let unusable = |source| StateLockError::Unusable {
            path: dir.to_owned(),
            source,
        };
        let internal = |error: &dyn std::fmt::Display| DaemonError::Internal(error.to_string());
        files::create_private_dir(dir).map_err(unusable)?;
        // Loopback is open to every user of the machine; this Hub is for this process alone.
        // It begins with what no text ends with: the mask of streamed text holds back what may be
        // the start of a key, and that must not differ from run to run.
        let key = format!(
            "~~~~{}{}",
            uuid::Uuid::new_v4().simple(),
            uuid::Uuid::new_v4().simple()
        );
        let hub = LocalHub::open(dir, ApiKey::new(&key), tasks)
            .await
            .map_err(|error| unusable(std::io::Error::other(error)))?;
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .map_err(|error| internal(&error))?;
        let address = hub.serve(listener).map_err(|error| internal(&error))?;
        let address =
            HubAddress::parse(&format!("http://{address}")).map_err(|error| internal(&error))?;
        Ok(Self {
            hub,
            address,
            key: key.into(),
        })
    }

    /// Makes a session with that task.
    pub async fn create_session(&self, task: &str) -> Result<SessionId, DaemonError> {
        let made = self.hub.create_session(task, Map::new()).await;
        made.map_err(|error| DaemonError::Internal(error.to_string()))
    }

    /// How to join it.
    pub fn target(&self) -> Result<HubTarget, DaemonError> {
        let credentials = Credentials::new(Some(self.key.clone()), None);
        Ok(HubTarget {
            address: Some(self.address.clone()),
            credentials: credentials.map_err(|error| DaemonError::Internal(error.to_string()))?,
            key_in_url: KeyInUrl::Never,
            coalesce: Timing::default().join,
            session_file: true,
            wait: WAIT,
            gate: GateConfig::default(),
            lends_key: true,
        })
    }

    /// Stores what was taken in, and ends.
    pub async fn stop(self) {
        self.hub.stop().await;
    }
}
