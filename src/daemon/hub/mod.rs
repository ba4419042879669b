//! The Hub of a daemon: where it is, who we are to it, and what it is asked before it is joined.
//! Below: what passes between it and a session that it knows.

pub(super) mod actions;
pub(super) mod commands;
pub(super) mod link_news;
pub(super) mod masks;
pub(super) mod own_hub;
pub(super) mod source;
pub(super) mod tools;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use self::masks::Masks;
use self::source::JournalSource;
use crate::clock::Clock;
use crate::config::{EnvMap, GateConfig, HubConfig, KeyInUrl, RepoConfig};
use crate::daemon::{DaemonError, Setup};
use crate::hub::controller::ControllerConfig;
use crate::hub::file;
use crate::hub::link::{self, Inbound, LinkConfig, LinkHandle, SessionFiles};
use crate::hub::rest::{Discovery, RestClient, RestError, discover};
use crate::hub::{Credentials, HubAddress, Proxies, Timing};
use crate::ids::SessionId;
use crate::tasks::Tasks;

/// Which Hub.
#[derive(Debug)]
pub struct HubTarget {
    /// Where; discovered with the key when absent.
    pub address: Option<HubAddress>,
    /// Who we are.
    pub credentials: Credentials,
    /// Whether the key stands in the WebSocket's URL.
    pub key_in_url: KeyInUrl,
    /// How long streamed text is joined.
    pub coalesce: Duration,
    /// Whether the Hub gets the session's file, too.
    pub session_file: bool,
    /// How long an absent Hub is waited for.
    pub wait: Duration,
    /// Whether tool calls wait for its word.
    pub gate: GateConfig,
    /// Whether the daemon's user may have the key, who cannot have it from anywhere else.
    pub lends_key: bool,
}

/// The Hub of a daemon; one client serves all its sessions.
#[derive(Debug, Clone)]
pub struct HubAccess {
    pub(super) rest: RestClient,
    pub(super) credentials: Credentials,
    key_in_url: KeyInUrl,
    coalesce: Duration,
    session_file: bool,
    pub(super) wait: Duration,
    pub(super) gate: GateConfig,
    lends_key: bool,
    /// What masks its key and the sessions' own.
    pub(super) masks: Arc<Masks>,
}

/// The credentials of the settings; a key file is read again when the Hub refuses its key.
pub fn credentials(hub: &HubConfig) -> Result<Credentials, DaemonError> {
    let credentials = Credentials::new(hub.key.clone(), hub.org.clone())
        .map_err(|error| DaemonError::Usage(error.to_string()))?;
    Ok(match hub.reread() {
        Some(reread) => credentials.renewable(Box::new(reread)),
        None => credentials,
    })
}

impl HubAccess {
    /// Checks what is known of the Hub, and finds it where only its key is.
    pub async fn find(target: HubTarget, env: &EnvMap) -> Result<Self, DaemonError> {
        let credentials = target.credentials;
        let address = match target.address {
            Some(address) => address,
            None => discover(&discovery(env), &credentials)
                .await
                .map_err(rest_error)?,
        };
        let rest = RestClient::new(address, &credentials).map_err(rest_error)?;
        Ok(Self {
            rest,
            credentials,
            key_in_url: target.key_in_url,
            coalesce: target.coalesce,
            session_file: target.session_file,
            wait: target.wait,
            gate: target.gate,
            lends_key: target.lends_key,
            masks: Arc::default(),
        })
    }

    /// Begins to join a session as its lead, for at most `patience`. A lead that lives in `home`
    /// can be started again there.
    pub(super) fn link(
        &self,
        source: JournalSource,
        (session, home): (SessionId, Option<&Path>),
        patience: Duration,
        tasks: &Tasks,
    ) -> (LinkHandle, mpsc::Receiver<Inbound>) {
        let instance = Clock.new_uuid();
        let config = LinkConfig {
            address: self.address().clone(),
            credentials: self.credentials.clone(),
            key_in_url: self.key_in_url,
            proxies: Proxies::from_environment(),
            files: self.session_file.then(|| SessionFiles {
                folder: file::folder(&source.state_dir),
                rest: self.rest.clone(),
            }),
            session: Some(session),
            driver_instance_id: instance.to_string(),
            driver_version: env!("CARGO_PKG_VERSION").to_owned(),
            home: home.map(Path::to_owned),
            timing: Timing {
                hub_wait: patience,
                takeover: self.takeover(),
                join: self.coalesce,
                ..Timing::default()
            },
            seed: instance.as_u64_pair().1,
        };
        link::start(config, source, tasks, Clock)
    }

    /// How often it is looked whether another driver is gone: as often as the wait for the Hub has
    /// room for.
    fn takeover(&self) -> Duration {
        let most = Timing::default().takeover;
        self.wait.clamp(Duration::from_secs(1), most)
    }

    /// How to join a session as a controller.
    pub fn controller(&self, session: SessionId) -> ControllerConfig {
        ControllerConfig {
            address: self.address().clone(),
            credentials: self.credentials.clone(),
            key_in_url: self.key_in_url,
            proxies: Proxies::from_environment(),
            session,
            timing: Timing {
                hub_wait: self.wait,
                ..Timing::default()
            },
            seed: Clock.new_uuid().as_u64_pair().1,
            whereabouts: None,
        }
    }

    /// The key, where it is the daemon's to lend.
    pub(super) fn lent_key(&self) -> Option<SecretString> {
        self.credentials.key().filter(|_| self.lends_key)
    }

    /// The Hub's REST interface.
    pub const fn rest(&self) -> &RestClient {
        &self.rest
    }

    /// Where the Hub is.
    pub fn address(&self) -> &HubAddress {
        self.rest.address()
    }
}

/// Finds the Hub and has it answer a request that changes nothing, within `limit`; its address.
pub async fn reach_hub(
    setup: &Setup<'_>,
    hub: &HubConfig,
    limit: Duration,
) -> Result<HubAddress, DaemonError> {
    let asking = async {
        let credentials = credentials(hub)?;
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

/// A REST call's failure as the command's.
pub fn rest_error(error: RestError) -> DaemonError {
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

/// A repository as a session's record has it.
fn shown(repo: &RepoConfig) -> Value {
    let mut value = json!({"url": repo.url, "cloneUrl": repo.url});
    if let (Some(branch), Some(value)) = (&repo.branch, value.as_object_mut()) {
        value.insert("branch".to_owned(), json!(branch));
    }
    value
}

/// Creates a session; a Hub that is not there yet is waited for.
pub(super) async fn create_session(
    setup: &Setup<'_>,
    hub: &HubAccess,
    task: Option<&str>,
) -> Result<SessionId, DaemonError> {
    let mut request = json!({
        "task": task.unwrap_or_default(),
        "metadata": {"agent": setup.config.agent.name.as_str()},
    });
    let repos: Vec<_> = setup.config.repos.iter().map(shown).collect();
    if let (Some(first), Some(request)) = (repos.first(), request.as_object_mut()) {
        request.insert("repo".to_owned(), first.clone());
        if repos.len() > 1 {
            request.insert("repos".to_owned(), repos.into());
        }
    }
    let created = patiently(setup.clock, hub.wait, || hub.rest.create_session(&request));
    Ok(created.await.map_err(rest_error)?.session_id)
}

/// Makes a call again while the Hub is away, for at most `patience`: it may be on its way up, or be
/// started again just now.
pub(super) async fn patiently<T, A>(
    clock: Clock,
    patience: Duration,
    call: impl Fn() -> A,
) -> Result<T, RestError>
where
    A: Future<Output = Result<T, RestError>>,
{
    const PAUSE: Duration = Duration::from_millis(250);
    let began = clock.now();
    loop {
        match call().await {
            Err(error) if error.is_transient() && began.elapsed() < patience => {
                tracing::info!(%error, "the Hub is not there; trying again");
                tokio::time::sleep(PAUSE).await;
            }
            answered => return answered,
        }
    }
}
