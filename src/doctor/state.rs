//! What the state dir's facts mean.

use std::path::PathBuf;

use super::check::{Check, Fatal, Status};

/// Less, and a clone or an install may not fit.
const SCARCE: u64 = 2 << 30;
/// Less, and not even a turn's record fits.
const TOO_LITTLE: u64 = 64 << 20;

/// What was found of the state dir.
#[derive(Debug, Clone)]
pub(super) struct StateFacts {
    pub(super) path: PathBuf,
    pub(super) exists: bool,
    /// Why it cannot be made or written to.
    pub(super) fault: Option<String>,
    /// The daemon that has it.
    pub(super) holder: Option<String>,
    /// What this user may still write there.
    pub(super) free_bytes: Option<u64>,
}

/// The state dir's check.
pub(super) fn judge(facts: &StateFacts) -> Check {
    let path = facts.path.display();
    let free = facts
        .free_bytes
        .map(|bytes| format!("{} free", size(bytes)));
    let free = free.unwrap_or_else(|| "free space not known".to_owned());
    let too_little = facts.free_bytes.is_some_and(|bytes| bytes < TOO_LITTLE);
    let elsewhere = "free some space on its disk, or give another --state-dir";
    let check = if let Some(fault) = &facts.fault {
        let text = format!("{path} cannot be used: {fault}");
        let mend =
            format!("mend its owner and mode (mkdir -p {path}), or give another --state-dir");
        Check::new("state_dir", Status::Error(Fatal::State), text).mend(mend)
    } else if too_little {
        let text = format!("{path}: only {free}");
        Check::new("state_dir", Status::Error(Fatal::State), text).mend(elsewhere)
    } else if facts.free_bytes.is_some_and(|bytes| bytes < SCARCE) {
        let text = format!("{path}: only {free}");
        Check::new("state_dir", Status::Warning, text).mend(elsewhere)
    } else if let Some(pid) = &facts.holder {
        let text = format!("{path} is in use by a daemon (pid {pid}); {free}");
        let mend = "another daemon needs a --state-dir of its own; `run` does not";
        Check::new("state_dir", Status::Warning, text).mend(mend)
    } else {
        let note = if facts.exists { "" } else { ", will be made" };
        Check::new("state_dir", Status::Ok, format!("{path} ({free}{note})"))
    };
    check
        .fact("path", facts.path.display().to_string())
        .fact("exists", facts.exists)
        .fact("usable", facts.fault.is_none() && !too_little)
        .fact(
            "in_use_by_pid",
            facts
                .holder
                .as_ref()
                .and_then(|pid| pid.parse::<u32>().ok()),
        )
        .fact("free_bytes", facts.free_bytes)
}

/// Bytes for people.
pub(super) fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..0x4000_0000 => (1 << 20, "MiB"),
        _ => (1 << 30, "GiB"),
    };
    let tenths = bytes.saturating_mul(10) / unit;
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_or_closed_state_dir_is_fatal_and_a_used_one_is_said() {
        let fine = StateFacts {
            path: "/state".into(),
            exists: true,
            fault: None,
            holder: None,
            free_bytes: Some(50 << 30),
        };
        assert_eq!(judge(&fine).status, Status::Ok);
        let full = StateFacts {
            free_bytes: Some(1 << 20),
            ..fine.clone()
        };
        assert_eq!(judge(&full).status, Status::Error(Fatal::State));
        assert_eq!(judge(&full).facts["usable"], false);
        let scarce = StateFacts {
            free_bytes: Some(1 << 30),
            ..fine.clone()
        };
        assert_eq!(judge(&scarce).status, Status::Warning);
        let fault = Some("permission denied".to_owned());
        let closed = StateFacts {
            fault,
            ..fine.clone()
        };
        assert_eq!(judge(&closed).status, Status::Error(Fatal::State));
        let used = judge(&StateFacts {
            holder: Some("42".to_owned()),
            ..fine
        });
        assert_eq!(used.status, Status::Warning);
        assert_eq!(used.facts["in_use_by_pid"], 42);
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(size(1 << 20), "1.0 MiB");
        assert_eq!(size(3 << 29), "1.5 GiB");
    }
}
