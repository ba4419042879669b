//! Owns one CLI process for its whole life. Started by the daemon, not by people.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{CliError, Exit};
use crate::shim;
use crate::spool::RunDir;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The run's folder
    dir: PathBuf,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    match shim::run(&RunDir::new(&arguments.dir)) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            let exit = match error {
                shim::ShimError::NoEnvironment => Exit::Usage,
                shim::ShimError::Spawn(_) => Exit::Agent,
                _ => Exit::Internal,
            };
            Err(CliError::new(
                exit,
                format!("{:#}", anyhow::Error::from(error)),
            ))
        }
    }
}
