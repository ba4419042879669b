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
        .finish();
    // Another subscriber is there already only where the library is embedded: then it is theirs.
    drop(tracing::subscriber::set_global_default(log));
}

/// What the log of a daemon in the background holds at most; the one before it is kept as well.
const MOST: u64 = 8 << 20;

/// Starts logging to the file at `path`, which is stderr already.
pub(super) fn start_in(level: LogLevel, path: PathBuf) -> io::Result<()> {
    start_with(level, Mutex::new(Capped::open(path)?));
    Ok(())
}

/// A file that is put aside when it is full. Stderr follows it, so that what else is said there,
/// a panic above all, is in the same place.
struct Capped {
    path: PathBuf,
    file: File,
    written: u64,
    most: u64,
}

impl Capped {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = files::append_private(&path)?;
        let written = file.metadata()?.len();
        Ok(Self {
            path,
            file,
            written,
            most: MOST,
        })
    }

    fn put_aside(&mut self) -> io::Result<()> {
        std::fs::rename(&self.path, self.path.with_added_extension("1"))?;
        self.file = files::append_private(&self.path)?;
        self.written = 0;
        Ok(nix::unistd::dup2_stderr(&self.file)?)
    }
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written >= self.most {
            self.put_aside()?;
        }
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
