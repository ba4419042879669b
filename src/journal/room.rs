//! How much room there is, and what follows from it. Pure.

use std::time::Duration;

/// From this part of the quota on, room is saved.
const TIGHT_PERCENT: u64 = 80;
/// From this part of the quota on, nothing more is taken.
const HELD_PERCENT: u64 = 95;
/// Below this part of the quota, it is taken again: not one event at a time.
const RELEASE_PERCENT: u64 = 90;
/// The longest wait between two looks at a full disk: agents go on this soon after there is room.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How much room the journal has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Room {
    /// Enough.
    #[default]
    Enough,
    /// Over 80 % of the quota: what can be said in fewer bytes should be.
    Tight,
    /// Over 95 % of the quota: nothing is taken until the Hub has acknowledged more and it was
    /// pruned. Agents are held: they block in their next write.
    QuotaReached,
    /// The disk takes no more. Agents are held.
    DiskFull,
}

impl Room {
    /// Whether agents are held, and prompts refused.
    pub const fn is_full(self) -> bool {
        matches!(self, Self::QuotaReached | Self::DiskFull)
    }

    /// Whether there is little left or none.
    pub const fn is_short(self) -> bool {
        !matches!(self, Self::Enough)
    }

    /// By the part of the quota that is used; `self` is how it was so far.
    pub(super) fn of_quota(self, used: u64, quota: u64) -> Self {
        let percent = |percent: u64| quota / 100 * percent;
        if used >= percent(HELD_PERCENT)
            || (matches!(self, Self::QuotaReached) && used >= percent(RELEASE_PERCENT))
        {
            Self::QuotaReached
        } else if used >= percent(TIGHT_PERCENT) {
            Self::Tight
        } else {
            Self::Enough
        }
    }
}

impl std::fmt::Display for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Enough => "there is room",
            Self::Tight => "the journal has used over 80 % of its quota",
            Self::QuotaReached => {
                "the journal has reached its quota, and the agent is held until the Hub has taken \
                 more of it; see that the Hub can be reached, or raise journal_quota"
            }
            Self::DiskFull => {
                "the disk of the state dir is full, and the agent is held; free some space, and \
                 it goes on by itself"
            }
        })
    }
}

/// The waits between two tries on a full disk: 1, 2, 4 … 30 s.
#[derive(Debug)]
pub(super) struct Patience(Duration);

impl Patience {
    pub(super) const fn new() -> Self {
        Self(Duration::from_secs(1))
    }

    /// The next wait.
    pub(super) fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(LONGEST_WAIT);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_holds_at_95_percent_and_lets_go_below_90() {
        let quota = 1000;
        let room = |before: Room, used| before.of_quota(used, quota);
        assert_eq!(room(Room::Enough, 799), Room::Enough);
        assert_eq!(room(Room::Enough, 800), Room::Tight);
        assert_eq!(room(Room::Tight, 949), Room::Tight);
        assert_eq!(room(Room::Tight, 950), Room::QuotaReached);
        assert_eq!(room(Room::QuotaReached, 901), Room::QuotaReached);
        assert_eq!(room(Room::QuotaReached, 899), Room::Tight);
        assert!(Room::QuotaReached.is_full() && Room::DiskFull.is_full());
        assert!(!Room::Tight.is_full());
    }

    #[test]
    fn a_full_disk_is_looked_at_every_30_seconds_at_least() {
        let mut patience = Patience::new();
        let waits: Vec<u64> = (0..8).map(|_| patience.next().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
    }
}
