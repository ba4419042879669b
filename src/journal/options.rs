//! How much a journal keeps.

use std::time::Duration;

/// How much a journal keeps, and the fact of the machine that it depends on.
#[derive(Debug, Clone)]
pub struct Options {
    /// The most bytes that it may hold.
    pub quota: u64,
    /// Acknowledged events older than this go.
    pub retain: Duration,
    /// Acknowledged events go, the oldest first, while the journal holds more bytes than this.
    pub retain_bytes: u64,
    /// Bytes that are kept free for the moment when the disk is full.
    pub ballast: u64,
    /// The machine's boot: another one than last time means that it has stopped in between.
    pub boot: String,
    /// Between two looks for what may go. It looks when something is written.
    pub look_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            quota: 4 << 30,
            retain: Duration::from_hours(30 * 24),
            retain_bytes: 1 << 30,
            ballast: 16 << 20,
            boot: boot_id(),
            look_every: Duration::from_mins(1),
        }
    }
}

/// The kernel's name for this boot. Where it has none, every start counts as the same boot.
fn boot_id() -> String {
    let path = "/proc/sys/kernel/random/boot_id";
    let id = std::fs::read_to_string(path).unwrap_or_default();
    match id.trim() {
        "" => "unknown".to_owned(),
        id => id.to_owned(),
    }
}
