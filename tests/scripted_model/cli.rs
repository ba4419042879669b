//! A real agent CLI, run to its end against a scripted model.

use std::io::{Read, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use agent_runner::scripted_model::Script;
use serde_json::Value;

use crate::server::Server;

/// `OpenCode` alone takes up to a minute to start on a machine that is busy.
const LIMIT: Duration = Duration::from_mins(4);

/// A CLI of `tests/tools`, or none where it is not installed and nobody insists.
#[allow(clippy::print_stderr)] // a skipped test must not look like one that passed
fn installed(name: &str) -> Option<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/node_modules");
    let path = PathBuf::from(folder).join(match name {
        "opencode" => "opencode-linux-x64/bin/opencode".to_owned(),
        other => format!(".bin/{other}"),
    });
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "these tests need {}; scripts/install-test-tools gets it",
        path.display()
    );
    eprintln!("skipped: needs {name}, get it with scripts/install-test-tools");
    None
}

/// An MCP server that has a tool `echo`, for `node`.
pub(crate) const MCP_SERVER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/scripted_model/echo-mcp.mjs"
);

/// A repo, a home and a scripted model for one test.
pub(crate) struct Bench {
    pub(crate) server: Server,
    pub(crate) repo: PathBuf,
    pub(crate) home: PathBuf,
    program: PathBuf,
}

/// What one run of the CLI printed.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) lines: Vec<Value>,
    pub(crate) stderr: String,
}

impl Bench {
    /// None: the CLI is not installed.
    pub(crate) async fn of(cli: &str) -> Option<Self> {
        let script = Script::parse("features.toml", include_str!("features.toml")).unwrap();
        Self::playing(cli, script).await
    }

    pub(crate) async fn playing(cli: &str, script: Script) -> Option<Self> {
        let program = installed(cli)?;
        let server = Server::playing(script).await;
        let folder = server.folder.path().canonicalize().unwrap();
        let (repo, home) = (folder.join("repo"), folder.join("home"));
        std::fs::create_dir(&repo).unwrap();
        std::fs::create_dir(&home).unwrap();
        Some(Self {
            server,
            repo,
            home,
            program,
        })
    }

    /// The CLI in the repo, with a home of its own and nothing else of this process.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(&self.repo)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.home);
        command
    }

    /// Writes a file into the home.
    pub(crate) fn write_home(&self, path: &str, content: &str) {
        let path = self.home.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Runs the CLI to its end; lines that are not JSON objects are left out.
    pub(crate) async fn run(&self, command: Command, stdin: &str) -> Run {
        let stdin = stdin.to_owned();
        tokio::task::spawn_blocking(move || run_to_end(command, &stdin))
            .await
            .unwrap()
    }

    /// How many requests came to a path that ends so.
    pub(crate) fn requests(&self, path_end: &str) -> usize {
        let record = self.server.record();
        let path = |entry: &&Value| entry["path"].as_str().unwrap().ends_with(path_end);
        record.iter().filter(path).count()
    }

    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.repo.join(name)).unwrap()
    }
}

fn run_to_end(mut command: Command, stdin: &str) -> Run {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Err: it has ended before it read its prompt; what it printed says why.
    drop(child.stdin.take().unwrap().write_all(stdin.as_bytes()));
    let stdout = gather(child.stdout.take().unwrap());
    let stderr = gather(child.stderr.take().unwrap());
    let stdout = within_limit(&mut child, &stdout);
    let stderr = within_limit(&mut child, &stderr);
    let objects = stdout.lines().filter(|line| line.starts_with('{'));
    Run {
        code: child.wait().unwrap().code(),
        lines: objects
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
        stderr,
    }
}

fn gather(mut stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // Err: the time was up.
        drop(sender.send(text));
    });
    receiver
}

fn within_limit(child: &mut Child, stream: &mpsc::Receiver<String>) -> String {
    let Ok(text) = stream.recv_timeout(LIMIT) else {
        child.kill().unwrap();
        panic!("the CLI did not end within {LIMIT:?}");
    };
    text
}

impl Run {
    pub(crate) fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.lines.iter().filter(move |line| line["type"] == kind)
    }

    pub(crate) fn last(&self) -> &Value {
        let nothing = || panic!("no output; stderr: {}", self.stderr);
        self.lines.last().unwrap_or_else(nothing)
    }
}
