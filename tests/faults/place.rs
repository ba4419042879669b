//! A round's own place: home, state dir, Hub, and the daemons that follow one another in it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use agent_runner::clock::Clock;
use agent_runner::process::Identity;
use agent_runner::spool::{RunDir, Status};
use agent_runner::tasks::Tasks;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ended;
use crate::hub::{Hub, Manners, SESSION};

/// Nothing is waited for longer: far more than any of it takes, for busy machines.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);
/// How soon the end of a daemon is noticed.
const LOOK: Duration = Duration::from_millis(20);

/// What is wrong, in words.
pub(crate) type Fault = String;

/// Where one round is played.
pub(crate) struct Place {
    dir: TempDir,
    pub(crate) hub: Hub,
    pub(crate) agent: &'static str,
    /// What `--mode` is.
    pub(crate) mode: &'static str,
    daemon: Option<Child>,
    asked: u64,
    /// Deaths by SIGKILL that the daemon did not survive.
    pub(crate) daemon_deaths: usize,
    /// The crash point that the next daemon is started with.
    pub(crate) armed: Option<String>,
    /// When a working CLI was killed from outside.
    pub(crate) cli_killed: Option<Instant>,
}

impl Place {
    pub(crate) fn new(
        runtime: &tokio::runtime::Handle,
        tasks: &Tasks,
        agent: &'static str,
        orders: &Value,
        manners: Manners,
    ) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("faults-")
            .tempdir()
            .unwrap();
        let place = Self {
            hub: Hub::start(runtime, tasks, manners),
            agent,
            mode: "exec",
            dir,
            daemon: None,
            asked: 0,
            daemon_deaths: 0,
            armed: None,
            cli_killed: None,
        };
        fs::create_dir(place.path("home")).unwrap();
        place.write("orders.json", &orders.to_string());
        let here = place.path("").display().to_string();
        let fake = fake_agent().display().to_string();
        let script = format!("#!/bin/sh\nexec '{fake}' work {agent} '{here}' \"$@\"\n");
        place.write("cli", &script);
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(place.path("cli"), executable).unwrap();
        let cli = place.path("cli").display().to_string();
        let config = format!("[agents.{agent}]\ncommand = {cli:?}\n");
        place.write("config.toml", &config);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Keeps the place for whoever wants to look into a fault.
    pub(crate) fn keep(&mut self) -> PathBuf {
        self.dir.disable_cleanup(true);
        self.dir.path().to_owned()
    }

    /// Starts a daemon.
    pub(crate) fn start(&mut self) {
        let output = |name: &str| {
            let file = fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(self.path(name));
            Stdio::from(file.unwrap())
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent-runner"));
        command
            .args(["daemon", "--session", SESSION, "--agent", self.agent])
            .args(["--output", "jsonl", "--agent-home", "user"])
            .args(["--hub", &self.hub.url])
            .arg("--config")
            .arg(self.path("config.toml"))
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("AGENT_RUNNER_STATE_DIR", self.path("state"))
            .env("AGENT_RUNNER_MODE", self.mode)
            .env("AGENT_RUNNER_CRASH_LOG", self.path("passed"))
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"));
        if let Some(point) = &self.armed {
            command.env("AGENT_RUNNER_CRASH", point);
        }
        self.daemon = Some(command.spawn().unwrap());
    }

    pub(crate) fn pid(&self) -> Option<i32> {
        let daemon = self.daemon.as_ref()?;
        Some(i32::try_from(daemon.id()).unwrap())
    }

    /// Sends a signal to the daemon.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // It may have died by itself; it is a zombie then and takes the signal all the same.
            kill(Pid::from_raw(pid), signal).unwrap();
        }
    }

    /// The daemon's end, if it has ended.
    fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.daemon.as_mut()?.try_wait().unwrap()?;
        self.daemon = None;
        Some(status)
    }

    /// Starts the daemon again when it was killed; anything else that ends it is a fault.
    pub(crate) fn revive(&mut self) -> Result<(), Fault> {
        use std::os::unix::process::ExitStatusExt as _;
        match self.ended() {
            None if self.daemon.is_some() => Ok(()),
            Some(status) if status.signal() == Some(9) => {
                self.daemon_deaths += 1;
                self.armed = None;
                self.start();
                Ok(())
            }
            None => {
                self.start();
                Ok(())
            }
            Some(status) => Err(format!("the daemon ended by itself: {status}")),
        }
    }

    /// Waits until the Hub's record is as wished, with a daemon whenever one was killed.
    pub(crate) fn until(
        &mut self,
        what: &str,
        enough: impl Fn(&crate::hub::Record) -> bool,
    ) -> Result<(), Fault> {
        let deadline = Clock.now() + LIMIT;
        while !self.hub.news(LOOK, &enough) {
            self.revive()?;
            in_time(what, deadline)?;
        }
        Ok(())
    }

    /// Waits until a file or process is as wished, with a daemon whenever one was killed.
    pub(crate) fn seen(&mut self, what: &str, enough: impl Fn(&Self) -> bool) -> Result<(), Fault> {
        let deadline = Clock.now() + LIMIT;
        while !enough(self) {
            self.revive()?;
            in_time(what, deadline)?;
            std::thread::sleep(LOOK / 4);
        }
        Ok(())
    }

    /// Waits for the daemon's end.
    pub(crate) fn end(&mut self) -> Result<ExitStatus, Fault> {
        let daemon = self.daemon.as_mut().ok_or("no daemon runs")?;
        let status = ended::in_time(daemon, LIMIT).ok_or("not in time: the end of the daemon")?;
        self.daemon = None;
        Ok(status)
    }

    /// Gives the lead a command; nothing where the daemon died before it answered.
    pub(crate) fn ask(&mut self, command: &Value) -> Result<Option<Value>, Fault> {
        self.asked += 1;
        let id = self.asked;
        let deadline = Clock.now() + LIMIT;
        let connections = self.hub.record().connections;
        let deaths = self.daemon_deaths;
        self.hub.command(id, command);
        loop {
            let answered = |record: &crate::hub::Record| record.answer(id).is_some();
            if self.hub.news(LOOK, answered) {
                return Ok(self.hub.record().answer(id).cloned());
            }
            self.revive()?;
            let lost = self.hub.record().connections > connections || connections == 0;
            if self.daemon_deaths > deaths || lost {
                return Ok(None);
            }
            in_time("an answer", deadline)?;
        }
    }

    /// Asks how the session stands, and waits for nothing.
    pub(crate) fn look(&mut self) {
        self.asked += 1;
        self.hub.command(self.asked, &json!({"type": "get_state"}));
    }

    /// How the session stands, as the lead says.
    pub(crate) fn state(&mut self) -> Result<Value, Fault> {
        let deadline = Clock.now() + LIMIT;
        loop {
            let answer = self.ask(&json!({"type": "get_state"}))?;
            if let Some(answer) = answer {
                return Ok(answer["data"].clone());
            }
            in_time("the session's state", deadline)?;
        }
    }

    /// How many prompts were accepted, by the journal.
    pub(crate) fn taken(&self) -> usize {
        let read = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let journal = rusqlite::Connection::open_with_flags(self.path("state/journal.db"), read);
        let count = "SELECT count(*) FROM turn";
        let taken: i64 = journal
            .and_then(|journal| journal.query_row(count, [], |row| row.get(0)))
            .unwrap();
        usize::try_from(taken).unwrap()
    }

    fn newest_run(&self) -> Option<PathBuf> {
        self.runs().into_iter().max_by_key(|run| {
            let made = run.metadata().and_then(|folder| folder.created());
            made.ok()
        })
    }

    /// Whether these descriptors of the daemon's are those of one that has the newest run's live
    /// process in hand: what it opens of it last is the record of the input. The run's own status
    /// says earlier that it goes on.
    pub(crate) fn is_in_hand(&self, descriptors: &[String]) -> bool {
        let last = self.newest_run().map(|run| RunDir::new(run).input());
        last.is_some_and(|last| descriptors.iter().any(|open| Path::new(open) == last))
    }

    /// The newest run that has a status: its shim and its CLI.
    pub(crate) fn processes(&self) -> (Option<Identity>, Option<Identity>) {
        let newest = self.newest_run();
        let status = newest.and_then(|run| Status::read(&RunDir::new(run)).ok().flatten());
        status.map_or((None, None), |status| (status.shim, status.agent))
    }

    /// The folders of all runs.
    pub(crate) fn runs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("state/runs"));
        let entries = entries.into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// What the daemon has open.
    pub(crate) fn descriptors(&self) -> Vec<String> {
        let folder = format!("/proc/{}/fd", self.pid().unwrap_or_default());
        let open = fs::read_dir(folder).into_iter().flatten().flatten();
        let target = |entry: fs::DirEntry| fs::read_link(entry.path()).ok();
        let targets = open.filter_map(target);
        let mut open: Vec<_> = targets.map(|to| to.display().to_string()).collect();
        open.sort();
        open
    }

    /// The crash point that was to be hit was hit.
    pub(crate) fn crashed(&self) -> bool {
        self.path("passed.crashed").exists()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            // Only after a fault: it has ended otherwise.
            drop(daemon.kill());
            drop(daemon.wait());
        }
    }
}

fn in_time(what: &str, deadline: Instant) -> Result<(), Fault> {
    if Clock.now() < deadline {
        return Ok(());
    }
    Err(format!("not in time: {what}"))
}

/// The fake agent, built from what is there now.
fn fake_agent() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = Path::new(env!("CARGO_BIN_EXE_agent-runner")).parent();
        let program = folder.unwrap().join("examples").join("fake_agent");
        let changed = |path: &Path| path.metadata().and_then(|file| file.modified());
        let source = |name: &str| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support");
            changed(&path.join(name)).unwrap()
        };
        let sources = [
            "fake_agent.rs",
            "fake_agent/work.rs",
            "fake_agent/live.rs",
            "payload.rs",
        ]
        .map(source);
        let newest = sources.into_iter().max().unwrap();
        if changed(&program).is_ok_and(|built| built >= newest) {
            return program;
        }
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--example", "fake_agent"]);
        build.args(["--features", "crash-points"]);
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(build.status().unwrap().success(), "the fake agent is built");
        program
    })
}
