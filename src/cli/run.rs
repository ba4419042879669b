//! One turn in the foreground: daemon and embedded Hub in this process.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::approve::Here;
use super::lead::{Context, Stops, exit_code, runtime};
use super::printing::say;
use super::render::Stage;
use super::{CliError, Exit, images};
use crate::config::{CommandKind, Options};
use crate::daemon::{Chosen, HubAccess, Led, OwnHub, Setup, State, take_images};
use crate::image::Image;
use crate::journal::Tail;
use crate::tasks::Tasks;

/// How long the Hub in this process is waited for.
const HUB_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What the agent is to do; `-` reads it from stdin
    #[arg(value_name = "TASK")]
    task: Option<String>,
    #[command(flatten)]
    images: images::Images,
    #[command(flatten)]
    options: Options,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let task = arguments.task.as_deref();
    let Some(mut context) = Context::read(CommandKind::Run, &arguments.options, None, task)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let Some(task) = context.task()? else {
        return Err(CliError::new(
            Exit::Usage,
            "there is no task: say what the agent is to do",
        ));
    };
    context.refuse_missing_workspace()?;
    let images = arguments.images.read()?;
    if !images.is_empty() {
        take_images(&mut context.config.agent)?;
    }
    let folder = Folder::new(&context.config.state_dir);
    context.config.state_dir.clone_from(&folder.path);
    let result = runtime()?.block_on(turn(&context.setup(), &folder, (task, images)));
    if result.is_err() {
        folder.remove();
    }
    result
}

/// The run's own state dir, so that runs go side by side.
struct Folder {
    path: PathBuf,
    /// Folders above it that were not there, the innermost first.
    made: Vec<PathBuf>,
}

impl Folder {
    fn new(state_dir: &Path) -> Self {
        let id = crate::clock::Clock.new_uuid();
        let runs = state_dir.join("runs");
        let path = runs.join(id.to_string());
        let mut made = vec![runs, state_dir.to_owned()];
        made.retain(|folder| !folder.exists());
        Self { path, made }
    }

    /// A run that never began leaves nothing behind.
    fn remove(&self) {
        // Where the state dir is no folder, or nobody lets us in, there is nothing to remove.
        if self.path.exists()
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            say!(
                "agent-runner: cannot remove {}: {error}",
                self.path.display()
            );
        }
        for folder in &self.made {
            // Another run that has begun meanwhile keeps them.
            std::fs::remove_dir(folder).ok();
        }
    }
}

async fn turn(
    setup: &Setup<'_>,
    folder: &Folder,
    (task, images): (String, Vec<Image>),
) -> Result<ExitCode, CliError> {
    let mut stops = Stops::listen()?;
    let chosen = Chosen::check(setup)?;
    let state = State::take(
        setup.state_root,
        &setup.config.state_dir,
        chosen.runs_here_as(),
        &setup.config.keeping,
    )?;
    let tasks = Tasks::new();
    let own = OwnHub::open(&folder.path.join("hub"), &tasks).await?;
    let session = own.create_session(&task).await?;
    let hub = HubAccess::find(own.target()?, setup.env).await?;
    let mut shown = Stage::new(setup.config.output);
    let mut tail = state.journal().tail(&session, 0);
    let joining = chosen.connect(&state, &hub, session, HUB_PATIENCE, &tasks);
    let joining = joining.with_images(images);
    let starting = async {
        let joined = joining.joined().await?;
        Ok::<_, CliError>(joining.start(setup, &joined).await?)
    };
    tokio::pin!(starting);
    let started = loop {
        tokio::select! {
            biased;
            _ = stops.next() => break None,
            started = &mut starting => break Some(started),
            batch = tail.next() => {
                let batch = batch.map_err(|error| internal(&error))?;
                shown.batch(&batch, |_| {});
            }
        }
    };
    let result = match started {
        None | Some(Err(_)) => {
            // Why it does not begin may be told there, as what a script has printed.
            while let Ok(Some(batch)) = tail.try_next().await {
                shown.batch(&batch, |_| {});
            }
            Err(match started {
                Some(Err(error)) => error,
                _ => CliError::cancelled(),
            })
        }
        Some(Ok(led)) => {
            let here = Here::new(
                led.session.state(),
                setup.config.agent.approval.timeout,
                shown.is_pretty(),
            );
            follow(led, &mut tail, &mut shown, &mut stops, here, folder).await
        }
    };
    tasks.stop().await;
    own.stop().await;
    state.retire();
    result
}

async fn follow(
    mut led: Led,
    tail: &mut Tail,
    shown: &mut Stage,
    stops: &mut Stops,
    mut here: Here,
    folder: &Folder,
) -> Result<ExitCode, CliError> {
    let mut interrupts = 0_u32;
    let outcome = loop {
        tokio::select! {
            biased;
            _ = stops.next() => {
                interrupts += 1;
                let at_once = interrupts > 1;
                if !at_once {
                    say!("\nagent-runner: interrupting the agent (again: kill it at once)");
                }
                led.session.cancel(at_once).await;
            }
            fault = led.fault() => return Err(fault.into()),
            batch = tail.next() => {
                let batch = batch.map_err(|error| internal(&error))?;
                if let Some(outcome) = shown.batch(&batch, |envelope| here.hear(envelope)) {
                    break outcome;
                }
            }
            answered = here.answer() => {
                if let Err(error) = led.session.answer(answered?).await {
                    say!("agent-runner: {error}");
                }
            }
        }
    };
    if shown.is_pretty() {
        say!("workspace: {}", led.workspace.display());
        say!("record:    {}", folder.path.display());
    }
    led.close().await;
    Ok(exit_code(outcome))
}

fn internal(error: &dyn std::fmt::Display) -> CliError {
    CliError::new(Exit::Internal, error.to_string())
}
