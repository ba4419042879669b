//! Where a run's processes are: here, or in a container. It stands beside the run's folder, so that
//! whoever finds that knows how to watch the run and how to end it. Not in it: what is in there may
//! be written by what runs in the container.

use std::io;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::SandboxError;
use super::docker::Engine;
use crate::files;
use crate::spool::RunDir;

/// A container's name: it follows from the run's folder, so that one that was made is found without
/// its id.
#[derive(Debug, Clone)]
pub(super) struct ContainerName(String);

impl ContainerName {
    pub(super) fn of(dir: &RunDir) -> Self {
        let path = dir.path().as_os_str().as_encoded_bytes();
        let name = Uuid::new_v5(&Uuid::NAMESPACE_URL, path);
        Self(format!("agent-runner-{name}"))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a run's processes are.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// On this machine.
    Here,
    /// In a container.
    Container {
        /// What made it.
        engine: Engine,
        /// The container.
        name: ContainerName,
    },
}

/// What is kept of a container.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// The engine's address.
    engine: String,
}

impl Place {
    /// Of the run in `dir`.
    pub(super) fn of(dir: &RunDir) -> Result<Self, SandboxError> {
        let path = dir.container();
        let read = || -> io::Result<Record> { Ok(serde_json::from_slice(&std::fs::read(&path)?)?) };
        match read() {
            Ok(record) => Ok(Self::container(Engine::at(record.engine), dir)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::Here),
            Err(error) => Err(SandboxError::file(path)(error)),
        }
    }

    /// The container of the run in `dir`.
    pub(super) fn container(engine: Engine, dir: &RunDir) -> Self {
        let name = ContainerName::of(dir);
        Self::Container { engine, name }
    }

    /// Stores it for whoever finds the run.
    pub(super) fn write(&self, dir: &RunDir) -> Result<(), SandboxError> {
        let Self::Container { engine, .. } = self else {
            return Ok(());
        };
        let record = Record {
            engine: engine.endpoint().to_owned(),
        };
        let path = dir.container();
        serde_json::to_vec(&record)
            .map_err(io::Error::from)
            .and_then(|bytes| files::replace_durably(&path, &bytes))
            .map_err(SandboxError::file(path))
    }

    /// The same with connections of its own: they belong to the runtime that has made them.
    pub(super) fn apart(&self) -> Self {
        match self {
            Self::Here => Self::Here,
            Self::Container { engine, name } => Self::Container {
                engine: Engine::at(engine.endpoint()),
                name: name.clone(),
            },
        }
    }

    /// Ends what is left of a run in a container.
    pub(super) async fn remove(&self) {
        if let Self::Container { engine, name } = self {
            engine.remove(name.as_str()).await;
        }
    }

    /// Whether a container that is over, or the shim in it, died for want of memory.
    pub(super) async fn was_out_of_memory(&self) -> bool {
        match self {
            Self::Here => false,
            Self::Container { engine, name } => engine.was_out_of_memory(name.as_str()).await,
        }
    }
}
