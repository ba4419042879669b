//! An init with a program under it, its output line by line.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use agent_runner::clock::Clock;
use agent_runner::process::{Identity, Stat, State};
use rustix::process::{Pid, Signal, kill_process};

use crate::ended;

/// No test waits longer for anything.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) const RUNNER: &str = env!("CARGO_BIN_EXE_agent-runner");

/// A running init; killed with what it looks after when it is dropped.
pub(crate) struct Init {
    child: Child,
    lines: Receiver<String>,
    errors: Option<std::thread::JoinHandle<String>>,
}

impl Init {
    /// Runs a shell script under init.
    pub(crate) fn script(options: &[&str], script: &str) -> Self {
        let options = options.iter().copied();
        let words: Vec<&str> = options.chain(["--exec", "sh", "-c", script]).collect();
        Self::with(&words)
    }

    /// Runs init with these arguments.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let mut command = Command::new(RUNNER);
        command.arg("init").args(arguments);
        Self::spawn(command)
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .env("RUNNER", RUNNER)
            .env("FAKE_AGENT", fake_agent())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        let mut stderr = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        Self {
            child,
            lines,
            errors: Some(errors),
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// The next line that the program wrote; none at the end of its output.
    pub(crate) fn next_line(&self) -> Option<String> {
        match self.lines.recv_timeout(LIMIT) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line in time"),
        }
    }

    pub(crate) fn line(&self) -> String {
        self.next_line().expect("a line, not the end")
    }

    /// A line that is a number: the pid of something.
    pub(crate) fn number(&self) -> i32 {
        self.line().parse().unwrap()
    }

    /// Waits for the end; how it ended, and what was said on stderr.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = ended::in_time(&mut self.child, LIMIT).expect("init ends in time");
        (status, self.errors.take().unwrap().join().unwrap())
    }

    pub(crate) fn code(self) -> Option<i32> {
        self.wait().0.code()
    }

    pub(crate) fn children(&self) -> Vec<Stat> {
        children(self.pid().as_raw_nonzero().get())
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            for child in self.children() {
                kill(child.pid);
            }
            kill(self.pid().as_raw_nonzero().get());
            let _status = self.child.wait();
        }
    }
}

fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _gone = kill_process(pid, Signal::KILL);
    }
}

fn read_lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (send, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { return };
            if send.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// All children of a process, zombies included.
pub(crate) fn children(parent: i32) -> Vec<Stat> {
    let entries = std::fs::read_dir("/proc").unwrap();
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Stat::read(pid).ok())
        .filter(|stat| stat.parent == parent)
        .collect()
}

pub(crate) fn identity(pid: i32) -> Identity {
    Identity::of(Pid::from_raw(pid).unwrap()).unwrap()
}

/// Whether the pid is free or a zombie's.
pub(crate) fn is_over(pid: i32) -> bool {
    Stat::read(pid).map_or(true, |stat| stat.state == State::Dead)
}

/// Waits for something that sends no event; how long that took.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let start = Clock.now();
    while !condition() {
        assert!(Clock.now() < start + LIMIT, "in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
    Clock.now().duration_since(start)
}

/// The fake agent. `cargo test` builds it; `cargo test --test init` alone does not.
pub(crate) fn fake_agent() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM
        .get_or_init(|| {
            let folder = Path::new(RUNNER).parent().unwrap();
            let program = folder.join("examples").join("fake_agent");
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fake_agent.rs");
            let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified());
            if !changed(&program).is_ok_and(|built| built >= changed(&source).unwrap()) {
                build_fake_agent();
            }
            program
        })
        .clone()
}

fn build_fake_agent() {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--example", "fake_agent"]);
    // What cargo tells a test of its package would make it build half of the dependencies anew.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&*name);
        }
    }
    assert!(build.status().unwrap().success());
}
