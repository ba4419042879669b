//! Locks between the processes of a CLI, in its home: each a folder, with a file that names the owner.

use serde_json::Value;

/// Those of one CLI. One whose owner has died is taken away before the next process starts, for
/// that would wait until it is too old.
#[derive(Debug, PartialEq, Eq)]
pub struct HomeLocks {
    /// Where they are, in [`super::TurnSpec::home`].
    pub folder: &'static str,
    /// How the name of each ends.
    pub name_end: &'static str,
    /// The file in each that says whose it is: a JSON object.
    pub owner_file: &'static str,
    /// Its field for the process.
    pub pid: &'static str,
    /// Its field for the machine, by its host name.
    pub host: &'static str,
    /// What is added to a lock's name for the folder that is made by whoever takes the lock away:
    /// nobody else takes it over meanwhile.
    pub breaker_end: &'static str,
}

/// Who holds a lock.
#[derive(Debug, PartialEq, Eq)]
pub struct LockOwner {
    /// The process.
    pub pid: i32,
    /// The machine that it runs on, by its host name.
    pub host: String,
}

impl HomeLocks {
    /// What the file says that names a lock's owner, if it is one.
    pub fn owner(&self, content: &[u8]) -> Option<LockOwner> {
        let content: Value = serde_json::from_slice(content).ok()?;
        let pid = content.get(self.pid)?.as_i64()?;
        Some(LockOwner {
            pid: pid.try_into().ok()?,
            host: content.get(self.host)?.as_str()?.to_owned(),
        })
    }
}
