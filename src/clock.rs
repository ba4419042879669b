//! The one place that reads the clocks and draws new ids.
//!
//! Wall time is data only (stamps in events); whoever measures or waits uses monotonic time.
//! Everything below the composition root takes a [`Clock`] so that tests can hold time still.

mod iso;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

pub use iso::iso;

/// Milliseconds since the Unix epoch.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Wraps milliseconds since the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> u64 {
        self.0
    }
}

/// Reads the machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock;

#[allow(clippy::disallowed_methods)] // the only caller allowed
impl Clock {
    /// Wall time, for stamps only.
    pub fn wall(self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Monotonic time.
    pub fn now(self) -> Instant {
        Instant::now()
    }

    /// A new id that sorts by creation time.
    pub fn new_uuid(self) -> Uuid {
        Uuid::now_v7()
    }
}
