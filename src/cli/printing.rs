//! Talking to whoever started a command: results on stdout, words to people on stderr.
//!
//! A reader that has gone (`| head`) is nobody's error, and neither end of a pipe is worth a turn:
//! the standard library's `println!` and `eprintln!` panic where nothing can be written, so that a
//! daemon would die with the disk that its log is on. No command uses them.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use super::{CliError, Exit};

/// Says a line to people. It stays unsaid where stderr takes nothing.
macro_rules! say {
    ($($words:tt)*) => {
        $crate::cli::printing::say_line(format_args!($($words)*))
    };
}
pub(super) use say;

/// What [`say!`] does.
pub(super) fn say_line(line: fmt::Arguments<'_>) {
    say_as_is(&format!("{line}\n"));
}

/// Says `text` as it is: a question, whose answer is typed behind it.
pub(super) fn say_as_is(text: &str) {
    // In one piece, so that lines of several threads do not mix.
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

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
