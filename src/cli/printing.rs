//! Writing to stdout for whoever reads it: a reader that has gone (`| head`) is nobody's error.

use std::io::{self, Write as _};
use std::process::ExitCode;

use super::{CliError, Exit};

/// Writes `text`, and ends well where nobody reads it any more.
pub(super) fn print(text: &str) -> Result<ExitCode, CliError> {
    let mut out = io::stdout().lock();
    ended(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// What a command ends with whose writing has ended so.
pub(super) fn ended(written: io::Result<()>) -> Result<ExitCode, CliError> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let message = format!("cannot write to stdout: {error}");
            Err(CliError::new(Exit::Internal, message))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// A value as indented JSON.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<ExitCode, CliError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| CliError::new(Exit::Internal, error.to_string()))?;
    print(&format!("{text}\n"))
}
