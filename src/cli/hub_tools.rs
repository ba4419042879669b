//! The MCP server with the Hub's tools; run by the agent's CLI, on behalf of the runner.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use super::printing::say;
use crate::daemon;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The folder of the session's socket
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Runs the command until its client is done.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let served = daemon::relay_tools(
        &arguments.folder,
        &mut io::stdin().lock(),
        &mut io::stdout(),
    );
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("agent-runner: the Hub's tools are not there: {error}");
            ExitCode::FAILURE
        }
    }
}
