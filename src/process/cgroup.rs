//! Control groups: where the kernel counts the processes that it killed for want of memory, and a
//! group of a run's own that can be ended as a whole.
//!
//! Both are best effort. Groups are found as the process itself sees them (`/proc/PID/cgroup` laid
//! over the mounts of `/proc/self/mountinfo`): inside a container the path may be the host's while
//! the mount shows the container's own group as the root.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::process::Pid;

use super::{Member, Stat};

/// The count of memory kills in the group of one process, from a moment on.
///
/// v2 counts for a group and all below it (`memory.events`), v1 for the victim's own group
/// (`memory.oom_control`). The count says "someone in this group", not who.
#[derive(Debug, Clone)]
pub struct OomWatch {
    file: PathBuf,
    before: u64,
}

impl OomWatch {
    /// Begins to count for the group that `pid` is in; `None` where the kernel shows no counter.
    pub fn begin(pid: Pid) -> Option<Self> {
        let view = View::of(pid)?;
        let v1 = view.directory(Hierarchy::Memory);
        let v1 = v1.map(|group| group.join("memory.oom_control"));
        // A group without the controller is counted for by the nearest one above it.
        let unified = view.directory(Hierarchy::Unified).unwrap_or_default();
        let v2 = unified.ancestors().map(|group| group.join("memory.events"));
        v1.into_iter().chain(v2).find_map(|file| {
            let before = oom_kills(&fs::read_to_string(&file).ok()?)?;
            Some(Self { file, before })
        })
    }

    /// How many were killed since.
    pub fn kills(&self) -> u64 {
        let now = fs::read_to_string(&self.file).ok();
        let now = now.as_deref().and_then(oom_kills).unwrap_or(self.before);
        now.saturating_sub(self.before)
    }
}

fn oom_kills(content: &str) -> Option<u64> {
    content
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// A v2 group of its own for a run: whatever is born in it stays in it, in whatever session, and
/// the kernel ends all of it at once, with no fork in between.
#[derive(Debug, Clone)]
pub struct RunGroup(PathBuf);

impl RunGroup {
    /// Makes a group below our own; `None` where we may not. As root on a machine with a service
    /// manager only below a group that was delegated to us: the others are not ours to divide.
    pub fn create(name: &str, in_container: bool) -> Option<Self> {
        let own = View::of(rustix::process::getpid())?.directory(Hierarchy::Unified)?;
        let is_root = rustix::process::geteuid().is_root();
        if is_root && !in_container && !is_ours_to_divide(&own) {
            return None;
        }
        let path = own.join(name);
        fs::create_dir(&path).ok()?;
        let group = Self(path);
        // Linux 5.14. An older kernel's group is of no use.
        if group.0.join(KILL).exists() {
            return Some(group);
        }
        group.remove();
        None
    }

    /// The group that an earlier process made there.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Its folder, as a new process is told to be born in it.
    pub(super) fn open(&self) -> io::Result<fs::File> {
        fs::File::open(&self.0)
    }

    /// Moves a process into it.
    pub(super) fn add(&self, pid: Pid) -> io::Result<()> {
        fs::write(self.0.join(PROCS), pid.as_raw_nonzero().to_string())
    }

    /// Kills all that is in it.
    pub fn kill(&self) -> io::Result<()> {
        fs::write(self.0.join(KILL), "1")
    }

    /// Who is in it, zombies included; nobody where there is no such group.
    pub fn members(&self) -> Vec<Member> {
        let pids = fs::read_to_string(self.0.join(PROCS)).unwrap_or_default();
        let pids = pids.lines().filter_map(|line| line.parse().ok());
        // A pid of 0 is a process of another pid namespace.
        let stats = pids.filter_map(|pid: i32| Stat::read(pid).ok());
        stats.map(Member::from).collect()
    }

    /// Removes it; without effect while somebody is in it.
    pub fn remove(&self) {
        // The groups that the CLI made below it, if it made any.
        let below = fs::read_dir(&self.0).into_iter().flatten().flatten();
        for entry in below.filter(|entry| entry.path().is_dir()) {
            Self(entry.path()).remove();
        }
        // The last of its processes may be on their way out. A group that stays because someone
        // cannot be killed is reported by its members.
        for _ in 0..REMOVE_TRIES {
            match fs::remove_dir(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(REMOVE_PAUSE);
                }
                _ => return,
            }
        }
    }
}

/// How often a group that is still in use is tried to be removed.
const REMOVE_TRIES: u32 = 20;
/// Between two tries.
const REMOVE_PAUSE: Duration = Duration::from_millis(1);

const PROCS: &str = "cgroup.procs";
const KILL: &str = "cgroup.kill";

/// Whether root may make groups there: at the top of the tree that we see, and where systemd says
/// that it leaves the group to its processes.
fn is_ours_to_divide(own: &Path) -> bool {
    let is_top = !own.join("cgroup.type").exists();
    let mut value = [0_u8; 4];
    let delegated = |name| {
        rustix::fs::getxattr(own, name, &mut value[..]).is_ok_and(|length| length > 0)
            && value.first() == Some(&b'1')
    };
    is_top
        || ["trusted.delegate", "user.delegate"]
            .into_iter()
            .any(delegated)
}

/// One of the kernel's trees of groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hierarchy {
    /// v1's, of the memory controller.
    Memory,
    /// v2's.
    Unified,
}

/// The groups of a process and where they are mounted, as text of the kernel's.
struct View {
    membership: String,
    mounts: String,
}

impl View {
    fn of(pid: Pid) -> Option<Self> {
        let pid = pid.as_raw_nonzero();
        Some(Self {
            membership: fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?,
            mounts: fs::read_to_string("/proc/self/mountinfo").ok()?,
        })
    }

    /// The folder of the process's group.
    fn directory(&self, hierarchy: Hierarchy) -> Option<PathBuf> {
        let path = self.membership.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let fits = match hierarchy {
                Hierarchy::Unified => controllers.is_empty(),
                Hierarchy::Memory => controllers.split(',').any(|name| name == "memory"),
            };
            fits.then(|| Path::new(path))
        })?;
        let (root, point) = self
            .mounts
            .lines()
            .find_map(|line| mount(line, hierarchy))?;
        let below = path.strip_prefix(&root).unwrap_or(Path::new(""));
        // A group outside of what our namespace shows.
        let outside = below.components().any(|part| part == Component::ParentDir);
        (!outside).then(|| point.join(below))
    }
}

/// The part of the tree that a mount shows, and where.
fn mount(line: &str, hierarchy: Hierarchy) -> Option<(PathBuf, PathBuf)> {
    let (place, kind) = line.split_once(" - ")?;
    let mut kind = kind.split(' ');
    let (fs_type, options) = (kind.next()?, kind.nth(1)?);
    let fits = match hierarchy {
        Hierarchy::Unified => fs_type == "cgroup2",
        Hierarchy::Memory => fs_type == "cgroup" && options.split(',').any(|name| name == "memory"),
    };
    let mut place = place.split(' ').skip(3);
    let (root, point) = (place.next()?, place.next()?);
    fits.then(|| (root.into(), point.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        35 31 0:32 /docker/ab /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    fn directories(membership: &str) -> [Option<PathBuf>; 2] {
        let view = View {
            membership: membership.to_owned(),
            mounts: MOUNTS.to_owned(),
        };
        [Hierarchy::Memory, Hierarchy::Unified].map(|hierarchy| view.directory(hierarchy))
    }

    #[test]
    fn a_group_is_found_where_its_mount_shows_it() {
        let memory = |path: &str| Some(Path::new("/sys/fs/cgroup/memory").join(path));
        let unified = |path: &str| Some(Path::new("/sys/fs/cgroup/unified").join(path));
        assert_eq!(
            directories("4:cpu,memory:/docker/ab/x\n3:cpu:/y\n0::/user.slice\n"),
            [memory("x"), unified("user.slice")]
        );
        // the host's path, of which the mount shows nothing: the mount itself is the group
        assert_eq!(directories("4:memory:/other\n"), [memory(""), None]);
        assert_eq!(directories("0::/../outside\n"), [None, None]);
    }

    #[test]
    fn both_versions_say_how_many_were_killed() {
        assert_eq!(oom_kills("low 0\noom 4\noom_kill 3\n"), Some(3));
        assert_eq!(
            oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
            Some(2)
        );
        assert_eq!(oom_kills("nothing"), None);
    }
}
