//! Leads a Hub session.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use secrecy::SecretString;

use super::lead::{Context, StopSignal, Stops, exit_code, runtime};
use super::render::{Renderer, ended};
use super::{CliError, Exit};
use crate::config::{CommandKind, HubConfig, HubOptions, Options};
use crate::daemon::{self, Lead, Led, Setup, Target};
use crate::event::Outcome;
use crate::hub::HubAddress;
use crate::journal::{StoredBatch, Tail};
use crate::tasks::Tasks;

/// What a daemon exits with that was stopped in the middle of a turn: 128 + SIGTERM, so that a
/// supervisor starts it again and the turn goes on.
const PAUSED: u8 = 143;

/// How long a pause may take: the agent gets 4.5 s to end, and a supervisor waits 8 s in all, of which
/// the Hub's farewell may need two.
const PAUSE_LIMIT: Duration = Duration::from_millis(5_500);
/// How long the end of all tasks is waited for.
const STOP_LIMIT: Duration = Duration::from_millis(500);

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
    let hub = Some(&arguments.hub);
    let Some(context) = Context::read(CommandKind::Daemon, &arguments.options, hub, None)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let task = context.task()?;
    let setup = context.setup();
    let Some(hub) = &setup.config.hub else {
        return Err(CliError::new(
            Exit::Internal,
            "no Hub in the settings of a daemon",
        ));
    };
    runtime()?.block_on(lead(&setup, hub, task))
}

async fn lead(
    setup: &Setup<'_>,
    hub: &HubConfig,
    task: Option<String>,
) -> Result<ExitCode, CliError> {
    let mut stops = Stops::listen()?;
    let prepared = daemon::prepare(setup)?;
    let footprint = prepared.footprint();
    let tasks = Tasks::new();
    let starting = async {
        let lead = prepared.join(setup, target(hub, task)?, &tasks).await?;
        let (lead, tail) = follow(lead).await?;
        eprintln!("agent-runner: leading session {}", lead.session_id());
        Ok::<_, CliError>((lead.start(setup).await?, tail))
    };
    let started = tokio::select! {
        biased;
        _ = stops.next() => None,
        started = starting => Some(started),
    };
    let result = match started {
        // Nothing runs yet, and so nothing is lost.
        None => Ok(ExitCode::SUCCESS),
        Some(Err(error)) => Err(error),
        Some(Ok((led, tail))) => serve(setup, hub.once, led, tail, &mut stops).await,
    };
    if tokio::time::timeout(STOP_LIMIT, tasks.stop())
        .await
        .is_err()
    {
        tracing::warn!("leaving while something still waits for the disk");
    }
    if result.is_err() {
        footprint.erase().await;
    }
    result
}

fn target(hub: &HubConfig, task: Option<String>) -> Result<Target, CliError> {
    let usage = |error: &dyn std::fmt::Display| CliError::new(Exit::Usage, error.to_string());
    let address = hub.url.as_ref().map(|url| HubAddress::parse(url.as_str()));
    Ok(Target {
        address: address.transpose().map_err(|error| usage(&error))?,
        key: hub.key.clone() as Option<SecretString>,
        org: hub.org.clone(),
        session: hub.session.clone(),
        task,
        wait: hub.wait,
    })
}

/// A tail that begins after what earlier daemons of the session have shown.
async fn follow(lead: Lead) -> Result<(Lead, Tail), CliError> {
    let last = lead
        .journal()
        .last_seq(lead.session_id())
        .await
        .map_err(|error| CliError::new(Exit::State, error.to_string()))?;
    let tail = lead.journal().tail(lead.session_id(), last);
    Ok((lead, tail))
}

async fn serve(
    setup: &Setup<'_>,
    once: bool,
    mut led: Led,
    mut tail: Tail,
    stops: &mut Stops,
) -> Result<ExitCode, CliError> {
    let mut renderer = Renderer::new(setup.config.output);
    let mut shown = Shown::default();
    if once && let Some(outcome) = led.settled().await? {
        led.close(None).await;
        return Ok(exit_code(outcome));
    }
    let mut state = led.session.state();
    let exit = loop {
        // The last event may be shown before the session is idle, or after.
        if once
            && state.borrow_and_update().is_idle()
            && let Some(outcome) = shown.outcome
        {
            break exit_code(outcome);
        }
        tokio::select! {
            biased;
            signal = stops.next() => break pause(&led, stops, signal).await,
            fault = led.fault() => return Err(fault.into()),
            batch = tail.next() => {
                shown.show(&mut renderer, &batch.map_err(|error| journal_error(&error))?);
            }
            // A driver that is gone has a fault to tell.
            Ok(()) = state.changed() => {}
        }
    };
    while let Ok(Some(batch)) = tail.try_next().await {
        shown.show(&mut renderer, &batch);
    }
    let last = crate::ids::Seq::new(tail.position());
    led.close(last).await;
    Ok(exit)
}

/// What was shown of the session so far.
#[derive(Default)]
struct Shown {
    /// Of the last turn that ended.
    outcome: Option<Outcome>,
    /// Nobody reads stdout any more.
    closed: bool,
}

impl Shown {
    fn show(&mut self, renderer: &mut Renderer, batch: &StoredBatch) {
        let outcome = &mut self.outcome;
        let mut sink = io::sink();
        let note = |envelope: &crate::event::Envelope| {
            if let Some(end) = ended(envelope) {
                *outcome = Some(end);
            }
        };
        let result = if self.closed {
            renderer.show(batch, &mut sink, note)
        } else {
            renderer.show(batch, &mut io::stdout().lock(), note)
        };
        // The session goes on without readers.
        self.closed |= result.is_err();
    }
}

/// Leaves the running turn to the next daemon; a second signal ends it at once.
async fn pause(led: &Led, stops: &mut Stops, signal: StopSignal) -> ExitCode {
    tracing::info!(?signal, "pausing the session");
    let paused = led.session.pause(false);
    tokio::pin!(paused);
    let pausing = async {
        tokio::select! {
            open = &mut paused => open,
            _ = stops.next() => led.session.pause(true).await,
        }
    };
    // On a full disk it may take any time. What is not stored is in the spool, for the next daemon.
    let open = tokio::time::timeout(PAUSE_LIMIT, pausing)
        .await
        .unwrap_or(true);
    if open {
        ExitCode::from(PAUSED)
    } else {
        ExitCode::SUCCESS
    }
}

fn journal_error(error: &crate::journal::JournalError) -> CliError {
    CliError::new(Exit::Internal, error.to_string())
}
