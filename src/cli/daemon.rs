//! Leads a Hub session, and every other one that the state dir holds or the API is asked for.

use std::process::ExitCode;

use super::hosting::{Ended, Signals, hub_target, leave, serve_api, settle, stop};
use super::lead::{Context, exit_code, runtime};
use super::printing::say;
use super::render::Stage;
use super::{CliError, Exit};
use crate::api::{LedSession, Standing};
use crate::config::{CommandKind, HubConfig, HubOptions, Options};
use crate::daemon::{Chosen, HubAccess, Named, OwnedSetup, Primary, Registry, State};
use crate::event::Outcome;
use crate::journal::StoredBatch;
use crate::tasks::Tasks;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    hub: HubOptions,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let hub_options = Some(&arguments.hub);
    let context = Context::read(CommandKind::Daemon, &arguments.options, hub_options, None)?;
    let Some(mut context) = context else {
        return Ok(ExitCode::SUCCESS);
    };
    let Some(hub) = context.config.hub.take() else {
        return Err(CliError::new(
            Exit::Internal,
            "no Hub in the settings of a daemon",
        ));
    };
    let named = Named {
        session: hub.session.clone(),
        task: context.task()?,
        settings: context.session_settings(&arguments.options, hub_options),
    };
    let runtime = runtime()?;
    runtime.block_on(lead(context, hub, named))?.exit(runtime)
}

async fn lead(context: Context, hub: HubConfig, named: Named) -> Result<Ended, CliError> {
    let mut signals = Signals::listen()?;
    let view = context.setup();
    let chosen = Chosen::check(&view)?;
    let state = State::take(
        view.state_root,
        &view.config.state_dir,
        chosen.runs_here_as(),
        &view.config.keeping,
    )?;
    let footprint = state.footprint();
    let tasks = Tasks::new();
    let result = with(context, hub, named, chosen, state, &tasks, &mut signals).await;
    if !stop(&tasks, &result).await {
        return result;
    }
    match result {
        Ok(_) => footprint.keep().await,
        Err(_) => footprint.erase().await,
    }
    result
}

/// Leads with the state dir taken.
async fn with(
    mut context: Context,
    hub: HubConfig,
    named: Named,
    chosen: Chosen,
    state: State,
    tasks: &Tasks,
    signals: &mut Signals,
) -> Result<Ended, CliError> {
    let around = context.surroundings();
    let env = context.env.clone();
    let listen = context.config.api.take();
    let setup = OwnedSetup {
        around: around.clone(),
        config: context.config,
        command: context.place.command,
        env: context.env,
        cwd: context.place.cwd,
    };
    let output = setup.config.output;
    let starting = async {
        let once = hub.once;
        let hub = HubAccess::find(hub_target(&hub)?, &env).await?;
        let registry = Registry::new(around, state, hub, env.clone(), tasks.clone());
        let api = serve_api(&registry, &env, listen, tasks).await?;
        let primary = registry.lead(setup, chosen, named).await?;
        registry.reopen().await?;
        Ok::<_, CliError>((registry, api, primary, once))
    };
    let (registry, _api, primary, once) = tokio::select! {
        biased;
        // Nothing runs yet, and so nothing is lost.
        _ = signals.next() => return Ok(Ended::With(ExitCode::SUCCESS)),
        started = starting => started?,
    };
    settle(tasks);
    let id = &primary.hosted.id;
    say!("agent-runner: leading session {id}");
    if primary.is_continued {
        say!(
            "agent-runner: an earlier daemon made this session for the same task; for a new one, \
             use `agent-runner start`, or another --state-dir"
        );
    }
    let watch = Watch {
        registry: &registry,
        once,
        stage: Stage::new(output).with_prompts(),
        outcome: None,
    };
    watch.serve(primary, signals).await
}

/// Watches the session that the command is for.
struct Watch<'a> {
    registry: &'a Registry,
    once: bool,
    stage: Stage,
    /// Of the last turn that was seen to end.
    outcome: Option<Outcome>,
}

impl Watch<'_> {
    async fn serve(
        mut self,
        mut primary: Primary,
        signals: &mut Signals,
    ) -> Result<Ended, CliError> {
        let over = self.until_over(&mut primary, signals).await?;
        let ended = match over {
            Over::Done(outcome) => {
                self.registry.close(&primary.hosted).await?;
                leave(self.registry, signals, Some(exit_code(outcome))).await
            }
            Over::Signal => leave(self.registry, signals, None).await,
            Over::Upgrade => {
                self.registry.ended_in_order();
                return Ok(Ended::Left(ExitCode::SUCCESS));
            }
        };
        while let Ok(Some(batch)) = primary.tail.try_next().await {
            self.show(&batch);
        }
        Ok(ended)
    }

    async fn until_over(
        &mut self,
        primary: &mut Primary,
        signals: &mut Signals,
    ) -> Result<Over, CliError> {
        let mut standing = primary.hosted.standing();
        let mut led: Option<LedSession> = None;
        let mut state = None;
        loop {
            if led.is_none() {
                led = self.led(primary, &mut standing).await?;
                state = led.as_ref().map(|led| led.session.state());
                if let (true, Some(led)) = (self.once, &led)
                    && let Some(outcome) = self.settled(primary, led).await?
                {
                    return Ok(Over::Done(outcome));
                }
            }
            // The last event may be shown before the session is idle, or after.
            if self.once
                && let Some(state) = &mut state
                && state.borrow_and_update().is_idle()
                && let Some(outcome) = self.outcome
            {
                return Ok(Over::Done(outcome));
            }
            let news = async {
                match &mut state {
                    Some(state) => state.changed().await,
                    None => standing.changed().await,
                }
            };
            tokio::select! {
                biased;
                signal = signals.next() => return Ok(signal),
                error = self.registry.fatal() => return Err(error.into()),
                batch = primary.tail.next() => {
                    let batch = batch.map_err(|error| journal_error(&error))?;
                    self.show(&batch);
                }
                gone = news => if gone.is_err() && led.is_some() {
                    // The driver is gone; its session says why.
                    standing.changed().await.ok();
                    led = None;
                }
            }
        }
    }

    /// The session where it is led by now; its failure is the command's.
    async fn led(
        &mut self,
        primary: &mut Primary,
        standing: &mut tokio::sync::watch::Receiver<Standing>,
    ) -> Result<Option<LedSession>, CliError> {
        let now = standing.borrow_and_update().clone();
        match now {
            Standing::SettingUp { .. } => Ok(None),
            Standing::Led(led) => Ok(Some(led)),
            Standing::Ended { .. } => {
                let message = format!("session {} was ended", primary.hosted.id);
                Err(CliError::new(Exit::TryAgain, message))
            }
            Standing::Failed { reason } => {
                while let Ok(Some(batch)) = primary.tail.try_next().await {
                    self.show(&batch);
                }
                let failure = primary.hosted.failure();
                Err(failure.map_or_else(|| CliError::new(Exit::Internal, reason), CliError::from))
            }
        }
    }

    fn show(&mut self, batch: &StoredBatch) {
        self.outcome = self.stage.batch(batch, |_| {}).or(self.outcome);
    }

    /// The outcome of the last turn, when the session's work was all done before this start.
    async fn settled(
        &self,
        primary: &Primary,
        led: &LedSession,
    ) -> Result<Option<Outcome>, CliError> {
        if !led.session.state().borrow().is_idle() {
            return Ok(None);
        }
        let turns = self.registry.turns(&primary.hosted.id).await?;
        Ok(turns.last().and_then(|turn| turn.outcome))
    }
}

/// Why the session is watched no longer.
pub(super) enum Over {
    /// Its task has ended like this.
    Done(Outcome),
    /// We were asked to stop.
    Signal,
    /// We were asked to make room for another version.
    Upgrade,
}

fn journal_error(error: &crate::journal::JournalError) -> CliError {
    CliError::new(Exit::Internal, error.to_string())
}
