//! The lines that a person types, for commands that have something else to do meanwhile.

use std::io::{self, BufRead as _, IsTerminal as _};

use tokio::sync::mpsc;

use crate::cli::{CliError, Exit};

/// Lines that may wait: whoever types ahead is not listened to.
const AHEAD: usize = 1;

/// A person at a terminal.
#[derive(Debug)]
pub(super) struct Terminal {
    lines: mpsc::Receiver<String>,
}

impl Terminal {
    /// Whether a person can be asked here: they see what is written, and can type.
    pub(super) fn is_there() -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Reads what is typed from now on.
    pub(super) fn open() -> Result<Self, CliError> {
        let (typed, lines) = mpsc::channel(AHEAD);
        let read = move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                if typed.blocking_send(line).is_err() {
                    return;
                }
            }
        };
        // A read of a terminal cannot be called off: a thread of the runtime would hold up the
        // end of the command.
        std::thread::Builder::new()
            .name("terminal".to_owned())
            .spawn(read)
            .map_err(|error| CliError::new(Exit::Internal, format!("no thread: {error}")))?;
        Ok(Self { lines })
    }

    /// Forgets what was typed before it was asked for.
    pub(super) fn forget(&mut self) {
        while self.lines.try_recv().is_ok() {}
    }

    /// The next line; none where no more will come.
    pub(super) async fn line(&mut self) -> Option<String> {
        self.lines.recv().await
    }
}
