//! Every command of the README runs, as it stands there but for addresses that nobody owns.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const README: &str = include_str!("../README.md");
const BINARY: &str = env!("CARGO_BIN_EXE_agent-runner");

/// Commands that `scripts/test` runs: itself, and the demo wherever CI is set.
const BY_SCRIPT: [&str; 2] = ["scripts/demo", "scripts/test"];

/// Commands that talk to a daemon in the background, which has a Hub of its own here.
const BACKGROUND: [&str; 4] = ["start", "status", "prompt", "events"];

/// The lines of the README's shell blocks, in their order, each once.
fn commands() -> Vec<&'static str> {
    let blocks = README.split("```sh\n").skip(1);
    let mut seen = BTreeSet::new();
    blocks
        .flat_map(|block| block.split("```").next().unwrap_or_default().lines())
        .filter(|line| seen.insert(*line))
        .collect()
}

fn is_background(command: &str) -> bool {
    let word = command.strip_prefix("agent-runner ");
    let word = word.and_then(|rest| rest.split(' ').next());
    word.is_some_and(|word| BACKGROUND.contains(&word))
}

/// The daemon that `start` left behind, ended with the test.
struct Background(i32);

impl Drop for Background {
    fn drop(&mut self) {
        use nix::sys::signal::{Signal, kill};
        // One that is gone needs no signal.
        kill(nix::unistd::Pid::from_raw(self.0), Signal::SIGTERM).ok();
    }
}

/// A server of ours, ended with the test.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let child = Command::new(BINARY)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line
            .trim()
            .strip_prefix("listening ")
            .expect("the server says where")
            .to_owned();
        Self { child, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn claude() -> Option<PathBuf> {
    let pinned = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/node_modules/.bin/claude");
    let path = std::env::var_os("AGENT_RUNNER_TEST_CLAUDE").map_or(pinned, PathBuf::from);
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "claude is not installed: run scripts/test"
    );
    println!("skipped: needs claude, get it with scripts/test");
    None
}

/// A repository with one file.
fn make_repo(path: &Path) {
    std::fs::create_dir(path).unwrap();
    std::fs::write(path.join("README.md"), "A project.\n").unwrap();
    let git = |arguments: &[&str]| {
        let done = Command::new("git")
            .args(arguments)
            .current_dir(path)
            .status()
            .unwrap();
        assert!(done.success(), "git {arguments:?}");
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    let author = ["-c", "user.name=t", "-c", "user.email=t@localhost"];
    git(&[&author[..], &["commit", "--quiet", "-m", "first"]].concat());
}

/// `PATH` with this build and the CLI.
fn search_path(claude: &Path) -> OsString {
    let own = [Path::new(BINARY), claude].map(|program| program.parent().unwrap().to_owned());
    let others = std::env::var_os("PATH").unwrap();
    std::env::join_paths(own.into_iter().chain(std::env::split_paths(&others))).unwrap()
}

/// The command with what stands for the user's own.
fn here(command: &str, project: &str, hub: &str) -> String {
    command
        .replace("https://github.com/you/project", project)
        .replace("SDK_KEY=…", "SDK_KEY=a-key-for-this-test")
        .replace("https://hub.example.com", hub)
        .replace("codesess_1", &session(hub))
}

/// What it prints.
fn succeeds(command: &str, mut shell: Command) -> String {
    let done = shell.output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&done.stderr);
    let status = done.status;
    assert!(
        status.success(),
        "{command}: {status}\n{text}\n{complaints}"
    );
    text
}

fn assert_run_by_the_script(command: &str) {
    let script = include_str!("../scripts/test");
    let is_run = command == "scripts/test" || script.contains(command);
    assert!(is_run, "{command}");
}

#[test]
fn every_command_of_the_readme_runs() {
    let Some(claude) = claude() else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    make_repo(&dir.path().join("project"));
    std::fs::write(path("task.txt"), "Look around.").unwrap();
    std::fs::write(path("key.txt"), "a-key-for-this-test").unwrap();
    let model = Server::start(&["scripted-model"]);
    let (hub_dir, key_file) = (path("hub"), path("key.txt"));
    let hub = ["hub", "--listen", "127.0.0.1:0", "--state-dir", &hub_dir];
    let hub = Server::start(&[&hub[..], &["--api-key-file", &key_file]].concat());
    let search = search_path(&claude);
    let shell = |command: &str| {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", command])
            .current_dir(dir.path())
            .env("PATH", &search)
            .env("HOME", path("home"))
            .env("XDG_STATE_HOME", path("state"))
            .env("ANTHROPIC_BASE_URL", &model.url)
            .env("ANTHROPIC_API_KEY", "no-key-is-needed")
            .env("AGENTUITY_CODER_URL", &hub.url);
        for name in ["AGENT_RUNNER_TEST_CLAUDE", "CI"] {
            shell.env_remove(name);
        }
        if is_background(command) {
            shell.env_remove("AGENTUITY_CODER_URL");
        }
        shell
    };
    let run = |command: &str| succeeds(command, shell(command));
    let mut background = None;
    for command in commands() {
        if BY_SCRIPT.contains(&command) {
            assert_run_by_the_script(command);
            continue;
        }
        let local = here(command, &path("project"), &hub.url);
        // A daemon would wait for the next prompt; each has a state dir of its own.
        let text = if local.contains(" daemon ") {
            let state = path(&command.len().to_string());
            run(&format!("{local} --once --state-dir {state}"))
        } else {
            run(&local)
        };
        if command.starts_with("agent-runner start") {
            let started: serde_json::Value = serde_json::from_str(&text).unwrap();
            let pid = started["pid"].as_i64().unwrap();
            background = Some(Background(i32::try_from(pid).unwrap()));
        } else if command == "agent-runner status" {
            assert!(text.contains("claude"), "{text}");
        } else {
            assert!(text.contains("completed"), "{command}: {text}");
        }
    }
    assert!(background.is_some(), "a session was left in the background");
}

/// A session with a task, made as any client would.
fn session(hub: &str) -> String {
    let body = r#"{"task":"Look around."}"#;
    let made = Command::new("curl")
        .args(["--silent", "--fail", "--max-time", "10", "--data", body])
        .args(["--header", "content-type: application/json"])
        .args(["--header", "authorization: Bearer a-key-for-this-test"])
        .arg(format!("{hub}/api/hub/session"))
        .output()
        .unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    answer["sessionId"].as_str().unwrap().to_owned()
}

#[test]
fn every_file_that_the_readme_names_is_there() {
    for link in README.split("](").skip(1) {
        let target = link.split(')').next().unwrap_or_default();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(target);
        assert!(path.exists(), "{target}");
    }
}

#[test]
fn every_proof_that_the_specification_names_is_there() {
    let specification = include_str!("../docs/SPECIFICATION.md");
    let named = specification.split('`').skip(1).step_by(2);
    let proofs = named.filter(|name| {
        ["tests/", "src/", "scripts/"]
            .iter()
            .any(|at| name.starts_with(at))
    });
    let mut count = 0;
    for proof in proofs {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(proof);
        assert!(path.exists(), "{proof}");
        count += 1;
    }
    assert!(count > 10, "the specification names its proofs");
}
