//! The log: to stderr, at the level that the settings say.

use tracing_subscriber::filter::LevelFilter;

use crate::config::LogLevel;

/// Starts logging. Only the first call of a process counts.
pub(super) fn start(level: LogLevel) {
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
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .finish();
    // Another subscriber is there already only where the library is embedded: then it is theirs.
    drop(tracing::subscriber::set_global_default(log));
}
