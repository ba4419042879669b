//! Where a session's agent runs: the sandbox of its settings, and what of the machine it shows.

use std::path::{Path, PathBuf};

use nix::unistd;
use tokio::sync::mpsc;

use crate::config::{CommandKind, EnvMap, SandboxKind};
use crate::daemon::hub::tools;
use crate::daemon::workspace::SetupLog;
use crate::daemon::workspace::agents_git;
use crate::daemon::{DaemonError, Setup};
use crate::ids::SessionId;
use crate::sandbox::docker::{DockerSandbox, Engine, Mounted, Policy};
use crate::sandbox::{LocalSandbox, Sandbox};

/// Layers of an image are told of one by one; a step that comes too fast is dropped.
const STEPS_QUEUE: usize = 16;
/// What the events call it.
const STEP: &str = "sandbox";

/// The sandbox of a session that works in `workspace`, with its agent's `home`.
pub(in crate::daemon) fn sandbox(
    setup: &Setup<'_>,
    session: &SessionId,
    workspace: &Path,
    home: &Path,
) -> Result<Sandbox, DaemonError> {
    let config = setup.config;
    match config.sandbox.kind {
        SandboxKind::Local => Ok(Sandbox::Local(LocalSandbox::of_this_program())),
        SandboxKind::Docker => {
            let engine = Engine::of(&EnvMap::of_this_process());
            let image = config.sandbox.image.clone();
            let image = image.unwrap_or_else(|| format!("agent-runner:{}", config.agent.name));
            let (uid, gid) = (unistd::geteuid(), unistd::getegid());
            let policy = Policy {
                image,
                limits: config.sandbox.clone(),
                program: own_program()?,
                mounted: mounted(setup, session, workspace, home),
                runs: config.state_dir.join("runs"),
                owner: (uid.as_raw(), gid.as_raw()),
                session: session.to_string(),
            };
            Ok(Sandbox::Docker(DockerSandbox::new(engine, policy)))
        }
    }
}

/// Makes sure that runs can be started, and tells how far that is. Its steps are the session's.
pub(in crate::daemon) async fn prepare(
    command: CommandKind,
    sandbox: &Sandbox,
    program: &Path,
    log: &SetupLog,
) -> Result<(), DaemonError> {
    let Sandbox::Docker(docker) = sandbox else {
        return Ok(());
    };
    let (progress, mut steps) = mpsc::channel::<String>(STEPS_QUEUE);
    let telling = async {
        let mut last = String::new();
        while let Some(step) = steps.recv().await {
            if is_news(&last, &step)
                && let Err(error) = log.setup(STEP, "stdout", step.clone()).await
            {
                tracing::warn!(%error, "progress could not be stored");
            }
            last = step;
        }
    };
    let preparing = async move {
        let made = docker.prepare(program, &progress).await;
        drop(progress);
        made
    };
    let (made, ()) = tokio::join!(preparing, telling);
    match made {
        Ok(()) => Ok(()),
        Err(error) => {
            let message = error.to_string();
            // `run` says it itself, to the only one who listens.
            if command != CommandKind::Run {
                log.setup(STEP, "stderr", message.clone()).await?;
            }
            Err(unusable(message))
        }
    }
}

/// A layer's bytes come many times a second: told is what begins and ends.
fn is_news(last: &str, step: &str) -> bool {
    let kind = |text: &str| {
        let words = text.split_whitespace();
        let words = words.take_while(|word| !word.starts_with(|c: char| c.is_ascii_digit()));
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    !step.contains(" MiB") || kind(last) != kind(step)
}

/// What the agent finds at the same path as here. The rest of the state is none of its business.
fn mounted(setup: &Setup<'_>, session: &SessionId, workspace: &Path, home: &Path) -> Vec<Mounted> {
    let agent = &setup.config.agent;
    let state_dir = &setup.config.state_dir;
    let git = agents_git::folder(state_dir, session);
    let tools = tools::folder(state_dir, session);
    let folders = [workspace, home].map(|path| (path.to_owned(), true));
    let files = [&agent.system_prompt_file, &agent.mcp_config];
    let files = files
        .into_iter()
        .flatten()
        .map(|path| (path.clone(), false))
        .chain([(git, false)])
        // Where the Hub offers any.
        .chain(tools.is_dir().then_some((tools, false)));
    let all = folders.into_iter().chain(files);
    let all = all.map(|(path, writable)| Mounted { path, writable });
    all.collect()
}

/// Our program's file, which has to be the one that runs: shim and daemon speak one contract.
fn own_program() -> Result<PathBuf, DaemonError> {
    let path = std::env::current_exe()
        .map_err(|error| unusable(format!("the program's own file: {error}")))?;
    if path.is_file() {
        return Ok(path);
    }
    Err(unusable(format!(
        "{} was replaced or removed while this daemon ran, and containers need it: restart the \
         daemon",
        path.display()
    )))
}

/// The agent cannot be run in the container that was asked for.
fn unusable(message: String) -> DaemonError {
    DaemonError::Agent { message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_told_of_when_it_begins_and_when_it_does_something_else() {
        let steps = [
            ("", "pulling x", true),
            ("pulling x", "pulling x: ab Downloading 1 of 9 MiB", true),
            (
                "pulling x: ab Downloading 1 of 9 MiB",
                "pulling x: ab Downloading 2 of 9 MiB",
                false,
            ),
            (
                "pulling x: ab Downloading 9 of 9 MiB",
                "pulling x: ab Extracting 1 of 9 MiB",
                true,
            ),
        ];
        for (last, step, expected) in steps {
            assert_eq!(is_news(last, step), expected, "{step}");
        }
    }
}
