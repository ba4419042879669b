//! Which files a process and all that it starts can get at, by the kernel's Landlock (Linux 5.13).

use std::io;
use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, path_beneath_rules,
};
use serde::{Deserialize, Serialize};

/// What the rules know of. An older kernel leaves out what it does not, from the moving of files
/// between folders (5.19) on; that it restricts at all is made sure of.
const KNOWN: ABI = ABI::V5;

/// What can be read and executed, and what can be written to as well. Nothing else can be opened.
/// A place that is not there opens nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Files and folders to be read.
    pub read: Vec<PathBuf>,
    /// Files and folders to be written to.
    pub write: Vec<PathBuf>,
}

/// Whether this kernel can restrict files.
pub fn can_restrict_files() -> bool {
    // Made, and dropped without having restricted anybody.
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .is_ok()
}

/// Restricts the calling thread and all that it will start, for good. It may gain no privileges any
/// more by then.
pub fn restrict_files(reach: &Reach) -> io::Result<()> {
    let restrict = || {
        Ruleset::default()
            .handle_access(AccessFs::from_all(KNOWN))?
            .create()?
            .add_rules(path_beneath_rules(&reach.read, AccessFs::from_read(KNOWN)))?
            .add_rules(path_beneath_rules(&reach.write, AccessFs::from_all(KNOWN)))?
            .restrict_self()
    };
    let status = restrict().map_err(|error: landlock::RulesetError| io::Error::other(error))?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_reach_cannot_be_opened_and_the_rest_can() {
        if !can_restrict_files() {
            return; // this kernel has no Landlock
        }
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            let folder = dir.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("file"), "x").unwrap();
            folder
        };
        let (read, write, closed) = (place("read"), place("write"), place("closed"));
        let reach = Reach {
            read: vec![read.clone(), dir.path().join("not-there")],
            write: vec![write.clone()],
        };
        // A thread of its own: it stays restricted.
        let restricted = std::thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            restrict_files(&reach).unwrap();
            let append = |folder: &PathBuf| std::fs::write(folder.join("file"), "y");
            let kind = |error: io::Error| error.kind();
            let denied = Err(io::ErrorKind::PermissionDenied);
            assert_eq!(std::fs::read(read.join("file")).unwrap(), b"x");
            assert_eq!(append(&read).map_err(kind), denied);
            append(&write).unwrap();
            std::fs::write(write.join("new"), "").unwrap();
            assert_eq!(append(&closed).map_err(kind), denied);
            assert_eq!(
                std::fs::read(closed.join("file")).map(drop).map_err(kind),
                denied
            );
        });
        restricted.join().unwrap();
    }
}
