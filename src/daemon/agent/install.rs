//! Installs the agent's CLI while the session's participants watch.

use std::path::PathBuf;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::daemon::workspace::SetupLog;
use crate::daemon::{DaemonError, Setup};
use crate::install::{self, Environment, Release, Step};

/// An install has three steps; none of them waits for its event to be stored.
const STEPS_QUEUE: usize = 4;

/// What the events call it.
const STEP: &str = "install";

/// Installs `release` into the prefix; its executable. Dropped, it ends the install.
pub(in crate::daemon) async fn install(
    setup: &Setup<'_>,
    release: &'static Release,
    log: &SetupLog,
) -> Result<PathBuf, DaemonError> {
    let Release { name, version, .. } = release;
    let (progress, mut steps) = mpsc::channel(STEPS_QUEUE);
    let environment = Environment::new(setup.env.variables());
    let prefix = setup.prefix.clone();
    let cancel = CancellationToken::new();
    let watched = cancel.clone();
    let _cancelled_on_drop = cancel.drop_guard();
    let installing = tokio::task::spawn_blocking(move || {
        install::install(&prefix, release, &environment, &watched, &mut |step| {
            // A full queue only means that this step is not told.
            let _full = progress.try_send(step);
        })
    });
    while let Some(step) = steps.recv().await {
        let text = format!("{name} {version}: {}", words(step));
        log.setup(STEP, "stdout", text).await?;
    }
    let result = installing
        .await
        .map_err(|error| DaemonError::Internal(error.to_string()))?;
    match result {
        Ok(installed) => {
            let path = installed.executable;
            let text = format!("{name} {version}: installed as {}", path.display());
            log.setup(STEP, "stdout", text).await?;
            Ok(path)
        }
        Err(error) => {
            let message = error.to_string();
            log.setup(STEP, "stderr", message.clone()).await?;
            Err(DaemonError::Agent { message })
        }
    }
}

const fn words(step: Step) -> &'static str {
    match step {
        Step::Waiting => "waiting for another install",
        Step::Downloading => "downloading",
        Step::Checking => "checking",
    }
}
