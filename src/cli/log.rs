//! The log: to stderr, at the level that the settings say; of a daemon in the background, to a file
//! of bounded size.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Mutex;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::LogLevel;
use crate::files;

/// Starts logging. Only the first call of a process counts.
pub(super) fn start(level: LogLevel) {
    start_with(level, io::stderr);
}

fn start_with(level: LogLevel, to: impl for<'a> MakeWriter<'a> + Send + Sync + 'static) {
    let level = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(to)
        .with_ansi(false)
        .with_target(false)
        // It would say so on stderr with `eprintln!`, which panics there where the log is full.
        .log_internal_errors(false)
        .finish();
    // Another subscriber is there already only where the library is embedded: then it is theirs.
    drop(tracing::subscriber::set_global_default(log));
}

/// What the log of a daemon in the background holds at most; the one before it is kept as well.
const MOST: u64 = 8 << 20;

/// Starts logging to the file at `path`, which is stderr already.
pub(super) fn start_in(level: LogLevel, path: PathBuf) -> io::Result<()> {
    start_with(level, Mutex::new(Capped::open(path, MOST, true)?));
    Ok(())
}

/// A file that is put aside when it is full. Stderr follows it, so that what else is said there,
/// a panic above all, is in the same place.
struct Capped {
    path: PathBuf,
    file: File,
    written: u64,
    most: u64,
    /// Whether stderr is this file.
    is_stderr: bool,
}

impl Capped {
    fn open(path: PathBuf, most: u64, is_stderr: bool) -> io::Result<Self> {
        let file = files::append_private(&path)?;
        let written = file.metadata()?.len();
        Ok(Self {
            path,
            file,
            written,
            most,
            is_stderr,
        })
    }

    fn put_aside(&mut self) -> io::Result<()> {
        std::fs::rename(&self.path, self.path.with_added_extension("1"))?;
        self.file = files::append_private(&self.path)?;
        self.written = 0;
        if self.is_stderr {
            nix::unistd::dup2_stderr(&self.file)?;
        }
        Ok(())
    }
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written >= self.most {
            self.put_aside()?;
        }
        self.file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_put_aside_and_one_before_it_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.log");
        let mut log = Capped::open(path.clone(), 8, false).unwrap();
        for word in ["first one", "second one", "third one"] {
            log.write_all(word.as_bytes()).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("daemon.log"), "third one");
        assert_eq!(read("daemon.log.1"), "second one");
    }
}
