//! Runs in containers beside us, one container a run, made through Docker's API.
//!
//! ```text
//! daemon ── create, attach, start ──► engine ──► container: init (PID 1) ─► shim ─► CLI
//!    └──── run folder (bind mount): plan, spool, status, control socket ──────┘
//! ```
//!
//! The shim is the container's program, and what daemon and shim say to each other goes through
//! the run's folder, which lies at the same path on both sides. So the run needs neither the
//! daemon nor the engine's API to go on, to end and to be found again: a container ends with its
//! run, and what is left of it is a name to be removed.
//!
//! Guarantees: a container is made as [`policy`] says and in no other way; the CLI's environment
//! is neither in the container's description nor in an argument list; a container that nobody
//! follows any more is removed by the next look at its label. Does not: move files. Workspace,
//! home and run folder must be on the machine of the engine, which is checked at the start.

mod engine;
mod launch;
mod leftovers;
mod policy;
mod prepare;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::engine::Engine;
pub use self::policy::{Mounted, PROGRAM, Policy};
pub use self::prepare::PrepareError;
use super::place::{ContainerName, Place};
use super::{RunHandle, SandboxError};
use crate::process::Environment;
use crate::spool::{Claim, Plan, RunDir};

/// Starts runs in containers.
#[derive(Debug, Clone)]
pub struct DockerSandbox {
    engine: Engine,
    policy: Arc<Policy>,
}

impl DockerSandbox {
    /// Containers of `engine`, made as `policy` says.
    pub fn new(engine: Engine, policy: Policy) -> Self {
        Self {
            engine,
            policy: Arc::new(policy),
        }
    }

    /// The same with one more folder to be read.
    pub(super) fn showing(&self, path: &Path) -> Self {
        let mut policy = Policy::clone(&self.policy);
        policy.mounted.push(Mounted {
            path: path.to_owned(),
            writable: false,
        });
        Self::new(self.engine.clone(), policy)
    }

    /// Creates the run's folder and starts the CLI in a container. As [`super::LocalSandbox`].
    pub(super) async fn start(
        &self,
        dir: &RunDir,
        plan: &Plan,
        prompt: &[u8],
        environment: &Environment,
    ) -> Result<RunHandle, SandboxError> {
        super::local::prepare(dir, plan, prompt)?;
        // Before there is a container: whoever finds the folder knows where to look.
        Place::container(self.engine.clone(), dir).write(dir)?;
        let name = ContainerName::of(dir);
        let answer = launch::launch(self, dir, &name, plan, environment).await;
        let answer = answer.map_err(|error| super::local::shim_error(dir, error.to_string()))?;
        let started = super::local::answered(dir, &answer).await;
        if started.is_err() {
            self.engine.remove(name.as_str()).await;
        }
        started
    }

    /// Removes the containers of runs that are over, whoever left them: those of the runs in
    /// `runs`, the folder of all runs.
    pub async fn sweep(&self, runs: &Path) {
        match self.engine.containers_of(runs).await {
            Ok(found) => {
                for container in found {
                    if container.is_over() && container.run().is_some_and(|run| is_free(&run)) {
                        self.engine.remove(&container.id).await;
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "containers that are over may be left"),
        }
    }
}

/// Whether no shim holds that run.
fn is_free(run: &Path) -> bool {
    let dir = RunDir::new(PathBuf::from(run));
    match Claim::take(&dir) {
        Ok(claim) => claim.is_some(),
        // No folder, no run.
        Err(_) => true,
    }
}
