//! Owns one CLI process for its whole life.

use std::process::ExitCode;

use super::CliError;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

/// Runs the command.
pub(super) fn run(_arguments: &Arguments) -> Result<ExitCode, CliError> {
    Err(CliError::new(super::Exit::Internal, "not built yet"))
}
