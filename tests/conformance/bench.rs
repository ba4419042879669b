//! A place of its own for each test: home, repo, state dir, and the scripted model beside it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::agents::{Agent, mcp_config, ripgrep};
use crate::gaps;
use crate::running::Running;

/// A place with one CLI in it.
pub(crate) struct Bench {
    pub(crate) agent: &'static Agent,
    program: PathBuf,
    dir: TempDir,
    model: Option<(Running, String)>,
    /// What `--mode` is.
    pub(crate) mode: &'static str,
    /// What `--approve` is.
    pub(crate) approve: &'static str,
    /// What `--idle-timeout` is.
    pub(crate) idle: &'static str,
    /// What `--approval-timeout` is.
    pub(crate) approval_timeout: Option<&'static str>,
    /// Where the daemon dies, once.
    pub(crate) crash: Option<&'static str>,
}

impl Bench {
    /// Nothing where the CLI is not installed.
    pub(crate) fn with(agent: &'static Agent) -> Option<Self> {
        Self::playing(agent, agent.mode(), include_str!("script.toml"))
    }

    /// The same, for sessions in live form.
    pub(crate) fn live(agent: &'static Agent) -> Option<Self> {
        Self::playing(agent, "live", include_str!("live.toml"))
    }

    /// The same, where work goes on in the background.
    pub(crate) fn background(agent: &'static Agent) -> Option<Self> {
        Self::playing(agent, "live", include_str!("background.toml"))
    }

    /// With a script of the test's own.
    pub(crate) fn playing(agent: &'static Agent, mode: &'static str, script: &str) -> Option<Self> {
        let mut bench = Self {
            agent,
            program: agent.installed()?,
            dir: tempfile::tempdir().unwrap(),
            model: None,
            mode,
            approve: "auto",
            idle: "10m",
            approval_timeout: None,
            crash: None,
        };
        for folder in ["home", "here"] {
            fs::create_dir(bench.path(folder)).unwrap();
        }
        let script = agent.script(script);
        fs::write(bench.path("script.toml"), script).unwrap();
        let mut command = bench.command(&["scripted-model", "--script"]);
        command.arg(bench.path("script.toml")).arg("--record");
        let model = Running::start(command.arg(bench.path("requests.jsonl")));
        let url = model.listening();
        bench.model = Some((model, url));
        Some(bench)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program with nothing of the caller's environment but the way to other programs.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut path = OsString::from(ripgrep());
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent-runner"));
        command
            .args(words)
            .current_dir(self.path("here"))
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.path("home"))
            .env("AGENT_RUNNER_MODE", self.mode)
            .env("AGENT_RUNNER_STATE_DIR", self.path("state"));
        command
    }

    /// A command that runs the agent; its pid will be in `pids`.
    pub(crate) fn agent_command(&self, words: &[&str], two_rounds: bool) -> Command {
        let (_, url) = self.model.as_ref().unwrap();
        let place = self.agent.place(url, two_rounds);
        if let Some((path, content)) = &place.home_file {
            let path = self.path("home").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let name = self.agent.name;
        let program = toml::Value::from(self.wrapper().to_str().unwrap());
        let mut config = format!("[agents.{name}]\ncommand = {program}\n[agents.{name}.env]\n");
        for (name, value) in &place.env {
            writeln!(config, "{name} = {}", toml::Value::from(value.as_str())).unwrap();
        }
        fs::write(self.path("config.toml"), config).unwrap();
        let mut command = self.command(words);
        command
            .args(["--agent", name, "--model", self.agent.model])
            .args(["--output", "jsonl", "--log-level", "error"])
            .args(["--approve", self.approve, "--idle-timeout", self.idle])
            .args(
                self.approval_timeout
                    .map(|time| format!("--approval-timeout={time}")),
            )
            .args(["--agent-home", "user", "--config"])
            .arg(self.path("config.toml"))
            .args(&place.arguments);
        if let Some(crash) = self.crash {
            command.env("AGENT_RUNNER_CRASH", crash);
            command.env("AGENT_RUNNER_CRASH_LOG", self.path("crash"));
        }
        if !gaps::has(name, "mcp") {
            fs::write(self.path("mcp.json"), mcp_config()).unwrap();
            command.arg("--mcp-config").arg(self.path("mcp.json"));
        }
        command
    }

    /// A program that leaves its pid, and becomes the CLI; not while there is a file `hold`.
    fn wrapper(&self) -> PathBuf {
        let path = self.path("wrapper");
        if path.exists() {
            // It may be starting just now: the kernel starts no file that is open for writing.
            return path;
        }
        let script = format!(
            "#!/bin/sh\necho $$ >>'{}'\nwhile [ -e '{}' ]; do sleep 0.02; done\nexec '{}' \"$@\"\n",
            self.path("pids").display(),
            self.path("hold").display(),
            self.program.display(),
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Keeps what the CLI prints in the running turn: the program deletes it at the end.
    pub(crate) fn keep_output(&self) {
        let printed = self.run_folder().join("spool.raw");
        fs::hard_link(printed, self.path("printed")).unwrap();
    }

    /// The folder of the run that there is.
    pub(crate) fn run_folder(&self) -> PathBuf {
        let mut folders = vec![self.path("state")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.ends_with("spool.raw") {
                    return folder;
                }
            }
        }
        panic!("there is no run");
    }

    /// How much was said to the live process that was started last, in bytes.
    pub(crate) fn said(&self) -> u64 {
        let runs = fs::read_dir(self.path("state/runs")).unwrap();
        // Their names are in the order of their starts.
        let last = runs.map(|run| run.unwrap().path()).max().unwrap();
        fs::metadata(last.join("input.raw")).unwrap().len()
    }

    /// The pid of the CLI that was started last.
    pub(crate) fn cli(&self) -> Pid {
        *self.clis().last().unwrap()
    }

    /// The pids of all that were started, in order.
    pub(crate) fn clis(&self) -> Vec<Pid> {
        let pids = fs::read_to_string(self.path("pids")).unwrap_or_default();
        let pids = pids.lines().map(|pid| pid.parse().unwrap());
        pids.map(Pid::from_raw).collect()
    }

    /// The names of the processes that work here, but for those of the runner itself.
    pub(crate) fn strays(&self) -> Vec<String> {
        self.pids()
            .filter_map(|pid| {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
                (!name.starts_with("agent-run")).then(|| name.trim().to_owned())
            })
            .collect()
    }

    /// Sends the CLI a signal; where a launcher stands before it, both.
    pub(crate) fn signal(&self, signal: Signal) {
        let is_program = |pid: &i32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim() == self.agent.name)
        };
        let programs = self.pids().filter(is_program).map(Pid::from_raw);
        for pid in programs.chain([self.cli()]) {
            // The launcher goes with its program.
            kill(pid, signal).ok();
        }
    }

    fn pids(&self) -> impl Iterator<Item = i32> {
        let root = self.dir.path().to_owned();
        let within = move |pid: &i32| {
            fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&root))
        };
        let entries = fs::read_dir("/proc").unwrap();
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(within)
    }

    /// The bodies of all requests to the model.
    pub(crate) fn requests(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("requests.jsonl")).unwrap();
        // The last one may be on its way.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = whole.lines().map(serde_json::from_str::<Value>);
        lines
            .map(|request| request.unwrap()["body"].take())
            .collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // a test that failed half-way leaves what it started
        for pid in self.pids() {
            let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
