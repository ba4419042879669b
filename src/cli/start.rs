//! Has an agent do a task in the background.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use serde_json::json;

use super::background::{self, LOG, READY};
use super::client::{create_session, daemon_status, session_settled};
use super::lead::Context;
use super::printing::{print, say};
use super::sessions::state_words;
use super::{CliError, Exit, images};
use crate::api;
use crate::api::wire::{CreateRequest, DaemonStatus, SessionState};
use crate::config::{CommandKind, HubOptions, Options};
use crate::files;
use crate::hub::HubAddress;
use crate::ids::SessionId;
use crate::journal::StateLock;

/// A daemon is ready within a second, or after the Hub was discovered; one that is not by then
/// never will be.
const READY_LIMIT: Duration = Duration::from_mins(1);

/// Between two tries to reach a daemon that somebody else is starting.
const RETRY: Duration = Duration::from_millis(20);

/// What is shown of the log of a daemon that did not start.
const LOG_LINES: usize = 10;

/// What of our variables means something to a daemon: the others are a session's or a command's,
/// and paths in them may be relative to this folder.
const DAEMONS_OWN: [&str; 6] = [
    "AGENT_RUNNER_API_LISTEN",
    "AGENT_RUNNER_HUB",
    "AGENT_RUNNER_HUB_KEY",
    "AGENT_RUNNER_HUB_ORG",
    "AGENT_RUNNER_HUB_WAIT",
    "AGENT_RUNNER_PREFIX",
];

/// What the command takes.
#[derive(Debug, clap::Args)]
#[command(mut_arg("once", |once| once.hide(true)))]
pub(super) struct Arguments {
    /// What the agent is to do; `-` reads it from stdin. Without it, only the daemon is started,
    /// and goes on with its sessions; with --session, that one must be among them
    #[arg(value_name = "TASK")]
    task: Option<String>,
    #[command(flatten)]
    images: images::Images,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    hub: HubOptions,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    if arguments.hub.once {
        let message = "--once is for `daemon`; wait for a turn by `agent-runner prompt --wait`";
        return Err(CliError::new(Exit::Usage, message));
    }
    let (options, hub) = (&arguments.options, Some(&arguments.hub));
    let task = arguments.task.as_deref();
    let Some(context) = Context::read(CommandKind::Start, options, hub, task)? else {
        return Ok(ExitCode::SUCCESS);
    };
    if context.config.task.is_some() {
        context.refuse_missing_workspace()?;
    } else if !arguments.images.is_empty() {
        let message = "--image goes with a task: say what the agent is to do";
        return Err(CliError::new(Exit::Usage, message));
    }
    // Everything that can be wrong with what was asked is known before a daemon is started.
    let request = context
        .task()?
        .map(|task| request(&context, arguments, task))
        .transpose()?;
    let state_dir = &context.config.state_dir;
    let words = background::Arguments::of(options, &arguments.hub, &context);
    running_daemon(&context, &words)?;
    let daemon = daemon_status(state_dir)?;
    same_hub(&context, &daemon)?;
    let answer = if let Some(request) = request {
        json!(create_session(state_dir, &request)?)
    } else {
        if let Some(session) = context
            .config
            .hub
            .as_ref()
            .and_then(|hub| hub.session.as_ref())
        {
            goes_on(state_dir, session)?;
        }
        json!({"pid": daemon.pid})
    };
    print(&format!("{answer}\n"))
}

/// The session that was named goes on.
fn goes_on(state_dir: &Path, session: &SessionId) -> Result<(), CliError> {
    let dir = state_dir.display();
    let why = match session_settled(state_dir, session)? {
        None => format!("there is no session {session} in the state dir {dir}"),
        Some(found) if matches!(found.state, SessionState::Failed | SessionState::Ended) => {
            let detail = found.detail.map(|detail| format!(": {detail}"));
            let state = state_words(found.state);
            format!(
                "the session {session} in {dir} has {state}{}",
                detail.unwrap_or_default()
            )
        }
        Some(_) => return Ok(()),
    };
    Err(CliError::new(
        Exit::Usage,
        format!("{why}; see `agent-runner sessions --all`"),
    ))
}

/// A daemon has one Hub for all its sessions.
fn same_hub(context: &Context, daemon: &DaemonStatus) -> Result<(), CliError> {
    let asked = context.config.hub.as_ref().and_then(|hub| hub.url.as_ref());
    let asked = asked.and_then(|url| HubAddress::parse(url.as_str()).ok());
    let asked = asked.map(|address| address.to_string());
    if asked.is_none() || asked == daemon.hub {
        return Ok(());
    }
    let (asked, has) = (asked.unwrap_or_default(), daemon.hub.as_deref());
    Err(CliError::new(
        Exit::Usage,
        format!(
            "the daemon (pid {}) of {} is with the Hub {}, not {asked}; leave --hub out, stop \
             that daemon, or give another --state-dir",
            daemon.pid,
            daemon.state_dir,
            has.unwrap_or("that it is looking for")
        ),
    ))
}

fn request(
    context: &Context,
    arguments: &Arguments,
    task: String,
) -> Result<CreateRequest, CliError> {
    let view = context.setup();
    let env = crate::daemon::environment_to_send(&view)?;
    let text = |value: std::ffi::OsString| value.into_string().ok();
    let settings = context.session_settings(&arguments.options, Some(&arguments.hub));
    let mut settings = settings.into_values();
    if let Some(session) = context
        .config
        .hub
        .as_ref()
        .and_then(|hub| hub.session.as_ref())
    {
        settings.insert("session".to_owned(), vec![session.to_string()]);
    }
    Ok(CreateRequest {
        settings,
        env: env
            .into_iter()
            .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
            .collect(),
        cwd: context.place.cwd.display().to_string(),
        task,
        images: arguments.images.base64()?,
    })
}

/// Makes sure that a daemon has the state dir and that its API answers.
fn running_daemon(context: &Context, words: &background::Arguments) -> Result<(), CliError> {
    let state_dir = &context.config.state_dir;
    let unusable = |error: std::io::Error| {
        let dir = state_dir.display();
        CliError::new(
            Exit::State,
            format!("state dir {dir} cannot be used: {error}; give another with --state-dir"),
        )
    };
    files::create_private_dir(state_dir).map_err(unusable)?;
    // Of several that start a daemon at once, one does; the others wait for it and find it.
    let turnstile = files::append_private(&state_dir.join("start.lock")).map_err(unusable)?;
    flock(&turnstile, FlockOperation::LockExclusive).map_err(|error| unusable(error.into()))?;
    if answers(state_dir) {
        return Ok(());
    }
    if let Some(pid) = holder(state_dir)?
        && await_other(state_dir, &pid)?
    {
        return Ok(());
    }
    if let Ok(Some(pid)) = StateLock::died(state_dir) {
        say!(
            "agent-runner: the daemon (pid {pid}) had died; a new one goes on with its sessions \
             (its log: {})",
            state_dir.join(LOG).display()
        );
    }
    spawn(context, words)
}

/// Whether a daemon serves there. That one can connect is no proof: a daemon that was killed takes
/// connections until the last of its threads is gone.
fn answers(state_dir: &Path) -> bool {
    super::client::is_served(state_dir)
}

fn holder(state_dir: &Path) -> Result<Option<String>, CliError> {
    StateLock::holder(state_dir).map_err(|error| {
        let dir = state_dir.display();
        CliError::new(
            Exit::State,
            format!("state dir {dir} cannot be read: {error}"),
        )
    })
}

/// A daemon that was started otherwise answers soon after it has taken the state dir; false where
/// it has left the state dir instead.
fn await_other(state_dir: &Path, pid: &str) -> Result<bool, CliError> {
    let clock = crate::clock::Clock;
    let began = clock.now();
    while began.elapsed() < READY_LIMIT {
        if answers(state_dir) {
            return Ok(true);
        }
        if holder(state_dir)?.is_none() {
            return Ok(false);
        }
        std::thread::sleep(RETRY);
    }
    Err(CliError::new(
        Exit::TryAgain,
        format!(
            "the daemon (pid {pid}) that has the state dir {} does not answer at {}; stop it, and \
             try again",
            state_dir.display(),
            api::socket_path(state_dir).display()
        ),
    ))
}

/// Starts the daemon, and waits until it is ready.
fn spawn(context: &Context, words: &background::Arguments) -> Result<(), CliError> {
    let path = context.config.state_dir.join(LOG);
    let fault = |error: std::io::Error| {
        CliError::new(
            Exit::Internal,
            format!("the daemon cannot be started: {error}"),
        )
    };
    let mut log = files::append_private(&path).map_err(fault)?;
    let begin = log.seek(SeekFrom::End(0)).map_err(fault)?;
    let mut command = Command::new(std::env::current_exe().map_err(fault)?);
    command.args(words.words()).current_dir("/");
    for (name, _) in context.env.iter() {
        let ours = name
            .to_str()
            .is_some_and(|name| name.starts_with("AGENT_RUNNER_"));
        if ours && !DAEMONS_OWN.iter().any(|own| name == *own) {
            command.env_remove(name);
        }
    }
    command
        .env("AGENT_RUNNER_PREFIX", &context.prefix)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log);
    let mut daemon = command.spawn().map_err(fault)?;
    let ready = daemon
        .stdout
        .take()
        .map(says_ready)
        .transpose()
        .map_err(fault)?;
    match ready {
        Some(Said::Ready) => Ok(()),
        Some(Said::Nothing) => Err(CliError::new(
            Exit::TryAgain,
            format!(
                "the daemon (pid {}) did not get ready within {} s; its log: {}",
                daemon.id(),
                READY_LIMIT.as_secs(),
                path.display()
            ),
        )),
        Some(Said::Farewell) | None => Err(failed(daemon, &path, begin)),
    }
}

enum Said {
    Ready,
    /// It has ended.
    Farewell,
    /// It is there and silent.
    Nothing,
}

fn says_ready(mut stdout: ChildStdout) -> std::io::Result<Said> {
    let clock = crate::clock::Clock;
    let deadline = clock.now() + READY_LIMIT;
    let mut said = Vec::new();
    while !said.starts_with(READY.as_bytes()) {
        let left = deadline.saturating_duration_since(clock.now());
        let limit = Timespec::try_from(left).map_err(std::io::Error::other)?;
        if poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&limit))? == 0 {
            return Ok(Said::Nothing);
        }
        let mut some = [0; 64];
        match stdout.read(&mut some)? {
            0 => return Ok(Said::Farewell),
            count => said.extend(some.iter().take(count)),
        }
    }
    Ok(Said::Ready)
}

/// Why the daemon ended, in its own words.
fn failed(mut daemon: Child, log: &Path, begin: u64) -> CliError {
    let exit = daemon.wait().ok().and_then(|status| status.code());
    let words = last_lines(log, begin).unwrap_or_default();
    let how = exit.map_or_else(|| "by a signal".to_owned(), |code| format!("with {code}"));
    let message = format!(
        "the daemon did not start: it ended {how}{}{words}\nits log: {}",
        if words.is_empty() {
            ""
        } else {
            ", and said:\n"
        },
        log.display()
    );
    CliError::new(
        exit.and_then(Exit::from_code).unwrap_or(Exit::Internal),
        message,
    )
}

/// The last lines of the log from `begin` on.
fn last_lines(log: &Path, begin: u64) -> std::io::Result<String> {
    const MOST: u64 = 64 * 1_024;
    let mut file = File::open(log)?;
    let end = file.metadata()?.len();
    file.seek(SeekFrom::Start(begin.max(end.saturating_sub(MOST))))?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LOG_LINES);
    Ok(lines.get(from..).unwrap_or_default().join("\n"))
}
