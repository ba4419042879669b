//! OpenCode's locks between its processes (1.18.33): a folder each, with a file that names the owner.
//!
//! It knows an owner that died by nothing but a minute without a sign of life; the next process
//! waits that long for what the dead one held, such as the installation of packages.

use crate::agent::HomeLocks;

pub(super) const LOCKS: HomeLocks = HomeLocks {
    folder: ".local/state/opencode/locks",
    name_end: ".lock",
    owner_file: "meta.json",
    pid: "pid",
    host: "hostname",
    breaker_end: ".breaker",
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::LockOwner;

    #[test]
    fn a_lock_names_its_owner() {
        let meta = br#"{
  "token": "0c0ffee5-0000-4000-8000-000000000001",
  "pid": 4711,
  "hostname": "box",
  "createdAt": "2026-11-21T21:29:50.000Z"
}"#;
        let expected = LockOwner {
            pid: 4711,
            host: "box".to_owned(),
        };
        assert_eq!(LOCKS.owner(meta), Some(expected));
        for other in [&b""[..], b"[]", br#"{"pid":"4711","hostname":"box"}"#] {
            assert_eq!(LOCKS.owner(other), None);
        }
    }
}
