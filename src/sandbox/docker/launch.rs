//! Makes a run's container, starts it, and hears its shim's first line.

use std::io;
use std::time::Duration;

use bollard::Docker;
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{AttachContainerOptionsBuilder, CreateContainerOptionsBuilder};
use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;

use super::engine::{EngineError, Users, refused};
use super::{DockerSandbox, policy};
use crate::process::Environment;
use crate::sandbox::place::ContainerName;
use crate::spool::{Plan, RunDir};

/// A busy engine takes seconds; the shim itself has 30 s for its `execve`.
pub(super) const START_LIMIT: Duration = Duration::from_secs(90);
/// The longest answer that is kept.
const MAX_ANSWER: usize = 16 * 1024;

/// What a container said on its stdout until it was satisfied or over, and on its stderr.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Starts the container of the run in `dir`; what its shim answered. A container that did not come
/// to answer is removed.
pub(super) async fn launch(
    sandbox: &DockerSandbox,
    dir: &RunDir,
    name: &ContainerName,
    plan: &Plan,
    environment: &Environment,
) -> Result<String, EngineError> {
    let client = sandbox.engine.client().await?;
    crash_point!("docker.before_create");
    let body = sandbox.policy.of_run(dir.path());
    let user = plan.user.as_ref().map(|user| (user.uid, user.gid));
    let user = user.unwrap_or(sandbox.policy.owner);
    // What engines say of themselves and of images is large.
    Box::pin(create(sandbox, name.as_str(), body, user)).await?;
    crash_point!("docker.created");
    let block = environment.to_block();
    let talk = talk(client, name.as_str(), Some(&block), Until::Line);
    let heard = within(START_LIMIT, "start the container", talk).await;
    crash_point!("docker.answered");
    match heard {
        Ok(heard) if !heard.stdout.is_empty() => Ok(heard.stdout),
        // A shim that was killed says nothing, and one that never was leaves its loader's words.
        Ok(heard) => Ok(heard.stderr),
        Err(error) => {
            sandbox.engine.remove(name.as_str()).await;
            Err(error)
        }
    }
}

/// Creates a container as `body` says, with what this engine and the image's volumes take; these are
/// for the user with these ids.
pub(super) async fn create(
    sandbox: &DockerSandbox,
    name: &str,
    mut body: ContainerCreateBody,
    user: (u32, u32),
) -> Result<(), EngineError> {
    let client = sandbox.engine.client().await?;
    let image = client.inspect_image(&sandbox.policy.image).await;
    let image = image.map_err(refused("look at the image"))?;
    let volumes = image.config.and_then(|config| config.volumes);
    let manner = sandbox.engine.manner(sandbox.policy.owner.0).await?;
    let user = match manner.users {
        Users::Same => user,
        Users::Kept => {
            policy::in_users(&mut body, "keep-id");
            user
        }
        Users::OfHost => {
            policy::in_users(&mut body, "host");
            user
        }
        Users::WeAreRoot => {
            body.user = Some("0:0".to_owned());
            (0, 0)
        }
    };
    let user = manner.owned_tmpfs.then_some(user);
    policy::cover(&mut body, &volumes.unwrap_or_default(), user);
    let named = CreateContainerOptionsBuilder::new().name(name).build();
    let created = client.create_container(Some(named), body).await;
    created.map(drop).map_err(refused("create the container"))
}

/// How long a container is listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Its first line on stdout.
    Line,
    /// Its end.
    End,
}

/// Attaches to a container that was created, starts it, hands it `block`, and listens.
pub(super) async fn talk(
    client: &Docker,
    name: &str,
    block: Option<&[u8]>,
    until: Until,
) -> Result<Heard, EngineError> {
    let how = AttachContainerOptionsBuilder::new()
        .stream(true)
        .stdin(block.is_some())
        .stdout(true)
        .stderr(true);
    let attached = client.attach_container(name, Some(how.build())).await;
    let AttachContainerResults {
        mut output,
        mut input,
    } = attached.map_err(refused("attach to the container"))?;
    let started = client.start_container(name, None).await;
    started.map_err(refused("start the container"))?;
    crash_point!("docker.started");
    if let Some(block) = block {
        let length = u32::try_from(block.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut message = length.to_vec();
        message.extend_from_slice(block);
        // A container that has ended already says why on its output.
        let _unheard = input.write_all(&message).await;
        let _unheard = input.flush().await;
    }
    let mut heard = Heard::default();
    while let Some(piece) = output.next().await {
        // Over TLS, an end without its farewell.
        if let Err(Error::IOError { err }) = &piece
            && err.kind() == io::ErrorKind::UnexpectedEof
        {
            break;
        }
        match piece.map_err(refused("read from the container"))? {
            LogOutput::StdOut { message } => add(&mut heard.stdout, &message),
            LogOutput::StdErr { message } => add(&mut heard.stderr, &message),
            LogOutput::StdIn { .. } | LogOutput::Console { .. } => {}
        }
        if until == Until::Line && heard.stdout.contains('\n') {
            break;
        }
    }
    Ok(heard)
}

pub(super) async fn within<T>(
    limit: Duration,
    step: &'static str,
    work: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    let in_time = tokio::time::timeout(limit, work).await;
    in_time.unwrap_or(Err(EngineError::Late { step, limit }))
}

fn add(text: &mut String, message: &[u8]) {
    if text.len() < MAX_ANSWER {
        text.push_str(&String::from_utf8_lossy(message));
    }
}
