//! Owns one CLI process for its whole life. Started by the daemon, not by people.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{CliError, Exit, printing};
use crate::config::EnvMap;
use crate::shim;
use crate::spool::RunDir;

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The run's folder
    #[arg(required_unless_present = "find")]
    dir: Option<PathBuf>,
    /// The shim is the program of a container
    #[arg(long)]
    in_container: bool,
    /// Only say where this program is
    #[arg(long, value_name = "PROGRAM", conflicts_with = "dir")]
    find: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    if let Some(program) = &arguments.find {
        return find(program);
    }
    let dir = RunDir::new(arguments.dir.clone().unwrap_or_default());
    let result = if arguments.in_container {
        shim::run_in_container(&dir)
    } else {
        shim::run(&dir)
    };
    match result {
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

/// Looks a program up as a shim in this container would.
fn find(program: &Path) -> Result<ExitCode, CliError> {
    let env = EnvMap::of_this_process();
    let found = shim::find_program(program, env.value("PATH").unwrap_or_default());
    match found {
        Ok(path) => printing::print(&format!("{}\n", path.display())),
        Err(missing) => Err(CliError::new(Exit::Agent, missing.to_string())),
    }
}
