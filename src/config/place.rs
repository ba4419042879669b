//! Where a command runs: facts that defaults depend on, gathered by the caller.

use std::path::PathBuf;

/// Which command the settings are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandKind {
    /// One turn in the foreground, with its own Hub.
    Run,
    /// A session's lead.
    Daemon,
    /// A daemon in the background.
    Start,
}

/// The surroundings of a command.
#[derive(Debug, Clone)]
pub struct Place {
    /// The command.
    pub command: CommandKind,
    /// The working directory, absolute: what relative paths start from.
    pub cwd: PathBuf,
    /// Whether this is a container ([`in_container`]).
    pub container: bool,
}

/// Whether this looks like a container, judged by what its runtime leaves behind: marker files
/// (Docker, Podman), the `container` variable (systemd-nspawn, LXC, Podman) and the control groups
/// of process 1 (`/proc/1/cgroup`; on cgroup v2 they say nothing, the markers then do).
pub fn in_container(
    exists: impl Fn(&str) -> bool,
    container_variable: bool,
    cgroup_of_init: &str,
) -> bool {
    const MARKERS: [&str; 3] = [
        "/.dockerenv",
        "/run/.containerenv",
        "/var/run/secrets/kubernetes.io",
    ];
    const RUNTIMES: [&str; 5] = ["/docker", "/kubepods", "/containerd", "/lxc", "/libpod"];
    container_variable
        || MARKERS.iter().any(|path| exists(path))
        || RUNTIMES.iter().any(|name| cgroup_of_init.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_of_a_runtime_is_enough_and_none_is_not() {
        assert!(in_container(|path| path == "/.dockerenv", false, ""));
        assert!(in_container(|_| false, true, ""));
        assert!(in_container(
            |_| false,
            false,
            "12:pids:/kubepods/pod1/abc\n"
        ));
        assert!(!in_container(|_| false, false, "0::/init.scope\n"));
    }
}
