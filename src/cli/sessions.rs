//! Lists the daemon's sessions.

use std::fmt::Write as _;
use std::process::ExitCode;

use super::CliError;
use super::client::{Context, runtime};
use super::printing::{print, print_json};
use super::render::{duration, harmless, summary};
use crate::api::wire::{SessionList, SessionState, SessionSummary};
use crate::config::ClientOptions;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Those that were ended, too
    #[arg(long)]
    all: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: ClientOptions,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let context = Context::read(&arguments.options, None)?;
    let all = "/v1/sessions?all=true";
    let path = if arguments.all { all } else { "/v1/sessions" };
    let list = context.client.get(path);
    let list: SessionList = runtime()?.block_on(list)?;
    if arguments.json {
        return print_json(&list);
    }
    print(&table(&list.sessions))
}

/// The sessions for people, one a line.
pub(super) fn table(sessions: &[SessionSummary]) -> String {
    if sessions.is_empty() {
        return "no sessions; `agent-runner start \"TASK\"` makes one\n".to_owned();
    }
    let widest = |of: fn(&SessionSummary) -> usize| sessions.iter().map(of).max().unwrap_or(0);
    let ids = widest(|session| session.id.as_str().len());
    let agents = widest(|session| session.agent.len());
    let mut text = String::new();
    for session in sessions {
        let state = standing(session);
        let (id, agent) = (session.id.as_str(), &session.agent);
        let cwd = harmless(&session.cwd);
        // Writing to a string cannot fail.
        writeln!(text, "{id:ids$}  {agent:agents$}  {state}  {cwd}").ok();
    }
    text
}

/// What a session is at, in a few words.
pub(super) fn standing(session: &SessionSummary) -> String {
    let mut text = state_words(session.state).to_owned();
    if let Some(running) = &session.running {
        write!(text, " for {}", duration(running.age_ms)).ok();
        if let Some(doing) = &running.doing {
            let tool = doing.tool.as_deref().map(harmless).unwrap_or_default();
            let space = if tool.is_empty() { "" } else { " " };
            let age = duration(doing.age_ms);
            write!(text, " ({}{space}{tool} for {age})", doing.state).ok();
        }
    }
    if session.queued > 0 {
        let waits = if session.queued == 1 {
            "prompt waits"
        } else {
            "prompts wait"
        };
        write!(text, ", {} {waits}", session.queued).ok();
    }
    if session.requests > 0 {
        let wait = if session.requests == 1 {
            "request waits"
        } else {
            "requests wait"
        };
        let count = session.requests;
        write!(text, ", {count} {wait} for `agent-runner approve`").ok();
    }
    if let Some(detail) = &session.detail {
        write!(text, ": {}", summary(detail)).ok();
    }
    text
}

/// A state's words.
pub(super) const fn state_words(state: SessionState) -> &'static str {
    match state {
        SessionState::SettingUp => "setting up",
        SessionState::Idle => "idle",
        SessionState::Running => "running",
        SessionState::Stopped => "stopped",
        SessionState::Failed => "failed",
        SessionState::Ended => "ended",
    }
}
