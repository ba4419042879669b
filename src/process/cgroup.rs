//! How often the kernel killed for want of memory in this process's cgroup.
//!
//! Best effort: v2 (`memory.events`) and v1 (`memory.oom_control`); `None` where neither can be
//! read. The count is the cgroup's, so that it says "someone here", not who.

use std::fs;
use std::path::{Path, PathBuf};

/// A reading of the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OomCounter(u64);

impl OomCounter {
    /// Reads the counter of this process's cgroup.
    pub fn read() -> Option<Self> {
        let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
        candidates(&membership)
            .iter()
            .find_map(|file| oom_kills(&fs::read_to_string(file).ok()?))
            .map(Self)
    }

    /// Whether anything was killed after `earlier`.
    pub fn rose_since(self, earlier: Self) -> bool {
        self.0 > earlier.0
    }
}

fn oom_kills(content: &str) -> Option<u64> {
    content
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// Files that may hold the counter, the most exact first. Inside a container the path in
/// `/proc/self/cgroup` may be the host's, while the mount shows the container's own group as the
/// root.
fn candidates(membership: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.events"),
            list if list.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.oom_control")
            }
            _ => continue,
        };
        let root = Path::new(root);
        files.push(root.join(path.trim_start_matches('/')).join(file));
        files.push(root.join(file));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_cgroup_versions_name_their_file_and_count() {
        let files = candidates("4:memory:/docker/ab\n3:cpu:/x\n0::/user.slice\n");
        assert_eq!(
            files.first().unwrap(),
            Path::new("/sys/fs/cgroup/memory/docker/ab/memory.oom_control")
        );
        assert!(files.contains(&PathBuf::from("/sys/fs/cgroup/user.slice/memory.events")));
        assert_eq!(oom_kills("low 0\noom 4\noom_kill 3\n"), Some(3));
        assert_eq!(
            oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
            Some(2)
        );
        assert_eq!(oom_kills("nothing"), None);
    }
}
