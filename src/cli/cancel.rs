//! Cancels what agents are doing, and waits until they have stopped.

use std::fmt::Write as _;
use std::process::ExitCode;

use futures_util::future::join_all;

use super::CliError;
use super::client::{Client, ClientError, Context, Which, runtime};
use super::printing::print;
use super::render::{outcome_words, summary};
use crate::api::wire::{CancelAnswer, CancelRequest, SessionList, SessionState};
use crate::config::ClientOptions;
use crate::ids::SessionId;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// In every session of the daemon
    #[arg(long, conflicts_with = "session")]
    all: bool,
    /// Without giving the CLI time to put its own session in order
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    options: ClientOptions,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let context = Context::read(&arguments.options, None)?;
    let text = runtime()?.block_on(cancel(&context, arguments))?;
    print(&text)
}

async fn cancel(context: &Context, arguments: &Arguments) -> Result<String, CliError> {
    let client = &context.client;
    let sessions = if arguments.all {
        busy(client).await?
    } else {
        vec![arguments.which.find(client, &context.cwd).await?]
    };
    let request = CancelRequest {
        at_once: arguments.now,
    };
    let cancelled = sessions.iter().map(|session| {
        let request = &request;
        async move {
            let path = format!("/v1/sessions/{session}/cancel");
            (session, client.post::<CancelAnswer>(&path, request).await)
        }
    });
    let mut text = String::new();
    let mut failed = None;
    for (session, answer) in join_all(cancelled).await {
        match answer {
            Ok(answer) => text.push_str(&told(session, &answer)),
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        // What was cancelled is said before what was not.
        Some(error) => {
            print(&text)?;
            Err(error.into())
        }
        None if text.is_empty() => Ok("nothing was running\n".to_owned()),
        None => Ok(text),
    }
}

/// The sessions in which something runs or waits.
async fn busy(client: &Client) -> Result<Vec<SessionId>, ClientError> {
    let list: SessionList = client.get("/v1/sessions").await?;
    let busy = list.sessions.into_iter().filter(|session| {
        session.running.is_some() || session.queued > 0 || session.state == SessionState::SettingUp
    });
    Ok(busy.map(|session| session.id).collect())
}

fn told(session: &SessionId, answer: &CancelAnswer) -> String {
    let mut text = String::new();
    for turn in &answer.turns {
        let outcome = turn.outcome.map_or("open", outcome_words);
        // Writing to a string cannot fail.
        writeln!(
            text,
            "{session}  {}  {outcome}: {}",
            turn.turn_id,
            summary(&turn.prompt)
        )
        .ok();
    }
    text
}
