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
        let path = Path::new("/proc")
            .join(self.child.id().to_string())
            .join("status");
        let status = std::fs::read_to_string(path).expect("the daemon lives");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("VmRSS");
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

fn megabytes(bytes: u64) -> f64 {
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    let bytes = bytes as f64;
    bytes / 1e6
}
