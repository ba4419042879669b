//! A controller's own command in the workspace: with the rights of the agent, and no more.
//!
//! It runs as the agent's user, with the agent's environment, below a shim like the agent itself,
//! so that nothing of it is left when it is ended. Its output is masked like the agent's. It is
//! bounded in time and output. What the rules deny the agent is denied here as well. One runs at a
//! time; what a daemon that died has left of it goes at the next start.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Answer;
use crate::agent::live::Asked;
use crate::event::{Event, NoticeLevel};
use crate::ids::{EventId, SpoolOffset};
use crate::journal::{Batch, NewEvent};
use crate::sandbox::{self, Attach, Change, Ending, RunHandle, SandboxError};
use crate::spool::control::Stop;
use crate::spool::{Plan, RunDir, Stdin, Stdout, Tail};
use crate::turn::TurnContext;
use crate::turn::approval::Ruling;

/// The longest that a command runs.
const LIMIT_MS: u64 = 10 * 60 * 1_000;
/// The most that it may write before it is ended.
const MAX_OUTPUT: u64 = 16 << 20;
/// What is told of its output: the end, as Pi does it.
const TOLD: u64 = 50 * 1024;
/// How many lines of that.
const TOLD_LINES: usize = 2_000;
/// What is said of the command itself in the events.
const MAX_NAMED: usize = 500;
/// Shells by preference.
const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];
/// A person who aborts wants it gone soon.
const ABORT: Stop = Stop {
    interrupt_grace_ms: 1_000,
    term_grace_ms: 1_000,
};

/// Runs commands, one at a time.
pub(super) struct Shell {
    context: Arc<TurnContext>,
    running: Arc<Mutex<Option<CancellationToken>>>,
}

impl Shell {
    pub(super) fn new(context: Arc<TurnContext>) -> Self {
        Self {
            context,
            running: Arc::default(),
        }
    }

    /// Begins a command; its answer says how it ended.
    pub(super) fn run(&self, command: String) -> BoxFuture<'static, Answer> {
        if let Ruling::Deny { message } = self.context.approval.settled(&as_a_call(&command)) {
            return Box::pin(async move { Err(message) });
        }
        let stop = CancellationToken::new();
        {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            if running.is_some() {
                let busy = "a command runs already; wait for it or send `abort_bash`";
                return Box::pin(async move { Err(busy.to_owned()) });
            }
            *running = Some(stop.clone());
        }
        let (context, running) = (Arc::clone(&self.context), Arc::clone(&self.running));
        Box::pin(async move {
            let ran = run(&context, &command, &stop).await;
            *running.lock().unwrap_or_else(PoisonError::into_inner) = None;
            let ended = ran?;
            record(&context, &command, &ended).await?;
            Ok(Some(ended.answer()))
        })
    }

    /// Ends the command that runs, if one does.
    pub(super) fn abort(&self) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stop) = &*running {
            stop.cancel();
        }
        running.is_some()
    }
}

/// The command as the agent's own call would be, for the rules. A person's consent is not asked for:
/// a person has typed it.
fn as_a_call(command: &str) -> Asked {
    Asked {
        request_id: "bash".to_owned(),
        call_id: None,
        tool: "shell".to_owned(),
        input: json!({"command": command}),
    }
}

/// How a command ended.
struct Ended {
    output: String,
    truncated: bool,
    exit_code: Option<i32>,
    cancelled: bool,
    /// It wrote too much.
    overflowed: bool,
}

impl Ended {
    fn answer(&self) -> serde_json::Value {
        let mut answer = json!({
            "output": self.output, "cancelled": self.cancelled, "truncated": self.truncated,
        });
        if let (Some(code), Some(fields)) = (self.exit_code, answer.as_object_mut()) {
            fields.insert("exitCode".to_owned(), code.into());
        }
        answer
    }

    fn words(&self) -> String {
        match (self.exit_code, self.overflowed, self.cancelled) {
            (_, true, _) => format!("was ended: it wrote more than {} MiB", MAX_OUTPUT >> 20),
            (_, _, true) => "was ended before it was done".to_owned(),
            (Some(code), ..) => format!("ended with code {code}"),
            (None, ..) => "was killed".to_owned(),
        }
    }
}

async fn run(
    context: &TurnContext,
    command: &str,
    stop: &CancellationToken,
) -> Result<Ended, String> {
    let root = folder(context);
    let id = context.clock.new_uuid().to_string();
    let dir = RunDir::new(root.join(id));
    crate::files::create_private_dir(&root)
        .map_err(|error| format!("cannot make {}: {error}", root.display()))?;
    let plan = plan(context, command);
    let started = context
        .sandbox
        .start(&dir, &plan, b"", &context.environment)
        .await;
    let ended = match started {
        Ok(run) => follow(context, run, &dir, stop).await,
        Err(error) => Err(error),
    };
    if let Err(error) = std::fs::remove_dir_all(dir.path()) {
        tracing::warn!(%error, "the folder of a command stays");
    }
    ended.map_err(|error| format!("the command cannot be run: {error}"))
}

/// Where the session's commands have their folders while they run.
fn folder(context: &TurnContext) -> PathBuf {
    let commands = context.state_dir.join("commands");
    commands.join(context.session.as_str())
}

/// Takes down what an earlier daemon has left of the session's commands.
pub(in crate::daemon) async fn clear(context: &TurnContext) {
    let Ok(entries) = std::fs::read_dir(folder(context)) else {
        return;
    };
    for entry in entries.flatten() {
        let dir = RunDir::new(entry.path());
        let attached = sandbox::attach(&dir).await;
        if let Ok(Attach::Running(run)) = attached
            && let Some(control) = run.control()
        {
            tracing::warn!(path = %dir.path().display(), "a command that nobody waits for is ended");
            control.destroy().await;
        }
        if let Err(error) = std::fs::remove_dir_all(dir.path()) {
            tracing::warn!(%error, "the folder of a command stays");
        }
    }
}

fn plan(context: &TurnContext, command: &str) -> Plan {
    let shell = SHELLS.into_iter().find(|shell| Path::new(shell).exists());
    let args = vec!["-c".to_owned(), format!("exec 2>&1\n{command}")];
    let shell = Path::new(shell.unwrap_or("/bin/sh"));
    let mut plan = Plan::new(shell, args, &context.workspace, MAX_OUTPUT);
    plan.stdin = Stdin::Null;
    plan.stdout = Stdout::Pipe;
    plan.timeout_ms = Some(LIMIT_MS);
    plan.user.clone_from(&context.user);
    plan.reach.clone_from(&context.reach);
    plan.confined = context.in_container || context.sandbox.is_container();
    plan
}

async fn follow(
    context: &TurnContext,
    mut run: RunHandle,
    dir: &RunDir,
    stop: &CancellationToken,
) -> Result<Ended, SandboxError> {
    let control = run.control();
    let (mut cancelled, mut overflowed) = (false, false);
    let ending = loop {
        let change = tokio::select! {
            change = run.changed() => change?,
            () = stop.cancelled(), if !cancelled => {
                cancelled = true;
                if let Some(control) = &control {
                    control.stop(ABORT).await?;
                }
                continue;
            }
        };
        match change {
            Change::Ended(ending) => break ending,
            Change::Spool { held: true, .. } if !overflowed => {
                (overflowed, cancelled) = (true, true);
                if let Some(control) = &control {
                    control.stop(Stop::NOW).await?;
                }
            }
            Change::Spool { .. } => {}
        }
    };
    let exit = match ending {
        Ending::Exited(stopped) => Some(stopped.exit),
        Ending::SpawnFailed(failure) => return Err(failure.into()),
        Ending::Vanished { .. } => None,
    };
    let (output, truncated) = told(context, dir);
    Ok(Ended {
        output,
        truncated: truncated || overflowed,
        exit_code: exit.and_then(|exit| exit.code).filter(|_| !cancelled),
        // Nothing but its time limit, or somebody else, kills it.
        cancelled: cancelled || exit.is_none_or(|exit| exit.code.is_none()),
        overflowed,
    })
}

/// The end of the output, masked, and whether that is not all of it.
fn told(context: &TurnContext, dir: &RunDir) -> (String, bool) {
    let length = std::fs::metadata(dir.spool()).map_or(0, |metadata| metadata.len());
    let from = length.saturating_sub(TOLD);
    let bytes = Tail::open(&dir.spool(), SpoolOffset::new(from))
        .and_then(|mut tail| tail.read().map(<[u8]>::to_vec))
        .unwrap_or_default();
    let masked = context.redactor.text(&bytes);
    let mut text = String::from_utf8_lossy(&masked).into_owned();
    if from > 0 {
        // A half line may be half a secret.
        let rest = text.find('\n').map_or(text.len(), |newline| newline + 1);
        text.drain(..rest);
    }
    let lines = text.lines().count();
    if lines > TOLD_LINES {
        let rest = text.split_inclusive('\n').skip(lines - TOLD_LINES);
        return (rest.collect(), true);
    }
    (text, from > 0)
}

/// The session's events say that it was run.
async fn record(context: &TurnContext, command: &str, ended: &Ended) -> Result<(), String> {
    let end = command.floor_char_boundary(MAX_NAMED);
    let named = command.get(..end).unwrap_or_default();
    let more = if end < command.len() { "…" } else { "" };
    let text = format!("a controller's command `{named}{more}` {}", ended.words());
    let masked = context.redactor.text(text.as_bytes());
    let event = Event::Notice {
        level: NoticeLevel::Info,
        code: "bash".to_owned(),
        text: String::from_utf8_lossy(&masked).into_owned(),
    };
    let id = EventId::derive(context.clock.new_uuid(), 0);
    let event = NewEvent::encode(&event, id, context.clock.wall(), None);
    let mut batch = Batch::new(&context.session, context.agent.name);
    batch.events.push(event.map_err(|error| error.to_string())?);
    let stored = context.journal.commit(batch).await;
    stored.map(drop).map_err(|error| error.to_string())
}
