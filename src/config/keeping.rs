//! How much is kept on the disk.

use std::time::Duration;

use super::duration::{parse_duration, show_duration};
use super::fault::Origin;
use super::layers::{Layers, quoted};
use super::setting::{self, Setting};
use super::size::{parse_size, show_size};

/// The least that a quota may be: below, a single large event would not fit.
const LEAST: u64 = 64 << 20;

/// How much is kept on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepingConfig {
    /// The most bytes of events.
    pub journal_quota: u64,
    /// Events that the Hub has acknowledged are kept so long.
    pub journal_retain: Duration,
    /// Events that the Hub has acknowledged are kept while there are no more bytes than this.
    pub journal_retain_size: u64,
    /// The most bytes of one run's raw output.
    pub spool_quota: u64,
    /// Whether raw output is kept when its turn is closed and acknowledged.
    pub spool_retain: bool,
    /// Whether checkpoints of the workspace are kept in its repository.
    pub checkpoints: bool,
    /// What is left of a session that was ended is kept so long.
    pub session_retain: Duration,
}

pub(super) fn keeping(layers: &mut Layers<'_>) -> KeepingConfig {
    KeepingConfig {
        journal_quota: size(layers, &setting::JOURNAL_QUOTA, 4 << 30, LEAST),
        journal_retain: month(layers, &setting::JOURNAL_RETAIN),
        journal_retain_size: size(layers, &setting::JOURNAL_RETAIN_SIZE, 1 << 30, 0),
        spool_quota: size(layers, &setting::SPOOL_QUOTA, 4 << 30, LEAST),
        spool_retain: layers.switch(&setting::SPOOL_RETAIN),
        checkpoints: layers.switch_or(&setting::CHECKPOINTS, true),
        session_retain: month(layers, &setting::SESSION_RETAIN),
    }
}

/// A time; 30 days where none is given.
fn month(layers: &mut Layers<'_>, setting: &Setting) -> Duration {
    if let Some(time) = layers.value(setting, parse_duration) {
        return time;
    }
    let month = Duration::from_hours(30 * 24);
    layers.show(setting.key, quoted(&show_duration(month)), Origin::Default);
    month
}

pub(super) fn size(layers: &mut Layers<'_>, setting: &Setting, default: u64, least: u64) -> u64 {
    if let Some(size) = layers.value(setting, |text| parse_size(text, least)) {
        return size;
    }
    layers.show(setting.key, quoted(&show_size(default)), Origin::Default);
    default
}
