//! Where the session is: in the Hub that was named, else in that of the daemon here, else in the
//! one that the key leads to.
//!
//! The Hub inside a daemon has another address and another key after each start of it, and nothing
//! but the daemon knows them. It tells them to its own user, on its socket, as often as they are
//! asked for.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::api::wire::HubJoin;
use crate::cli::client::{Client, ClientError};
use crate::cli::hosting::hub_target;
use crate::cli::lead::Context;
use crate::cli::{CliError, Exit};
use crate::daemon::{HubAccess, HubTarget, rest_error};
use crate::hub::controller::{ControllerConfig, Whereabouts};
use crate::hub::rest::{Listed, RestError};
use crate::hub::{Credentials, HubAddress};
use crate::ids::SessionId;

/// The longest pause before a daemon is asked again: it is on this machine.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// And before any other Hub is: somebody sits there and waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way to a Hub.
pub(super) struct Door {
    hub: HubAccess,
    /// The daemon that led to it.
    daemon: Option<Client>,
    /// It is the daemon's own: only the daemon knows where it is now.
    is_daemons: bool,
}

impl Door {
    /// Finds the way.
    pub(super) async fn find(context: &Context) -> Result<Self, CliError> {
        let Some(hub) = &context.config.hub else {
            return Err(CliError::new(Exit::Internal, "no Hub in the settings"));
        };
        let mut target = hub_target(hub)?;
        let mut is_daemons = false;
        let mut daemon = None;
        if target.address.is_none() {
            let client = Client::of_state_dir(&context.config.state_dir);
            match client.get::<HubJoin>("/v1/hub").await {
                Ok(told) => {
                    is_daemons = told.key.is_some();
                    target = told_target(target, told)?;
                    daemon = Some(client);
                }
                // A key finds its Hub.
                Err(ClientError::Absent { .. }) if hub.key.is_some() => {}
                Err(error) => return Err(no_hub(error)),
            }
        }
        Ok(Self {
            hub: HubAccess::find(target, &context.env).await?,
            daemon,
            is_daemons,
        })
    }

    /// The daemon that led here.
    pub(super) const fn daemon(&self) -> Option<&Client> {
        self.daemon.as_ref()
    }

    /// How the session is joined, also after the Hub has moved.
    pub(super) fn controller(&self, session: SessionId) -> ControllerConfig {
        let mut config = self.hub.controller(session);
        config.timing.backoff_cap = PATIENCE;
        if let (true, Some(client)) = (self.is_daemons, &self.daemon) {
            config.timing.backoff_cap = LONGEST_PAUSE;
            config.whereabouts = Some(Arc::new(AskDaemon(client.clone())));
        }
        config
    }

    /// Asks the Hub to have the session led again; false where it can start nothing that leads it (the
    /// embedded one says so itself).
    pub(super) fn resume(&self, session: SessionId) -> Resuming {
        let rest = self.hub.rest().clone();
        async move {
            rest.resume(&session).await?;
            let now = rest.session(&session).await?.rest;
            let is_not = |what: &str| now.get(what) == Some(&Value::Bool(false));
            Ok(!(is_not("runtimeAvailable") && is_not("wakeAvailable")))
        }
        .boxed()
    }

    /// The sessions that there are.
    pub(super) async fn sessions(&self) -> Result<Vec<Listed>, CliError> {
        Ok(self.hub.rest().sessions().await.map_err(rest_error)?)
    }
}

/// A Hub on its way to have a session led again: whether it can.
pub(super) type Resuming = BoxFuture<'static, Result<bool, RestError>>;

/// No Hub was named, and no daemon leads to one.
fn no_hub(error: ClientError) -> CliError {
    let is_absent = matches!(error, ClientError::Absent { .. });
    let error = CliError::from(error);
    if is_absent {
        let message = format!("{error}, or name a Hub by --hub URL");
        return CliError::new(error.exit(), message);
    }
    error
}

/// The Hub that a daemon has told of.
fn told_target(settings: HubTarget, told: HubJoin) -> Result<HubTarget, CliError> {
    let address = HubAddress::parse(&told.address);
    let mut target = HubTarget {
        address: Some(address.map_err(|error| CliError::new(Exit::Internal, error.to_string()))?),
        ..settings
    };
    if let Some(key) = told.key {
        let credentials = Credentials::new(Some(key.into()), None);
        target.credentials =
            credentials.map_err(|error| CliError::new(Exit::Internal, error.to_string()))?;
    }
    Ok(target)
}

/// Asks the daemon where its Hub is.
#[derive(Debug)]
struct AskDaemon(Client);

impl Whereabouts for AskDaemon {
    fn ask(&self) -> BoxFuture<'_, Option<(HubAddress, Credentials)>> {
        async {
            let told: HubJoin = self.0.get("/v1/hub").await.ok()?;
            let address = HubAddress::parse(&told.address).ok()?;
            let key = told.key.map(Into::into);
            Some((address, Credentials::new(key, None).ok()?))
        }
        .boxed()
    }
}
