//! What the Hub is asked before it is joined: where it is, whether it answers, a new session.

use std::time::Duration;

use serde_json::json;

use super::{DaemonError, Setup};
use crate::config::{EnvMap, HubConfig};
use crate::hub::rest::{Discovery, RestClient, RestError, discover};
use crate::hub::{Credentials, HubAddress};
use crate::ids::SessionId;

/// Finds the Hub and has it answer a request that changes nothing, within `limit`; its address.
pub async fn reach_hub(
    setup: &Setup<'_>,
    hub: &HubConfig,
    limit: Duration,
) -> Result<HubAddress, DaemonError> {
    let asking = async {
        let credentials = Credentials::new(hub.key.clone(), hub.org.clone())
            .map_err(|error| DaemonError::Usage(error.to_string()))?;
        let address = match &hub.url {
            Some(url) => HubAddress::parse(url.as_str())
                .map_err(|error| DaemonError::Usage(error.to_string()))?,
            None => discover(&discovery(setup.env), &credentials)
                .await
                .map_err(rest_error)?,
        };
        let rest = RestClient::new(address.clone(), &credentials).map_err(rest_error)?;
        rest.ping().await.map_err(rest_error)?;
        Ok(address)
    };
    tokio::time::timeout(limit, asking)
        .await
        .unwrap_or_else(|_| {
            Err(DaemonError::HubUnreachable(format!(
                "the Hub did not answer within {} s",
                limit.as_secs()
            )))
        })
}

pub(super) fn discovery(env: &EnvMap) -> Discovery {
    let text = |name: &str| {
        env.value(name)
            .and_then(|value| value.to_str())
            .map(str::to_owned)
    };
    Discovery {
        catalyst_url: text("AGENTUITY_CATALYST_URL").or_else(|| text("AGENTUITY_TRANSPORT_URL")),
        region: text("AGENTUITY_REGION"),
    }
}

pub(super) fn rest_error(error: RestError) -> DaemonError {
    match error {
        RestError::Refused { .. } | RestError::NotFound { .. } => {
            DaemonError::HubRefused(format!("{error}; check the key and the address"))
        }
        RestError::Address(error) => DaemonError::Usage(error.to_string()),
        _ => {
            let root = root(&error);
            DaemonError::HubUnreachable(format!(
                "{error}{root}; is the Hub running at this address?"
            ))
        }
    }
}

/// What lies at the bottom of an error, where that says more than its top.
fn root(error: &RestError) -> String {
    let mut root: &dyn std::error::Error = error;
    while let Some(source) = root.source() {
        root = source;
    }
    let (top, root) = (error.to_string(), root.to_string());
    if top.contains(&root) {
        return String::new();
    }
    format!(" ({root})")
}

/// Creates a session; a Hub that is not there yet is waited for.
pub(super) async fn create_session(
    setup: &Setup<'_>,
    rest: &RestClient,
    task: Option<&str>,
    wait: Duration,
) -> Result<SessionId, DaemonError> {
    const PAUSE: Duration = Duration::from_millis(250);
    let mut request = json!({
        "task": task.unwrap_or_default(),
        "metadata": {"agent": setup.config.agent.name.as_str()},
    });
    if let (Some(repo), Some(request)) = (&setup.config.repo, request.as_object_mut()) {
        let mut value = json!({"url": repo.url, "cloneUrl": repo.url});
        if let (Some(branch), Some(value)) = (&repo.branch, value.as_object_mut()) {
            value.insert("branch".to_owned(), json!(branch));
        }
        request.insert("repo".to_owned(), value);
    }
    let began = setup.clock.now();
    loop {
        match rest.create_session(&request).await {
            Ok(created) => return Ok(created.session_id),
            Err(error) if error.is_transient() && began.elapsed() < wait => {
                tracing::info!(%error, "the Hub is not there yet; trying again");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(rest_error(error)),
        }
    }
}
