//! The effects: looks at the machine and writes down what is there.
//!
//! Each probe is bounded, changes nothing that stays, and fails into its facts.

mod agent;
mod cgroup;
mod docker;
mod machine;
mod state;

use std::time::Duration;

use super::hub::{HubAnswer, HubFacts};
use crate::daemon::{self, DaemonError, Setup};
use crate::hub::HubAddress;

pub(super) use agent::agent;
pub(super) use cgroup::cgroup;
pub(super) use docker::docker;
pub(super) use machine::{ca, git, kernel, proxies, uid};
pub(super) use state::state;

/// A Hub that is there answers in well under a second, one behind discovery in two.
const HUB_LIMIT: Duration = Duration::from_secs(10);

/// Asks the Hub.
pub(super) async fn hub(setup: &Setup<'_>) -> HubFacts {
    let config = setup.config.hub.as_ref();
    let url = config.and_then(|hub| hub.url.as_ref());
    let address = url.and_then(|url| HubAddress::parse(url.as_str()).ok());
    let key = config.is_some_and(|hub| hub.key.is_some());
    let answer = match config {
        Some(hub) if hub.url.is_some() || key => {
            match daemon::reach_hub(setup, hub, HUB_LIMIT).await {
                Ok(address) => HubAnswer::Reached {
                    address: address.to_string(),
                },
                Err(DaemonError::HubRefused(why)) => HubAnswer::Refused(why),
                Err(DaemonError::HubUnreachable(why)) => HubAnswer::Unreachable(why),
                Err(other) => HubAnswer::Settings(other.to_string()),
            }
        }
        _ => HubAnswer::NotConfigured,
    };
    HubFacts {
        address: address.map(|address| address.to_string()),
        key,
        answer,
    }
}
