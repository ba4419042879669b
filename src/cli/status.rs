//! Says how a session stands, or the daemon with all of them.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde::Serialize;

use super::client::{Client, Context, Which, runtime};
use super::printing::{print, print_json};
use super::render::{duration, grouped, harmless, outcome_words, summary, usage_words};
use super::sessions::{standing, table};
use super::{CliError, Exit};
use crate::api::wire::{DaemonStatus, RoomState, SessionList, SessionStatus, SessionSummary};
use crate::config::ClientOptions;
use crate::journal::Room;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: ClientOptions,
}

/// Everything that the command says.
#[derive(Serialize)]
struct Answer {
    daemon: DaemonStatus,
    /// The session that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionStatus>,
    /// All of them, where none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions: Option<Vec<SessionSummary>>,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let context = Context::read(&arguments.options, None)?;
    let answer = runtime()?.block_on(ask(&context, &arguments.which))?;
    if arguments.json {
        return print_json(&answer);
    }
    let mut text = of_daemon(&answer.daemon);
    if let Some(session) = &answer.session {
        text.push_str(&of_session(session));
    }
    if let Some(sessions) = &answer.sessions {
        text.push_str(&table(sessions));
    }
    print(&text)
}

async fn ask(context: &Context, which: &Which) -> Result<Answer, CliError> {
    let client: &Client = &context.client;
    let daemon = client.get("/v1/daemon").await?;
    let (session, sessions) = match which.find(client, &context.cwd).await {
        Ok(id) => {
            let path = format!("/v1/sessions/{id}");
            (Some(client.get(&path).await?), None)
        }
        // Nobody asked for one, and so all of them are an answer.
        Err(error) if !which.is_named() && error.exit() == Exit::Usage => {
            let list: SessionList = client.get("/v1/sessions").await?;
            (None, Some(list.sessions))
        }
        Err(error) => return Err(error),
    };
    Ok(Answer {
        daemon,
        session,
        sessions,
    })
}

fn of_daemon(daemon: &DaemonStatus) -> String {
    let hub = daemon.hub.as_deref().unwrap_or("still looked for");
    let room = match daemon.room {
        RoomState::Enough => String::new(),
        room => format!("room       {}\n", Room::from(room)),
    };
    format!(
        "daemon     {} (pid {}), up for {}, state dir {}\nhub        {}\n{room}",
        daemon.version,
        daemon.pid,
        duration(daemon.uptime_ms),
        harmless(&daemon.state_dir),
        harmless(hub),
    )
}

fn of_session(status: &SessionStatus) -> String {
    let session = &status.summary;
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        writeln!(text, "{name:10} {value}").ok();
    };
    line("session", session.id.to_string());
    let version = status.agent_version.as_deref();
    let version = version.map(|version| format!(" {}", summary(version)));
    let model = status.model.as_deref();
    let model = model.map(|model| format!(", model {}", summary(model)));
    let (version, model) = (version.unwrap_or_default(), model.unwrap_or_default());
    line("agent", format!("{}{version}{model}", session.agent));
    line("state", standing(session));
    if let Some(running) = &session.running {
        line("turn", running.turn_id.to_string());
    }
    if let Some(turn) = &status.last_turn {
        let outcome = turn.outcome.map_or("unknown", outcome_words);
        line("last turn", format!("{outcome}: {}", summary(&turn.prompt)));
    }
    if let Some(link) = &status.link {
        let age = duration(link.age_ms);
        let why = link.last_error.as_deref().filter(|_| link.phase != "live");
        let why = why.map(|why| format!(": {}", summary(why)));
        line(
            "hub link",
            format!("{} for {age}{}", link.phase, why.unwrap_or_default()),
        );
    }
    let journal = &status.journal;
    line(
        "events",
        format!(
            "{} to {}, the Hub has them up to {}",
            grouped(journal.first_seq),
            grouped(journal.last_seq),
            grouped(journal.acked_seq)
        ),
    );
    line("usage", usage_words(&status.usage));
    if let Some(workspace) = &session.workspace {
        line("workspace", harmless(workspace));
    }
    line("started in", harmless(&session.cwd));
    text
}
