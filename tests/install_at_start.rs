//! A daemon whose agent is missing: it installs the real one with the real npm, or says why not.
//! What needs npm's registry is skipped, with a line that says so, where that cannot be reached;
//! in CI that is a failure.
#![allow(clippy::unwrap_used, clippy::print_stderr)] // helpers of tests, lines about skipping

#[path = "support/npm_registry.rs"]
mod npm_registry;

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use agent_runner::install;
use npm_registry::CACHE;
use serde_json::Value;
use tempfile::TempDir;

/// An install over a slow line, and a turn.
const LIMIT: Duration = Duration::from_mins(10);

/// A Hub, and room for a daemon's state.
struct Desk {
    dir: TempDir,
    hub: Process,
    url: String,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent-runner"));
        command
            .args(["hub", "--listen", "127.0.0.1:0", "--state-dir"])
            .arg(dir.path().join("hub"))
            .env_remove("AGENT_RUNNER_API_KEY");
        let hub = Process::start(&mut command);
        let url = hub.line_with("listening http://");
        let url = url.trim_start_matches("listening ").to_owned();
        Self { dir, hub, url }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A daemon with a task and without any agent: npm and the shell's own tools are on PATH.
    fn daemon(&self) -> Command {
        let bin = self.dir.path().join("path");
        std::fs::create_dir_all(&bin).unwrap();
        for tool in ["node", "npm", "sh", "env"] {
            if let Some(path) = on_path(tool) {
                let link = bin.join(tool);
                if !link.exists() {
                    std::os::unix::fs::symlink(path, link).unwrap();
                }
            }
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent-runner"));
        command
            .args(["daemon", "--output", "jsonl", "--hub", &self.url])
            .arg("--state-dir")
            .arg(self.state())
            .env_clear()
            .env("PATH", bin)
            .env("HOME", self.dir.path())
            .env("AGENT_RUNNER_MODE", "exec")
            .env("AGENT_RUNNER_TASK", "Say hello.")
            .env("npm_config_cache", CACHE);
        command
    }
}

fn on_path(tool: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|dir| dir.join(tool))
        .find(|path| path.is_file())
}

/// A process whose stdout is read line by line; killed when it is dropped.
struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        // Ends with the process's stdout.
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    fn line_with(&self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(LIMIT).unwrap();
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Waits for its end: the exit code and all of stderr.
    fn end(mut self) -> (Option<i32>, String) {
        let stderr: ChildStderr = self.child.stderr.take().unwrap();
        let said = std::io::read_to_string(stderr).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn installed(state: &Path) -> Option<PathBuf> {
    install::installed(&state.join("bin"), "claude")
}

#[test]
fn a_missing_agent_is_installed_while_the_session_watches_and_then_works() {
    if !npm_registry::is_reachable() {
        return;
    }
    let desk = Desk::new();
    let daemon = Process::start(&mut desk.daemon());
    let mut steps = Vec::new();
    let ran = loop {
        let line = daemon.lines.recv_timeout(LIMIT).unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        match event["type"].as_str().unwrap() {
            "setup" => {
                assert_eq!(event["step"], "install", "{line}");
                steps.push(event["text"].as_str().unwrap().to_owned());
            }
            // Without any login the CLI fails at once; that it says so is enough here.
            "end" => break event,
            _ => {}
        }
    };
    let executable = installed(&desk.state()).unwrap();
    let last = format!("claude 2.1.197: installed as {}", executable.display());
    let expected = [
        "claude 2.1.197: downloading",
        "claude 2.1.197: checking",
        &last,
    ];
    assert_eq!(steps, expected);
    assert_eq!(ran["error"]["class"], "auth", "{ran}");
    drop(daemon);

    let doctor = Command::new(env!("CARGO_BIN_EXE_agent-runner"))
        .args(["doctor", "--json", "--state-dir"])
        .arg(desk.state())
        .env_clear()
        .env("HOME", desk.dir.path())
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    assert_eq!(doctor.status.code(), Some(0), "{report:#}");
    let checks = report["checks"].as_array().unwrap();
    let of = |id: &str| &checks.iter().find(|check| check["id"] == id).unwrap()["facts"];
    assert_eq!(of("program")["found_by"], "installed");
    assert_eq!(of("version")["tested"], true);
}

#[test]
fn an_install_that_fails_ends_the_daemon_with_68_and_the_hub_hears_why() {
    if !has_npm() {
        return;
    }
    let desk = Desk::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let mut daemon = desk.daemon();
    daemon
        .env("npm_config_registry", closed)
        .env("npm_config_cache", desk.dir.path().join("cache"))
        .env("npm_config_fetch_retries", "0");
    let (exit, said) = Process::start(&mut daemon).end();
    assert_eq!(exit, Some(68), "{said}");
    assert!(said.contains("ECONNREFUSED"), "{said}");
    assert_eq!(installed(&desk.state()), None);

    let session = said
        .lines()
        .find_map(|line| line.split_once("leading session "));
    let (_, session) = session.unwrap();
    let history = http_get(&desk.url, &format!("/api/hub/session/{session}/replay"));
    assert!(history.contains("ECONNREFUSED"), "{history}");
    drop(desk.hub);
}

/// Whether the real program is there, which continuous integration has.
fn has_npm() -> bool {
    let found = on_path("npm").is_some();
    if !found {
        assert!(std::env::var_os("CI").is_none(), "npm is not on PATH");
        eprintln!("skipped: npm is not on PATH");
    }
    found
}

/// A request of its own over a plain socket; the answer with its head.
fn http_get(url: &str, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let address = url.trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_daemon_that_is_stopped_during_the_install_ends_soon_and_leaves_nothing_half_done() {
    if !has_npm() {
        return;
    }
    let desk = Desk::new();
    // Takes connections and never answers.
    let registry = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", registry.local_addr().unwrap());
    let mut daemon = desk.daemon();
    daemon
        .env("npm_config_registry", address)
        .env("npm_config_cache", desk.dir.path().join("cache"));
    let daemon = Process::start(&mut daemon);
    let (_held, _) = registry.accept().unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(daemon.child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let (exit, said) = daemon.end();
    assert_eq!(exit, Some(0), "{said}");
    assert_eq!(installed(&desk.state()), None);
    let store = desk.state().join("bin/.agent-runner");
    let left: Vec<_> = store
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["claude.lock"]);
}

#[test]
fn what_cannot_be_installed_is_said_before_a_hub_is_asked() {
    let mut desk = Desk::new();
    // Nobody is there: a daemon that asked would wait, and end with 69.
    desk.url = "http://127.0.0.1:9".to_owned();
    let mut skipping = desk.daemon();
    skipping.arg("--skip-install");
    let (exit, said) = Process::start(&mut skipping).end();
    assert_eq!(exit, Some(68), "{said}");
    assert!(said.contains("agent-runner install claude"), "{said}");
    assert!(!said.contains("leading session"), "{said}");

    let mut without_node = desk.daemon();
    without_node.env("PATH", desk.dir.path());
    let (exit, said) = Process::start(&mut without_node).end();
    assert_eq!(exit, Some(68), "{said}");
    assert!(said.contains("install Node 20"), "{said}");
    assert!(!said.contains("leading session"), "{said}");
    assert!(!desk.state().join("bin").exists());
}
