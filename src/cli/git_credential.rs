//! What the agent's git asks for a token; run by git, on behalf of the runner.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use super::printing::say;
use crate::workspace;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The folder of the session's socket
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// What git wants: get, store or erase
    #[arg(value_name = "OPERATION")]
    operation: String,
}

/// Runs the command. Tokens are neither stored nor erased here.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    if arguments.operation != "get" {
        return ExitCode::SUCCESS;
    }
    let asked = workspace::ask_token(
        &arguments.folder,
        &mut io::stdin().lock(),
        &mut io::stdout().lock(),
    );
    if let Err(error) = asked {
        // git goes on without, and says that it may not.
        say!("agent-runner: no token: {error}");
    }
    ExitCode::SUCCESS
}
