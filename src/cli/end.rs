//! Ends a session for good, and waits until nothing of it runs any more.

use std::process::ExitCode;

use super::CliError;
use super::client::{Context, Which, runtime};
use super::printing::print;
use crate::api::wire::SessionSummary;
use crate::config::ClientOptions;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Without giving the CLI time to put its own session in order
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    options: ClientOptions,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let context = Context::read(&arguments.options, None)?;
    let ended = runtime()?.block_on(end(&context, arguments))?;
    print(&format!("{}  ended\n", ended.id))
}

async fn end(context: &Context, arguments: &Arguments) -> Result<SessionSummary, CliError> {
    let session = arguments.which.find(&context.client, &context.cwd).await?;
    let at_once = if arguments.now { "?at_once=true" } else { "" };
    let path = format!("/v1/sessions/{session}{at_once}");
    Ok(context.client.delete(&path).await?)
}
