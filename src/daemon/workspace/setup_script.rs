//! The script that prepares a workspace, run once before the first turn.
//!
//! It runs as the agent's user and under a shim, like an agent: bounded in time, with all that it has
//! started gone when it is over. What it writes becomes `setup` events. One that was cut off by the
//! daemon's death is stopped and run again: a script has to bear that.

use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::SetupLog;
use crate::config::OnFailure;
use crate::daemon::{DaemonError, Setup};
use crate::event::NoticeLevel;
use crate::files;
use crate::ids::SpoolOffset;
use crate::process::{Environment, Reach};
use crate::redact::Redactor;
use crate::sandbox::{self, Attach, Change, Ending, RunControl, RunHandle, Sandbox, SandboxError};
use crate::spool::control::Stop;
use crate::spool::{Plan, RunDir, Stdin, Stdout, Stopped, User};

/// The notice of a session that goes on although its setup failed.
const FAILED: &str = "setup_failed";
/// What runs a script that names no program.
pub(in crate::daemon) const SHELL: &str = "/bin/sh";
/// The folder in which the script lies, beside that of its run.
const PLACE: &str = "script";
/// A longer script is something else.
const LONGEST: u64 = 1 << 20;
/// What one script may write; a flood holds it up, and its time runs out.
const MOST_OUTPUT: u64 = 64 << 20;
/// So much of what it writes becomes events; the rest is counted.
const SHOWN: u64 = 4 << 20;
/// The most that one event holds.
const PIECE: usize = 16 * 1024;

/// A script, and as whom it runs where.
pub(in crate::daemon) struct Script<'a> {
    /// What the events call it.
    pub(in crate::daemon) step: &'static str,
    /// Its text.
    pub(in crate::daemon) text: String,
    pub(in crate::daemon) sandbox: &'a Sandbox,
    pub(in crate::daemon) workspace: &'a Path,
    pub(in crate::daemon) user: Option<User>,
    pub(in crate::daemon) environment: Environment,
    /// The files that it gets at beside its own; none where it is not restricted.
    pub(in crate::daemon) reach: Option<Reach>,
    pub(in crate::daemon) redactor: &'a Redactor,
}

/// The text of the settings' script, else of the one that the Hub sent.
pub(in crate::daemon) fn text(
    setup: &Setup<'_>,
    sent: Option<&str>,
) -> Result<Option<String>, DaemonError> {
    let Some(path) = &setup.config.setup.script else {
        return Ok(sent
            .filter(|text| !text.trim().is_empty())
            .map(str::to_owned));
    };
    let fault = |why: &dyn std::fmt::Display| {
        DaemonError::Usage(format!("--setup {}: {why}; name a script", path.display()))
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| fault(&error))?;
    file.take(LONGEST + 1)
        .read_to_string(&mut text)
        .map_err(|error| fault(&error))?;
    if text.len() as u64 > LONGEST {
        return Err(fault(&"it is longer than 1 MiB"));
    }
    Ok(Some(text))
}

/// Runs it; an error where it failed and the settings say that this is the session's end.
pub(in crate::daemon) async fn run(
    setup: &Setup<'_>,
    script: &Script<'_>,
    log: &SetupLog,
) -> Result<(), DaemonError> {
    let failure = match attempt(setup, script, log).await {
        Ok(None) => {
            log.setup(
                script.step,
                "stdout",
                format!("the {} script is done", script.step),
            )
            .await?;
            return Ok(());
        }
        Ok(Some(why)) => why,
        Err(Fault::Daemon(error)) => return Err(error),
        Err(Fault::Run(error)) => format!("cannot be run: {error}"),
        Err(Fault::Folder(error)) => format!("cannot be run: {error}"),
    };
    let text = format!("the {} script {failure}", script.step);
    match setup.config.setup.on_failure {
        OnFailure::Continue => log.notice(NoticeLevel::Warning, FAILED, text).await,
        OnFailure::Fail => {
            log.setup(script.step, "stderr", text.clone()).await?;
            let hint = "mend it, or set setup.on_failure = \"continue\"";
            Err(DaemonError::Workspace(format!("{text}; {hint}")))
        }
    }
}

enum Fault {
    Daemon(DaemonError),
    Run(SandboxError),
    Folder(io::Error),
}

impl From<DaemonError> for Fault {
    fn from(error: DaemonError) -> Self {
        Self::Daemon(error)
    }
}

impl From<SandboxError> for Fault {
    fn from(error: SandboxError) -> Self {
        Self::Run(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Folder(error)
    }
}

/// Why it failed, if it did.
async fn attempt(
    setup: &Setup<'_>,
    script: &Script<'_>,
    log: &SetupLog,
) -> Result<Option<String>, Fault> {
    let folder = setup
        .config
        .state_dir
        .join("setups")
        .join(log.session.as_str());
    let dir = RunDir::new(folder.join("run"));
    if dir.path().exists() {
        end_leftover(&dir).await?;
        std::fs::remove_dir_all(&folder)?;
    }
    let program = place(setup, script, &folder)?;
    let (program, args) = command(&program, &script.text)?;
    let mut plan = Plan::new(&program, args, script.workspace, MOST_OUTPUT);
    plan.stdin = Stdin::Null;
    plan.stdout = Stdout::Pipe;
    plan.timeout_ms = u64::try_from(setup.config.setup.timeout.as_millis()).ok();
    plan.user.clone_from(&script.user);
    plan.ends_with = setup.alone()?;
    plan.reach.clone_from(&script.reach);
    if let Some(reach) = &mut plan.reach {
        reach.read.push(folder.join(PLACE));
    }
    plan.confined = setup.in_container || script.sandbox.is_container();
    let sandbox = script.sandbox.showing(&folder.join(PLACE));
    let mut run = sandbox.start(&dir, &plan, &[], &script.environment).await?;
    let guard = Guard(run.control());
    let stopped = follow(&mut run, script, log).await?;
    drop(guard);
    tell_stderr(&dir, script, log).await?;
    let failure = match stopped {
        Some(stopped) => judge(setup, &stopped),
        None => Some("was killed by somebody else".to_owned()),
    };
    std::fs::remove_dir_all(&folder)?;
    Ok(failure)
}

/// A setup that nobody waits for any more does not go on.
struct Guard(Option<RunControl>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(run) = &self.0 {
            run.destroy_at_once();
        }
    }
}

async fn end_leftover(dir: &RunDir) -> Result<(), SandboxError> {
    if let Attach::Running(mut run) = sandbox::attach(dir).await? {
        if let Some(control) = run.control() {
            control.stop(Stop::NOW).await?;
        }
        while !matches!(run.changed().await?, Change::Ended(_)) {}
    }
    Ok(())
}

/// Writes the script to where the agent's user can read it, and nobody else.
fn place(setup: &Setup<'_>, script: &Script<'_>, folder: &Path) -> Result<PathBuf, Fault> {
    let own = folder.join(PLACE);
    files::create_private_dir(&own)?;
    let path = own.join("setup");
    let mut file = files::create_private(&path)?;
    io::Write::write_all(&mut file, script.text.as_bytes())?;
    file.set_permissions(std::fs::Permissions::from_mode(0o700))?;
    drop(file);
    if let Some(user) = &script.user {
        crate::process::hand_over(setup.state_root, &own, (user.uid, user.gid))?;
    }
    Ok(path)
}

/// The program that its first line names, else the shell. The kernel is not asked to read that
/// line: a file that is being written by another thread's child cannot be executed.
fn command(path: &Path, text: &str) -> io::Result<(PathBuf, Vec<String>)> {
    let path = path
        .to_str()
        .ok_or(io::ErrorKind::InvalidFilename)?
        .to_owned();
    let named = text.strip_prefix("#!").and_then(|rest| rest.lines().next());
    let mut words = named.unwrap_or(SHELL).trim().splitn(2, [' ', '\t']);
    let program = PathBuf::from(words.next().unwrap_or_default());
    if !program.is_absolute() {
        let text = "its first line names no program by an absolute path";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let argument = words.next().map(str::trim).filter(|word| !word.is_empty());
    let args = argument.map(str::to_owned).into_iter().chain([path]);
    Ok((program, args.collect()))
}

/// Tells what it writes until it is over; `None` where its shim was killed.
async fn follow(
    run: &mut RunHandle,
    script: &Script<'_>,
    log: &SetupLog,
) -> Result<Option<Stopped>, Fault> {
    let mut tail = run.tail(SpoolOffset::START).ok();
    let mut pieces = Pieces::default();
    let mut ending = None;
    loop {
        if let Some(tail) = &mut tail {
            let chunk = tail.read()?;
            pieces.add(chunk);
            let more = !chunk.is_empty();
            while let Some(text) = pieces.next(script.redactor, ending.is_some() && !more) {
                log.setup(script.step, "stdout", text).await?;
            }
            if more {
                continue;
            }
        }
        match ending {
            Some(Ending::Exited(stopped)) => return Ok(Some(stopped)),
            Some(Ending::SpawnFailed(failure)) => return Err(Fault::Run(failure.into())),
            Some(Ending::Vanished { .. }) => return Ok(None),
            None => {}
        }
        if let Change::Ended(ended) = run.changed().await? {
            ending = Some(ended);
        }
    }
}

/// Output in pieces of whole lines, as far as lines are not longer than a piece.
#[derive(Default)]
struct Pieces {
    held: Vec<u8>,
    shown: u64,
    left_out: u64,
}

impl Pieces {
    fn add(&mut self, bytes: &[u8]) {
        let room = usize::try_from(SHOWN.saturating_sub(self.shown)).unwrap_or(0);
        let (now, rest) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        self.held.extend_from_slice(now);
        self.shown += now.len() as u64;
        self.left_out += rest.len() as u64;
    }

    /// The next piece, masked; the rest at the end.
    fn next(&mut self, redactor: &Redactor, at_end: bool) -> Option<String> {
        let window = self.held.get(..PIECE.min(self.held.len()))?;
        let end = match memchr::memrchr(b'\n', window) {
            Some(newline) => newline + 1,
            None if at_end || window.len() == PIECE => window.len(),
            None => 0,
        };
        if end == 0 {
            let left_out = std::mem::take(&mut self.left_out);
            let is_due = at_end && left_out > 0;
            return is_due.then(|| format!("…[+{left_out} bytes]"));
        }
        let rest = self.held.split_off(end);
        let piece = std::mem::replace(&mut self.held, rest);
        let text = piece.strip_suffix(b"\n").unwrap_or(&piece);
        Some(String::from_utf8_lossy(&redactor.text(text)).into_owned())
    }
}

async fn tell_stderr(dir: &RunDir, script: &Script<'_>, log: &SetupLog) -> Result<(), Fault> {
    let Ok(file) = std::fs::File::open(dir.stderr()) else {
        return Ok(());
    };
    let mut bytes = Vec::new();
    file.take(SHOWN).read_to_end(&mut bytes)?;
    let mut pieces = Pieces::default();
    pieces.add(&bytes);
    while let Some(text) = pieces.next(script.redactor, true) {
        log.setup(script.step, "stderr", text).await?;
    }
    Ok(())
}

fn judge(setup: &Setup<'_>, stopped: &Stopped) -> Option<String> {
    if stopped.timed_out {
        let limit = crate::config::show_duration(setup.config.setup.timeout);
        return Some(format!("took longer than {limit} (setup.timeout)"));
    }
    match (stopped.exit.code, stopped.exit.signal) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("failed with exit code {code}")),
        (None, Some(signal)) => Some(format!("was ended by signal {signal}")),
        (None, None) => Some("ended, and nobody saw how".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_run_by_the_program_that_it_names_or_by_the_shell() {
        let of = |text: &str| command(Path::new("/s"), text).ok();
        let sh = |args: &[&str]| args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>();
        assert_eq!(of("make\n"), Some(("/bin/sh".into(), sh(&["/s"]))));
        assert_eq!(
            of("#!/bin/bash -eu\nx"),
            Some(("/bin/bash".into(), sh(&["-eu", "/s"])))
        );
        let env = of("#! /usr/bin/env python3\n");
        assert_eq!(env, Some(("/usr/bin/env".into(), sh(&["python3", "/s"]))));
        assert_eq!(of("#!bash\n"), None);
        assert_eq!(of("#!\n"), None);
    }

    #[test]
    fn output_comes_in_whole_lines_and_is_masked_over_the_borders_of_chunks() {
        let redactor = Redactor::new(&["hunter-secret".to_owned().into()]).unwrap();
        let mut pieces = Pieces::default();
        pieces.add(b"one\nthe hunter-");
        assert_eq!(pieces.next(&redactor, false).as_deref(), Some("one"));
        assert_eq!(pieces.next(&redactor, false), None);
        pieces.add(b"secret");
        let masked = pieces.next(&redactor, true).unwrap();
        assert!(!masked.contains("hunter"), "{masked}");
        assert_eq!(pieces.next(&redactor, true), None);
    }
}
