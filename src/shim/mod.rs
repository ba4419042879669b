//! The process that owns one CLI: one thread, no runtime, alive until the CLI's tree is gone.
//!
//! ```text
//! daemon ──fork/exec──► shim (starter) ──fork──► shim ──fork──► child ──execve──► CLI
//!                          └ exits at once         │  └ setsid, raw tty on 1, waits for its release
//!                                                  └ setsid, subreaper, status `started`, release
//! ```
//!
//! Guarantees: the CLI's first instruction comes after a durable `started` record; every byte
//! that the CLI wrote before its end is in the spool when the record says `exited`; by then its
//! whole tree is gone or listed as leaked; a slow or lost daemon never blocks the CLI, a full spool
//! does.
//!
//! The shim knows nothing of what the bytes mean. It takes the environment from its stdin (an
//! unlinked memory file), because it may hold keys that must be neither on disk nor in an argument
//! list.

mod child;
mod container;
mod control;
mod ladder;
mod launch;
mod output;
mod pace;
mod pty;
mod stdin;
mod supervise;

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;

use rustix::fs::{FileType, fstat};

pub use self::container::{NotFound, find_program, run_in_container};
use crate::process::{self, Environment, Fork};
use crate::spool::control::READY;
use crate::spool::{Appender, Claim, Phase, Plan, RunDir, SpawnFailure, Status, StatusError};

/// Why a shim could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShimError {
    /// It was not started by a daemon.
    #[error(
        "the shim takes its CLI's environment from stdin, as a file; only the runner starts it"
    )]
    NoEnvironment,
    /// The environment did not come whole.
    #[error("the environment of the CLI did not come whole over stdin")]
    TornEnvironment(#[source] io::Error),
    /// The plan is missing or not one.
    #[error("cannot use the plan {path}", path = path.display())]
    Plan {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The run has or had a shim, or a daemon gave it up.
    #[error("the run in {path} was started or given up before", path = path.display())]
    Taken {
        /// The run's folder.
        path: PathBuf,
    },
    /// The CLI could not be started; the status record says the same.
    #[error(transparent)]
    Spawn(#[from] SpawnFailure),
    /// The status record cannot be written.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// The kernel refused something that the shim cannot do without.
    #[error("cannot {step}")]
    System {
        /// What was tried, as a verb.
        step: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Names the step in an I/O error.
trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, ShimError>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &'static str) -> Result<T, ShimError> {
        self.map_err(|source| ShimError::System {
            step,
            source: source.into(),
        })
    }
}

/// Runs a shim for the run in `dir`. Returns at once in the process that was started (the shim
/// itself goes on in a grandchild of the daemon), and after the run in the shim.
pub fn run(dir: &RunDir) -> Result<(), ShimError> {
    // A pipe that the daemon inherited and passed on would stay open as long as the CLI runs.
    process::close_inherited().step("close inherited descriptors")?;
    process::set_own_name(process::SHIM_NAME).step("take a name")?;
    let environment = environment_from_stdin()?;
    if process::fork().step("fork the shim")? != Fork::Child {
        return Ok(());
    }
    report(own(dir, environment))
}

/// Says why nothing runs.
fn report(result: Result<(), ShimError>) -> Result<(), ShimError> {
    if let Err(error) = &result {
        // The daemon reads one line; where it is gone, the log has it.
        let _unheard = writeln!(io::stdout(), "{}", chain(error));
    }
    result
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text.replace('\n', " ")
}

fn own(dir: &RunDir, environment: Environment) -> Result<(), ShimError> {
    crash_point!("shim.forked");
    let claim = claim(dir)?;
    crash_point!("shim.claimed");
    let mut plan = read_plan(dir)?;
    // What init starts in a container leads its group already, and has nothing to leave.
    if rustix::process::getpgrp() != rustix::process::getpid() {
        rustix::process::setsid().step("leave the daemon's session")?;
    }
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .step("become a subreaper")?;
    let spool = Appender::open(&dir.spool()).step("open the spool")?;
    crash_point!("shim.spool_made");
    let found = container::program_of(&plan, &environment);
    let launched = found.map_err(ShimError::from).and_then(|program| {
        plan.program = program;
        launch::launch(dir, &plan, &environment)
    });
    let launched = match launched {
        Ok(launched) => launched,
        Err(ShimError::Spawn(failure)) => {
            record_failure(dir, &failure)?;
            return Err(failure.into());
        }
        Err(error) => return Err(error),
    };
    // Its keys are the CLI's business alone.
    drop(environment);
    crash_point!("shim.launched");
    let mut shim = supervise::Shim::new(dir, &claim, &plan, spool, launched)?;
    crash_point!("shim.before_ready");
    announce_readiness().step("tell the daemon")?;
    crash_point!("shim.ready");
    // From here on it waits, as long as its CLI lives.
    process::release_program_pages();
    shim.run()
}

fn claim(dir: &RunDir) -> Result<Claim, ShimError> {
    let taken = || ShimError::Taken {
        path: dir.path().to_owned(),
    };
    let claim = Claim::take(dir)
        .step("lock the run's folder")?
        .ok_or_else(taken)?;
    match Status::read(dir)? {
        None => Ok(claim),
        Some(_) => Err(taken()),
    }
}

fn read_plan(dir: &RunDir) -> Result<Plan, ShimError> {
    let path = dir.plan();
    std::fs::read(&path)
        .and_then(|bytes| Ok(serde_json::from_slice(&bytes)?))
        .map_err(|source| ShimError::Plan { path, source })
}

fn record_failure(dir: &RunDir, failure: &SpawnFailure) -> Result<(), ShimError> {
    let status = Status {
        contract: crate::spool::CONTRACT,
        phase: Phase::SpawnFailed(failure.clone()),
        shim: process::Identity::own().ok(),
        agent: None,
        group: None,
        world: None,
    };
    Ok(status.write(dir)?)
}

/// Reads the environment, then puts `/dev/null` in its place.
fn environment_from_stdin() -> Result<Environment, ShimError> {
    let stat = fstat(io::stdin()).step("look at stdin")?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(ShimError::NoEnvironment);
    }
    let mut block = Vec::new();
    io::stdin().read_to_end(&mut block).step("read stdin")?;
    let null = File::open("/dev/null").step("open /dev/null")?;
    nix::unistd::dup2_stdin(null).step("replace stdin")?;
    Environment::from_block(&block).ok_or(ShimError::NoEnvironment)
}

/// Says `started`, then lets go of the daemon's pipe. A daemon that is gone does not matter.
fn announce_readiness() -> io::Result<()> {
    let _unheard = writeln!(io::stdout(), "{READY}");
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    nix::unistd::dup2_stdout(null)?;
    Ok(())
}
