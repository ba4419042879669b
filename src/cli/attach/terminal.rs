//! The terminal: keys as they are pressed, until it is put back as it was.

use std::io::{self, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use rustix::termios::{tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

use crate::cli::{CliError, Exit};

/// Columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;

/// Chunks that were typed and not yet read.
const TYPED: usize = 16;

/// A terminal that shows what we draw. Put back as it was when dropped.
pub(super) struct Terminal {
    before: Termios,
}

impl Terminal {
    /// Whether a person sees what is written and types.
    pub(super) fn is_there() -> bool {
        io::stdin().is_terminal() && io::stdout().is_terminal()
    }

    /// Has keys come as they are pressed, without an echo; pasted text comes marked as such.
    pub(super) fn open() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        // Output stays as it is: a line break also returns.
        let off = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
        raw.local_modes.remove(off);
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        let terminal = Self { before };
        terminal.write("\x1b[?2004h")?;
        Ok(terminal)
    }

    /// The columns that it has now.
    pub(super) fn width() -> usize {
        tcgetwinsize(io::stdout())
            .ok()
            .map(|size| usize::from(size.ws_col))
            .filter(|columns| *columns > 0)
            .unwrap_or(COLUMNS)
    }

    /// Shows it, now.
    #[allow(clippy::unused_self)] // only an open terminal is drawn on
    pub(super) fn write(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone needs no putting back.
        drop(self.write("\x1b[?2004l"));
        let _gone = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

/// What comes on stdin from now on; ends with it.
pub(super) fn typed() -> Result<mpsc::Receiver<Vec<u8>>, CliError> {
    let (sender, typed) = mpsc::channel(TYPED);
    let read = move || {
        let mut chunk = [0; 4_096];
        while let Ok(count) = io::stdin().lock().read(&mut chunk) {
            let bytes = chunk.get(..count).unwrap_or_default().to_vec();
            if count == 0 || sender.blocking_send(bytes).is_err() {
                return;
            }
        }
    };
    // A read of a terminal cannot be called off: a thread of the runtime would hold up the end.
    std::thread::Builder::new()
        .name("keys".to_owned())
        .spawn(read)
        .map_err(|error| CliError::new(Exit::Internal, format!("no thread: {error}")))?;
    Ok(typed)
}
