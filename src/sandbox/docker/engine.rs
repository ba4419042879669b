//! The container engine: Docker, or what speaks its API.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::RemoveContainerOptionsBuilder;
use futures_util::StreamExt as _;
use tokio::sync::OnceCell;

use super::policy::OOM_CODE;
use crate::config::EnvMap;

/// The socket of an engine that root runs.
const SOCKET: &str = "/var/run/docker.sock";
/// Init ends what a dead shim left within 5 s, and then itself.
const END_LIMIT: Duration = Duration::from_secs(7);
/// What an engine answers for what is not there.
const NOT_FOUND: u16 = 404;
/// The removal of a container is under way already.
const IN_PROGRESS: u16 = 409;

/// An engine's address, and the connection to it once there was need for one.
#[derive(Debug, Clone)]
pub struct Engine {
    endpoint: String,
    client: Arc<OnceCell<Docker>>,
}

/// What an engine does in a way of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manner {
    pub(super) users: Users,
    /// Whether a file system in memory can be a user's. Podman knows no such option.
    pub(super) owned_tmpfs: bool,
}

/// Who a container's users are on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Users {
    /// The same.
    Same,
    /// Podman without root's rights maps them to others, and can be told to leave its own user as it
    /// is.
    Kept,
    /// An engine of root's that maps them to others can be told not to.
    OfHost,
    /// Docker without root's rights maps them to others, all but its own user: that is root in its
    /// containers, with rights over nothing but its own.
    WeAreRoot,
}

/// Why an engine did not do as it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// It does not answer.
    #[error(
        "no container engine answers at {endpoint} ({source}); start Docker, name another by \
         DOCKER_HOST, or run without --sandbox docker"
    )]
    Unreachable {
        /// Where it was asked.
        endpoint: String,
        /// Why not.
        #[source]
        source: Error,
    },
    /// It refused.
    #[error("the container engine cannot {step}: {}", words(.source))]
    Refused {
        /// What was asked, as a verb.
        step: &'static str,
        /// Its words.
        #[source]
        source: Error,
    },
    /// Its containers' users are not this machine's.
    #[error(
        "the container engine at {endpoint} runs without root's rights, as another user, and gives \
         users other ids in its containers; use root's engine, or run agent-runner as that user"
    )]
    OtherUsers {
        /// Where it is.
        endpoint: String,
    },
    /// It did not do so in time.
    #[error("the container engine did not {step} within {limit:?}")]
    Late {
        /// What was asked, as a verb.
        step: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
}

impl Engine {
    /// The engine that Docker's own client would use: `DOCKER_HOST`, else root's socket, else the
    /// user's own. `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` count as they do there.
    pub fn of(env: &EnvMap) -> Self {
        let named = env.value("DOCKER_HOST").and_then(|host| host.to_str());
        let own = env.value("XDG_RUNTIME_DIR");
        let own = own.map(|dir| PathBuf::from(dir).join("docker.sock"));
        let own = own.filter(|own| !Path::new(SOCKET).exists() && own.exists());
        let socket = own.unwrap_or_else(|| PathBuf::from(SOCKET));
        let default = || format!("unix://{}", socket.display());
        Self::at(named.map_or_else(default, str::to_owned))
    }

    /// The engine at that address.
    pub fn at(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            client: Arc::default(),
        }
    }

    /// Its address, as in `DOCKER_HOST`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A connection that speaks the engine's own version of the API.
    pub(super) async fn client(&self) -> Result<&Docker, EngineError> {
        let connect = async || {
            Docker::connect_with_host(&self.endpoint)?
                .negotiate_version()
                .await
        };
        let connected = self.client.get_or_try_init(connect).await;
        connected.map_err(|source| EngineError::Unreachable {
            endpoint: self.endpoint.clone(),
            source,
        })
    }

    /// How to make its containers; their users are those of this machine, or at least ours, `own`, is
    /// itself there.
    pub(super) async fn manner(&self, own: u32) -> Result<Manner, EngineError> {
        let client = self.client().await?;
        let version = client.version().await;
        let parts = version.map_err(refused("tell its version"))?.components;
        let mut parts = parts.into_iter().flatten();
        let is_podman = parts.any(|part| part.name == "Podman Engine");
        let info = client.info().await.map_err(refused("tell of itself"))?;
        let options = info.security_options.unwrap_or_default();
        // `name=rootless`, and `name=userns` for one that shifts its containers' users.
        let has = |wanted: &str| {
            let mut words = options.iter().flat_map(|option| option.split(','));
            words.any(|word| word == wanted)
        };
        // Whose it is, where that can be seen.
        let socket = self.endpoint.strip_prefix("unix://");
        let owner = socket.and_then(|path| Some(std::fs::metadata(path).ok()?.uid()));
        let is_ours = owner == Some(own);
        let users = match (is_podman, has("name=rootless")) {
            (true, _) if owner.is_none_or(|uid| uid == 0) => Users::Same,
            (true, _) if is_ours => Users::Kept,
            (false, true) if is_ours => Users::WeAreRoot,
            (false, false) if has("name=userns") => Users::OfHost,
            (false, false) => Users::Same,
            _ => {
                let endpoint = self.endpoint.clone();
                return Err(EngineError::OtherUsers { endpoint });
            }
        };
        Ok(Manner {
            users,
            owned_tmpfs: !is_podman,
        })
    }

    /// Which of the limits it does not set on this machine; the containers are then without.
    pub(super) async fn missing_limits(&self) -> Result<Vec<&'static str>, EngineError> {
        let info = self.client().await?.info().await;
        let info = info.map_err(refused("tell of itself"))?;
        let limits = [
            ("memory", info.memory_limit),
            ("processes", info.pids_limit),
            ("processors", info.cpu_cfs_quota),
        ];
        let missing = limits.into_iter().filter(|(_, is)| *is == Some(false));
        Ok(missing.map(|(name, _)| name).collect())
    }

    /// Kills a container and all in it, and removes it; without effect on one that is gone.
    pub(in crate::sandbox) async fn remove(&self, container: &str) {
        if let Err(error) = self.try_remove(container).await {
            tracing::warn!(container, %error, "a container may be left; its label will find it");
        }
    }

    async fn try_remove(&self, container: &str) -> Result<(), EngineError> {
        let how = RemoveContainerOptionsBuilder::new().force(true).v(true);
        let removed = self
            .client()
            .await?
            .remove_container(container, Some(how.build()));
        match removed.await {
            Err(Error::DockerResponseServerError { status_code, .. })
                if [NOT_FOUND, IN_PROGRESS].contains(&status_code) =>
            {
                Ok(())
            }
            removed => removed.map_err(refused("remove the container")),
        }
    }

    /// Whether the kernel killed something in a container for want of memory, as its init or its
    /// engine saw when it ended. One whose shim is dead ends within a moment.
    pub(in crate::sandbox) async fn was_out_of_memory(&self, container: &str) -> bool {
        let Ok(client) = self.client().await else {
            return false;
        };
        let mut end = client.wait_container(container, None);
        let ended = tokio::time::timeout(END_LIMIT, end.next()).await;
        // The client takes every code but 0 for an error.
        if let Ok(Some(Err(Error::DockerContainerWaitError { code, .. }))) = ended
            && code == i64::from(OOM_CODE)
        {
            return true;
        }
        // One that is gone, or does not end, has nothing to say.
        let found = client.inspect_container(container, None).await;
        let state = found.ok().and_then(|found| found.state);
        state.and_then(|state| state.oom_killed).unwrap_or(false)
    }
}

pub(super) fn refused(step: &'static str) -> impl FnOnce(Error) -> EngineError {
    move |source| EngineError::Refused { step, source }
}

/// What the engine itself said, without its client's frame around it.
pub(super) fn words(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::DockerStreamError { error } => error.clone(),
        other => other.to_string(),
    }
}

/// Whether the engine says that there is no such thing.
pub(super) fn is_missing(error: &Error) -> bool {
    matches!(
        error,
        Error::DockerResponseServerError {
            status_code: NOT_FOUND,
            ..
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_is_the_one_that_its_own_client_would_use() {
        let env: EnvMap = [("DOCKER_HOST", "tcp://10.0.0.1:2376")]
            .into_iter()
            .collect();
        assert_eq!(Engine::of(&env).endpoint(), "tcp://10.0.0.1:2376");
        let none = EnvMap::from_iter(Vec::<(&str, &str)>::new());
        assert_eq!(Engine::of(&none).endpoint(), format!("unix://{SOCKET}"));
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_named_with_what_to_do() {
        let engine = Engine::at("unix:///nowhere/docker.sock");
        let error = engine.client().await.unwrap_err().to_string();
        assert!(error.contains("unix:///nowhere/docker.sock"), "{error}");
        assert!(error.contains("DOCKER_HOST"), "{error}");
    }
}
