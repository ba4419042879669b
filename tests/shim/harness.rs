//! A run in a folder of its own, with the fake agent as its CLI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use agent_runner::ids::SpoolOffset;
use agent_runner::process::Environment;
use agent_runner::sandbox::{Change, Ending, LocalSandbox, RunControl, RunHandle, SandboxError};
use agent_runner::spool::{Plan, RunDir, Stdout, Stopped};

use crate::appears;

/// No test waits longer for anything.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Harness {
    pub(crate) root: tempfile::TempDir,
    pub(crate) sandbox: LocalSandbox,
    pub(crate) dir: RunDir,
    pub(crate) plan: Plan,
    pub(crate) prompt: Vec<u8>,
    pub(crate) environment: Environment,
}

impl Harness {
    /// A run of the fake agent with these words as its directives.
    pub(crate) fn new(directives: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let workspace = root.path().join("workspace");
        fs::create_dir(&workspace).unwrap();
        let words = directives.split_whitespace().map(str::to_owned).collect();
        Self {
            sandbox: LocalSandbox::with_program(env!("CARGO_BIN_EXE_agent-runner")),
            dir: RunDir::new(root.path().join("runs").join("run")),
            plan: Plan::new(&fake_agent(), words, &workspace, 1 << 30),
            prompt: b"do it".to_vec(),
            environment: Environment::new(),
            root,
        }
    }

    pub(crate) fn on_a_pipe(mut self) -> Self {
        self.plan.stdout = Stdout::Pipe;
        self
    }

    pub(crate) async fn try_start(&self) -> Result<RunHandle, SandboxError> {
        let start = self
            .sandbox
            .start(&self.dir, &self.plan, &self.prompt, &self.environment);
        tokio::time::timeout(LIMIT, start)
            .await
            .expect("it starts in time")
    }

    pub(crate) async fn start(&self) -> RunHandle {
        self.try_start().await.unwrap()
    }

    /// Starts the run and waits for its end; its record and its output.
    pub(crate) async fn run(&self) -> (Stopped, Vec<u8>) {
        let mut run = self.start().await;
        let stopped = exited(&mut run).await;
        self.assert_nothing_left().await;
        (stopped, self.output())
    }

    pub(crate) fn output(&self) -> Vec<u8> {
        fs::read(self.dir.spool()).unwrap()
    }

    /// Processes that belong to this run: by their folder, or by an argument that names it.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let root = self.root.path();
        let belongs = |pid: &i32| {
            let proc = PathBuf::from(format!("/proc/{pid}"));
            let arguments = fs::read(proc.join("cmdline")).unwrap_or_default();
            let named = memchr::memmem::find(&arguments, root.as_os_str().as_encoded_bytes());
            let within = fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd.starts_with(root));
            named.is_some() || within
        };
        pids().into_iter().filter(belongs).collect()
    }

    pub(crate) async fn assert_nothing_left(&self) {
        eventually("no process of the run is left", || {
            self.processes().is_empty()
        })
        .await;
        assert!(
            !self.dir.path().join(RunDir::CONTROL).exists(),
            "the socket is left"
        );
        assert!(!self.dir.path().join("status.json.new").exists());
        let log = fs::read_to_string(self.dir.shim_log()).unwrap();
        assert_eq!(log, "", "the shim complained");
    }

    /// Waits until the fake agent's `mark` is there.
    pub(crate) async fn marked(&self, name: &str) {
        let mark = self.plan.workspace.join(name);
        let marked = tokio::task::spawn_blocking(move || appears::path(&mark, LIMIT));
        assert!(marked.await.unwrap(), "the agent came to {name} in time");
    }
}

/// Waits for a run's end, whatever it is.
pub(crate) async fn ended(run: &mut RunHandle) -> Ending {
    let wait = async {
        loop {
            if let Change::Ended(ending) = run.changed().await.unwrap() {
                return ending;
            }
        }
    };
    tokio::time::timeout(LIMIT, wait)
        .await
        .expect("the run ends in time")
}

pub(crate) async fn exited(run: &mut RunHandle) -> Stopped {
    match ended(run).await {
        Ending::Exited(stopped) => stopped,
        other => panic!("the run ended otherwise: {other:?}"),
    }
}

/// Waits until the spool holds `bytes`.
pub(crate) async fn grown(run: &mut RunHandle, bytes: u64) {
    let wait = async {
        loop {
            match run.changed().await.unwrap() {
                Change::Spool { bytes: now, .. } if now < bytes => {}
                Change::Spool { .. } => return,
                Change::Ended(ending) => panic!("the run ended early: {ending:?}"),
            }
        }
    };
    tokio::time::timeout(LIMIT, wait)
        .await
        .expect("the spool grows in time");
}

pub(crate) fn control(run: &RunHandle) -> RunControl {
    run.control().expect("the run goes on")
}

pub(crate) fn read_all(run: &RunHandle) -> Vec<u8> {
    let mut tail = run.tail(SpoolOffset::START).unwrap();
    let mut all = Vec::new();
    loop {
        let chunk = tail.read().unwrap();
        if chunk.is_empty() {
            return all;
        }
        all.extend_from_slice(chunk);
    }
}

/// Waits for something that only shows when it is asked for: processes in `/proc`.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(
        tokio::time::timeout(LIMIT, wait).await.is_ok(),
        "in time: {what}"
    );
}

/// Says that a test proves nothing here, as it lacks what continuous integration has.
#[allow(clippy::print_stderr)]
pub(crate) fn lacks(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what}");
    eprintln!("skipped: {what}");
}

/// Says that a test proves nothing on this kernel, and why.
#[allow(clippy::print_stderr)]
pub(crate) fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

pub(crate) fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// The fake agent. `cargo test` builds it; `cargo test --test shim` alone does not.
pub(crate) fn fake_agent() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM
        .get_or_init(|| {
            let folder = Path::new(env!("CARGO_BIN_EXE_agent-runner"))
                .parent()
                .unwrap();
            let program = folder.join("examples").join("fake_agent");
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fake_agent.rs");
            let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified());
            if !changed(&program).is_ok_and(|built| built >= changed(&source).unwrap()) {
                build_fake_agent(folder.ends_with("release"));
            }
            program
        })
        .clone()
}

fn build_fake_agent(release: bool) {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--example", "fake_agent"]);
    if release {
        build.arg("--release");
    }
    // What cargo tells a test of its package would make it build half of the dependencies anew.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&*name);
        }
    }
    assert!(
        build.status().unwrap().success(),
        "the fake agent cannot be built"
    );
}
