//! Shows what an agent's CLI wrote, as it wrote it, without the secrets.

use std::io::{self, Write as _};
use std::process::ExitCode;

use futures_util::StreamExt as _;
use tokio::signal::ctrl_c;

use super::CliError;
use super::client::{Context, Which, runtime};
use super::printing::ended;
use super::render::harmless;
use crate::config::ClientOptions;
use crate::ids::TurnId;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Of this turn [default: the newest that has run]
    #[arg(long, value_name = "ID")]
    turn: Option<TurnId>,
    /// What the CLI wrote to stderr
    #[arg(long)]
    stderr: bool,
    /// Only the last so many bytes, from the start of a line; the last line in any case
    #[arg(long, value_name = "BYTES")]
    tail: Option<u64>,
    /// Wait for more until the turn has ended
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    options: ClientOptions,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let context = Context::read(&arguments.options, None)?;
    runtime()?.block_on(async {
        tokio::select! {
            biased;
            _ = ctrl_c() => Ok(ExitCode::SUCCESS),
            shown = show(&context, arguments) => shown,
        }
    })
}

async fn show(context: &Context, arguments: &Arguments) -> Result<ExitCode, CliError> {
    let session = arguments.which.find(&context.client, &context.cwd).await?;
    let stream = if arguments.stderr { "stderr" } else { "output" };
    let follow = arguments.follow;
    let mut path = format!("/v1/sessions/{session}/logs?stream={stream}&follow={follow}");
    if let Some(turn) = arguments.turn {
        path = format!("{path}&turn={turn}");
    }
    if let Some(tail) = arguments.tail {
        path = format!("{path}&tail={tail}");
    }
    let mut chunks = context.client.stream(&path, "text/plain").await?;
    let is_person = io::IsTerminal::is_terminal(&io::stdout());
    // The start of a character whose end comes with the next chunk.
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk?);
        let mut out = io::stdout().lock();
        let written = if is_person {
            let whole = match std::str::from_utf8(&bytes) {
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                _ => bytes.len(),
            };
            let rest = bytes.split_off(whole);
            // What the CLI wrote must not drive the terminal.
            let text = harmless(&String::from_utf8_lossy(&bytes));
            bytes = rest;
            out.write_all(text.as_bytes())
        } else {
            let written = out.write_all(&bytes);
            bytes.clear();
            written
        };
        let written = written.and_then(|()| out.flush());
        if written.is_err() {
            return ended(written);
        }
    }
    Ok(ExitCode::SUCCESS)
}
