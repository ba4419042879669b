//! A place of its own for each test: home, repo, state dir, and the parts that are started in it.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::running::{Running, eventually};

/// The key that the CLI shows to the scripted model.
pub(crate) const MODEL_KEY: &str = "sk-ant-test-0123456789abcdefghijklmnop";

/// A test's place.
pub(crate) struct Bench {
    dir: TempDir,
    /// Processes of the test's own, which are no leftovers.
    own: RefCell<Vec<i32>>,
}

impl Bench {
    /// With the real Claude Code; nothing where it is not installed.
    pub(crate) fn with_claude() -> Option<Self> {
        claude().is_some().then(Self::new)
    }

    pub(crate) fn new() -> Self {
        let bench = Self {
            dir: tempfile::tempdir().unwrap(),
            own: RefCell::default(),
        };
        for folder in ["home", "here", "repo"] {
            fs::create_dir(bench.path(folder)).unwrap();
        }
        fs::write(bench.path("repo/README.md"), "A sample.\n").unwrap();
        bench.git(&["init", "-q", "-b", "main"]);
        bench.git(&["add", "."]);
        bench.git(&["commit", "-q", "-m", "one"]);
        bench
    }

    fn git(&self, words: &[&str]) {
        let status = Command::new("git")
            .current_dir(self.path("repo"))
            .args(["-c", "user.name=A", "-c", "user.email=a@example.com"])
            .args(words)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .status();
        assert!(status.unwrap().success(), "git {words:?}");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes a file and gives its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        fs::write(self.path(name), content).unwrap();
        self.text(name)
    }

    /// Writes a program that stands in for a CLI, and a config file that names it.
    pub(crate) fn config_with_cli(&self, script: &str) -> String {
        let program = self.file("cli", script);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let text = format!("[agents.claude]\ncommand = {program:?}\n");
        self.file("config.toml", &text)
    }

    /// The program, in `here`, with nothing of the caller's environment but the way to programs.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut path = OsString::new();
        if let Some(claude) = find_claude() {
            path.push(claude.parent().unwrap());
            path.push(":");
        }
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent-runner"));
        command
            .args(words)
            .current_dir(self.path("here"))
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.path("home"))
            .env("AGENT_RUNNER_MODE", "exec")
            .env("AGENT_RUNNER_STATE_DIR", self.path("state"))
            // Hubs name repositories of the test's own.
            .env("AGENT_RUNNER_GIT_ALLOW_HOSTS", self.dir.path());
        command
    }

    /// A daemon for a session of the Hub, with these settings.
    pub(crate) fn lead(&self, config: &str, hub: &Hub, session: &str) -> Command {
        let mut command = self.command(&["daemon", "--config", config]);
        command.args(["--hub", &hub.url, "--session", session]);
        command
    }

    /// The program with a model for its agent.
    pub(crate) fn agent(&self, model: &Model, words: &[&str]) -> Command {
        let mut command = self.command(words);
        command
            .env("ANTHROPIC_BASE_URL", &model.url)
            .env("ANTHROPIC_API_KEY", MODEL_KEY)
            .env("CLAUDE_CODE_MAX_RETRIES", "0");
        command
    }

    pub(crate) fn start(&self, command: &mut Command) -> Running {
        let running = Running::start(command);
        self.own.borrow_mut().push(running.pid());
        running
    }

    /// Counts a process that the test has started by itself as the test's own.
    pub(crate) fn adopt(&self, pid: i32) {
        self.own.borrow_mut().push(pid);
    }

    /// A scripted model that plays `script`.
    pub(crate) fn model(&self, script: &str) -> Model {
        let script = self.file("script.toml", script);
        let record = self.path("requests.jsonl");
        let words = ["scripted-model", "--script", &script, "--record"];
        let running = self.start(self.command(&words).arg(&record));
        Model {
            url: listening(&running),
            record,
            _running: running,
        }
    }

    /// An embedded Hub; with a key, it wants that.
    pub(crate) fn hub(&self, key: Option<&str>) -> Hub {
        self.hub_at("127.0.0.1:0", key)
    }

    /// An embedded Hub at this address, with what an earlier one of the test stored.
    pub(crate) fn hub_at(&self, listen: &str, key: Option<&str>) -> Hub {
        let mut command = self.command(&["hub", "--listen", listen]);
        command.env("AGENT_RUNNER_STATE_DIR", self.path("hub"));
        if let Some(key) = key {
            command.env("AGENT_RUNNER_API_KEY", key);
        }
        self.hub_of(&mut command)
    }

    /// The Hub that this command starts.
    pub(crate) fn hub_of(&self, command: &mut Command) -> Hub {
        let running = self.start(command);
        Hub {
            url: listening(&running),
            running,
        }
    }

    /// Every process that was started from here: by its arguments, environment or folder.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let root = self.dir.path();
        let bytes = root.as_os_str().as_encoded_bytes();
        let names = |file: &Path| {
            fs::read(file).is_ok_and(|text| memchr::memmem::find(&text, bytes).is_some())
        };
        let belongs = |pid: &i32| {
            let proc = PathBuf::from(format!("/proc/{pid}"));
            let within = fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd.starts_with(root));
            within || names(&proc.join("cmdline")) || names(&proc.join("environ"))
        };
        let entries = fs::read_dir("/proc").unwrap();
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(belongs).filter_map(Process::read).collect()
    }

    /// Those that the test did not start itself.
    pub(crate) fn descendants(&self) -> Vec<Process> {
        let mut processes = self.processes();
        processes.retain(|process| !self.own.borrow().contains(&process.pid));
        processes
    }

    pub(crate) fn assert_no_process_left(&self) {
        let mut left = Vec::new();
        eventually("all processes are gone", || {
            left = self.descendants();
            left.is_empty()
        });
    }

    /// All files below a folder, as paths.
    pub(crate) fn files(&self, name: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.path(name)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.is_symlink() {
                    folders.push(path);
                } else {
                    found.push(path);
                }
            }
        }
        found
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A test that failed half-way leaves what it started.
        for process in self.processes() {
            let _gone = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
    }
}

/// A process as the kernel shows it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) arguments: String,
    pub(crate) environment: Vec<u8>,
}

impl Process {
    /// Nothing for a process that is gone or a zombie.
    fn read(pid: i32) -> Option<Self> {
        let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).ok();
        let arguments = read("cmdline")?;
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        (!arguments.is_empty()).then(|| Self {
            pid,
            arguments,
            environment: read("environ").unwrap_or_default(),
        })
    }
}

/// A running scripted model.
pub(crate) struct Model {
    pub(crate) url: String,
    record: PathBuf,
    _running: Running,
}

impl Model {
    /// What agents asked so far: the bodies of requests for a reply, without the CLI's questions
    /// on its own account.
    pub(crate) fn requests(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.record).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines
            .map(|request: Value| request["body"].clone())
            .filter(|body| {
                body["tools"]
                    .as_array()
                    .is_some_and(|list| !list.is_empty())
            })
            .collect()
    }
}

/// A running embedded Hub.
pub(crate) struct Hub {
    pub(crate) url: String,
    running: Running,
}

impl Hub {
    /// `kill -9`; its address.
    pub(crate) fn kill(self) -> String {
        self.running.signal(Signal::SIGKILL);
        self.running.finish();
        self.url.trim_start_matches("http://").to_owned()
    }
}

/// The address that a server's first line names.
fn listening(running: &Running) -> String {
    let url = |line: &str| line.strip_prefix("listening ").map(str::to_owned);
    let found = running.out.first(0, url);
    found.expect("the server says where it listens").1
}

/// The real CLI, or a word on what is skipped.
fn claude() -> Option<PathBuf> {
    let found = find_claude();
    if found.is_none() {
        skip("needs Claude Code, get it with scripts/install-test-tools");
    }
    found
}

/// Where it is.
pub(crate) fn find_claude() -> Option<PathBuf> {
    let installed = "tests/tools/node_modules/.bin/claude";
    let path = match std::env::var_os("AGENT_RUNNER_TEST_CLAUDE") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(installed),
    };
    path.exists().then_some(path)
}

/// Says that a test proves nothing here, and why; in continuous integration that fails it.
pub(crate) fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{reason}");
    println!("skipped: {reason}");
}
