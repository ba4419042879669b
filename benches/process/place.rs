//! Where the measurements happen: a throw-away folder, the binary, the daemon in it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::time::{ClockId, clock_gettime};

use crate::hub::Hub;

/// The file in which the CLI notes when it began.
pub const BEGAN: &str = "began";

const BINARY: &str = env!("CARGO_BIN_EXE_agent-runner");

/// The kernel's monotonic clock, the same in all processes, in nanoseconds.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let part = |value: i64| u64::try_from(value).expect("time is positive");
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let program = std::env::current_exe().expect("this program's path");
        let config = format!("[agents.claude]\ncommand = \"{}\"\n", program.display());
        std::fs::write(dir.path().join("config.toml"), config).expect("writable");
        std::fs::create_dir(dir.path().join("home")).expect("writable");
        Self { dir }
    }

    /// Puts a file into the CLI's home.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path("home").join(name), text).expect("writable");
    }

    /// What the CLI left in its home.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path("home").join(name)).expect("the CLI wrote it")
    }

    /// A session's state dir.
    pub fn state(&self, session: &str) -> PathBuf {
        self.path(session)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn stripped_megabytes(&self) -> f64 {
        let copy = self.path("stripped");
        std::fs::copy(BINARY, &copy).expect("the binary is built");
        let done = Command::new("strip")
            .arg("-s")
            .arg(&copy)
            .status()
            .expect("strip runs");
        assert!(done.success(), "strip failed");
        megabytes(copy.metadata().expect("it is there").len())
    }

    /// When the last CLI began.
    pub fn agent_began(&self) -> u64 {
        let text = std::fs::read_to_string(self.path("home").join(BEGAN)).expect("it ran");
        text.parse().expect("a number")
    }
}

pub struct Daemon {
    child: Child,
}

impl Daemon {
    pub fn start(place: &Place, hub: &Hub, session: &str) -> Self {
        Self::start_with(place, hub, session, &[])
    }

    pub fn start_with(place: &Place, hub: &Hub, session: &str, options: &[&str]) -> Self {
        let child = Command::new(BINARY)
            .args([
                "daemon",
                "--session",
                session,
                "--agent-home",
                "user",
                "--hub",
            ])
            .arg(hub.url())
            .arg("--config")
            .arg(place.path("config.toml"))
            .arg("--state-dir")
            .arg(place.path(session))
            .args(options)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", place.path("home"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the daemon starts");
        Self { child }
    }

    pub fn resident_megabytes(&self) -> f64 {
        self.status_megabytes("VmRSS:")
    }

    pub fn peak_megabytes(&self) -> f64 {
        self.status_megabytes("VmHWM:")
    }

    /// CPU time so far, of all its threads.
    pub fn cpu_millis(&self) -> u64 {
        cpu_millis(i32::try_from(self.child.id()).expect("a pid"))
    }

    fn status_megabytes(&self, field: &str) -> f64 {
        let path = Path::new("/proc")
            .join(self.child.id().to_string())
            .join("status");
        let status = std::fs::read_to_string(path).expect("the daemon lives");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .expect("the kernel tells");
        let kib: u64 = line
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number");
        megabytes(kib * 1024)
    }

    /// In order, as a container's stop does it.
    pub fn stop(mut self) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        let pid = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it lives");
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "the daemon ended with {status}");
    }
}

/// CPU time of a process so far, its children left out.
pub fn cpu_millis(pid: i32) -> u64 {
    const TICKS_A_SECOND: u64 = 100; // what the kernel tells programs, whatever its own rate
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    // behind the name, which may hold anything: the 14th and 15th fields are utime and stime
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks
        .map(|field| field.parse::<u64>().expect("a number"))
        .sum();
    ticks * 1000 / TICKS_A_SECOND
}

fn megabytes(bytes: u64) -> f64 {
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let bytes = bytes as f64;
    bytes / 1e6
}
