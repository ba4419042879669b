//! Reads control groups.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::super::machine::CgroupFacts;
use crate::process::OomWatch;

/// v1 writes "no limit" as the largest multiple of a page: far above any machine's memory.
const NO_LIMIT: u64 = 1 << 60;

/// Looks at this process's groups.
pub(in super::super) fn cgroup() -> CgroupFacts {
    let membership = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    read(
        Path::new("/sys/fs/cgroup"),
        &membership,
        OomWatch::begin(rustix::process::getpid()).is_some(),
    )
}

fn read(mount: &Path, membership: &str, oom_detection: bool) -> CgroupFacts {
    let none = CgroupFacts {
        version: None,
        memory_controller: false,
        memory_limit: None,
        delegated: false,
        oom_detection,
    };
    if mount.join("cgroup.controllers").is_file() {
        let own = group(mount, membership, str::is_empty);
        let controllers =
            std::fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
        return CgroupFacts {
            version: Some(2),
            memory_controller: controllers.split_whitespace().any(|name| name == "memory"),
            memory_limit: limit(&own.join("memory.max")),
            delegated: writable(&own) && writable(&own.join("cgroup.procs")),
            ..none
        };
    }
    let memory = mount.join("memory");
    let version = mount.read_dir().ok().and_then(|mut dir| dir.next());
    if !memory.is_dir() {
        let version = version.map(|_| 1);
        return CgroupFacts { version, ..none };
    }
    let own = group(&memory, membership, |controllers| {
        controllers.split(',').any(|name| name == "memory")
    });
    CgroupFacts {
        version: Some(1),
        memory_controller: true,
        memory_limit: limit(&own.join("memory.limit_in_bytes")),
        delegated: writable(&own),
        ..none
    }
}

/// The folder of our group. In a container `/proc` may name the host's path while the mount shows
/// our group as the root.
fn group(mount: &Path, membership: &str, ours: impl Fn(&str) -> bool) -> PathBuf {
    let path = membership.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        fields.next().filter(|_| ours(controllers))
    });
    let own = mount.join(path.unwrap_or_default().trim_start_matches('/'));
    if own.is_dir() { own } else { mount.to_owned() }
}

fn limit(file: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    text.trim().parse().ok().filter(|bytes| *bytes < NO_LIMIT)
}

fn writable(path: &Path) -> bool {
    access(path, Access::WRITE_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn both_versions_are_told_apart_and_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path(), "", false).version, None);

        let v2 = dir.path().join("v2");
        write(&v2.join("cgroup.controllers"), "cpu memory\n");
        write(&v2.join("job/cgroup.controllers"), "memory pids\n");
        write(&v2.join("job/cgroup.procs"), "");
        write(&v2.join("job/memory.max"), "1048576\n");
        let facts = read(&v2, "0::/job\n", true);
        assert_eq!(
            (facts.version, facts.memory_limit),
            (Some(2), Some(1 << 20))
        );
        assert!(facts.memory_controller && facts.delegated && facts.oom_detection);
        let hosts = read(&v2, "0::/docker/abc\n", false);
        assert_eq!((hosts.memory_controller, hosts.memory_limit), (true, None));

        let v1 = dir.path().join("v1");
        write(
            &v1.join("memory/x/memory.limit_in_bytes"),
            "9223372036854771712\n",
        );
        let facts = read(&v1, "4:cpu,memory:/x\n", false);
        assert_eq!((facts.version, facts.memory_limit), (Some(1), None));
        assert!(facts.memory_controller);
    }
}
