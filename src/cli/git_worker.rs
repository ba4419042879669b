//! Git work in a process of its own; run by the program itself.

use std::process::ExitCode;

use super::{CliError, Exit};
use crate::workspace;

/// Runs the command.
pub(super) fn run() -> Result<ExitCode, CliError> {
    workspace::serve_worker()
        .map(|()| ExitCode::SUCCESS)
        .map_err(|error| CliError::new(Exit::Internal, format!("no git work to do: {error}")))
}
