//! Starts the daemon of a paused session, for the embedded Hub.
//!
//! By default that is the daemon in the background of the state dir that the session's last lead
//! has named: `start` without a task, which opens every session there again as it was made (its
//! settings lie there, without secrets), does nothing where one runs already, and outlives the Hub.
//! A command of the user's takes its place whole; it may end when it has started something, or be
//! the lead itself.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::WakeCommand;
use crate::files;
use crate::local_hub::{Waker, Woken};

/// What the command wrote to stderr, in the Hub's folder.
const LOG: &str = "hub-wake.log";

/// The most of the log's end that is shown when a command fails.
const WORDS: u64 = 2 * 1_024;

/// Variables of the Hub's own that mean something else to a daemon, or nothing.
const HUBS_OWN: [&str; 3] = [
    "AGENT_RUNNER_API_KEY",
    "AGENT_RUNNER_API_KEY_FILE",
    "AGENT_RUNNER_LISTEN",
];

/// How sessions are woken.
pub(super) struct CommandWaker {
    command: WakeCommand,
    /// Where the Hub can be reached from this machine.
    url: String,
    key: Option<SecretString>,
    log: PathBuf,
}

impl CommandWaker {
    pub(super) fn new(
        command: WakeCommand,
        url: String,
        key: Option<SecretString>,
        hub_dir: &Path,
    ) -> Self {
        Self {
            command,
            url,
            key,
            log: hub_dir.join(LOG),
        }
    }

    fn command(&self, session: &str, home: Option<&Path>) -> Result<Command, String> {
        let mut command = match &self.command {
            WakeCommand::Own => {
                let home = home.ok_or("its lead has not said where it lives")?;
                if !home.is_dir() {
                    // A daemon that is started there would know of no session.
                    let home = home.display();
                    return Err(format!("the state dir {home} of its last lead is gone"));
                }
                let own = std::env::current_exe().map_err(|error| error.to_string())?;
                let mut command = Command::new(own);
                command.args(["start", "--hub", &self.url, "--state-dir"]);
                command.arg(home).args(["--session", session]);
                command
            }
            WakeCommand::Words(words) => {
                let (program, arguments) = words.split_first().ok_or("wake_command is empty")?;
                let mut command = Command::new(program);
                command.args(arguments).env("AGENT_RUNNER_HUB", &self.url);
                command.env("AGENT_RUNNER_SESSION", session);
                if let Some(home) = home {
                    command.env("AGENT_RUNNER_STATE_DIR", home);
                }
                command
            }
            WakeCommand::Off => return Err("waking is turned off".to_owned()),
        };
        for name in HUBS_OWN {
            command.env_remove(name);
        }
        if let Some(key) = &self.key {
            command.env("AGENT_RUNNER_HUB_KEY", key.expose_secret());
        }
        Ok(command)
    }
}

impl Waker for CommandWaker {
    fn can_wake(&self, home: Option<&Path>) -> bool {
        match &self.command {
            WakeCommand::Own => home.is_some(),
            WakeCommand::Words(_) => true,
            WakeCommand::Off => false,
        }
    }

    fn wake(&self, session: &str, home: Option<&Path>) -> Result<Box<dyn Woken>, String> {
        let unusable = |error: std::io::Error| format!("{}: {error}", self.log.display());
        let mut command = self.command(session, home)?;
        let mut log = files::append_private(&self.log).map_err(unusable)?;
        let begin = log.seek(SeekFrom::End(0)).map_err(unusable)?;
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Neither a Ctrl-C at the Hub nor its end is meant for the session.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("`{program}` cannot be started: {error}"))?;
        Ok(Box::new(Started {
            child: Some(child),
            program,
            log: self.log.clone(),
            begin,
        }))
    }
}

/// A command that was started.
struct Started {
    /// Taken when it is left to run.
    child: Option<Child>,
    program: String,
    log: PathBuf,
    /// Where in the log its words begin.
    begin: u64,
}

impl Started {
    fn words(&self) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.log)?;
            let end = file.metadata()?.len();
            file.seek(SeekFrom::Start(self.begin.max(end.saturating_sub(WORDS))))?;
            let mut bytes = Vec::new();
            file.take(WORDS).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

impl Woken for Started {
    fn ended(&mut self) -> Option<Result<(), String>> {
        let status = match self.child.as_mut()?.try_wait() {
            Ok(status) => status?,
            Err(error) => return Some(Err(error.to_string())),
        };
        if status.success() {
            return Some(Ok(()));
        }
        let (program, words) = (&self.program, self.words());
        let why = if words.is_empty() {
            format!("`{program}` ended with {status}")
        } else {
            format!("`{program}` ended with {status} and said: {words}")
        };
        Some(Err(why))
    }

    fn give_up(self: Box<Self>) {
        let group = self.child.as_ref().map(Child::id);
        if let Some(group) = group.and_then(|id| i32::try_from(id).ok()) {
            // Gone already, at worst.
            let _gone = killpg(Pid::from_raw(group), Signal::SIGTERM);
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        // It may be the lead itself, and live long: somebody has to take its end.
        let reaper = std::thread::Builder::new().name("hub-woken".into());
        if let Err(error) = reaper.spawn(move || child.wait()) {
            tracing::debug!(%error, "nobody waits for the end of a wake command");
        }
    }
}
