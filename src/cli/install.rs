//! Installs agent CLIs.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use super::{CliError, Exit};
use crate::clock::Clock;
use crate::files;
use crate::install::{self, Environment, InstallError, NpmFault, Release, Step};

/// What the command takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Agents to install [default: all that can be]
    #[arg(value_name = "AGENT")]
    agents: Vec<String>,
    /// Folder that gets the executables [default: bin in the state dir]
    #[arg(long, value_name = "DIR", env = "AGENT_RUNNER_PREFIX")]
    prefix: Option<PathBuf>,
    /// State dir
    #[arg(
        long,
        value_name = "DIR",
        env = "AGENT_RUNNER_STATE_DIR",
        help = "State dir [default: $XDG_STATE_HOME/agent-runner, else $HOME/.local/state/agent-runner]"
    )]
    state_dir: Option<PathBuf>,
}

/// Runs the command: one agent after the other, as they share the line. One that cannot be
/// installed does not keep the others from it; the first error decides the exit code.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, CliError> {
    let releases = releases(&arguments.agents)?;
    let prefix = prefix(arguments)?;
    let environment = Environment::new(std::env::vars_os());
    let mut first: Option<CliError> = None;
    for release in releases {
        match install_one(&prefix, release, &environment) {
            Ok(()) => {}
            Err(error) => {
                let last = error.concerns_all();
                let error = CliError::new(exit(&error), error.to_string());
                match &first {
                    None => first = Some(error),
                    Some(_) => drop(error.report()),
                }
                if last {
                    break;
                }
            }
        }
    }
    first.map_or(Ok(ExitCode::SUCCESS), Err)
}

fn releases(names: &[String]) -> Result<Vec<&'static Release>, CliError> {
    if names.is_empty() {
        return Ok(install::RELEASES.iter().collect());
    }
    names
        .iter()
        .map(|name| install::release(name))
        .collect::<Result<_, _>>()
        .map_err(|error| CliError::new(Exit::Usage, error.to_string()))
}

/// `--prefix`, else `bin` in the state dir, which is private.
fn prefix(arguments: &Arguments) -> Result<PathBuf, CliError> {
    if let Some(prefix) = &arguments.prefix {
        return Ok(prefix.clone());
    }
    let state = arguments.state_dir.clone().or_else(default_state_dir);
    let state = state.ok_or_else(|| {
        CliError::new(
            Exit::Usage,
            "no place to install to: HOME is not set; give --prefix or --state-dir",
        )
    })?;
    files::create_private_dir(&state).map_err(|source| {
        let path = state.clone();
        let error = InstallError::Unusable { path, source };
        CliError::new(exit(&error), error.to_string())
    })?;
    Ok(state.join("bin"))
}

fn default_state_dir() -> Option<PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_STATE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/state")))
        .map(|base| base.join("agent-runner"))
}

fn install_one(
    prefix: &Path,
    release: &'static Release,
    environment: &Environment,
) -> Result<(), InstallError> {
    let (name, version) = (release.name, release.version);
    let start = Clock.now();
    let mut shown = ProgressLine::new(release);
    // Ctrl-C reaches npm as well, which is in the terminal's group with this process.
    let never = CancellationToken::new();
    let result = install::install(prefix, release, environment, &never, &mut |step| {
        shown.add(match step {
            Step::Waiting => "waiting for another install … ",
            Step::Downloading => "downloading … ",
            Step::Checking => "checking … ",
        });
    });
    let end = match &result {
        Ok(_) => format!("done ({:.1} s)", start.elapsed().as_secs_f64()),
        Err(_) => "failed".to_owned(),
    };
    shown.end(&end);
    let installed = result?;
    let how = if installed.already {
        "already installed"
    } else {
        "installed"
    };
    let link = std::path::absolute(prefix.join(name)).map_err(|source| InstallError::Unusable {
        path: prefix.join(name),
        source,
    })?;
    let result = format!("{name} {version} {how}: {}", link.display());
    // Whoever closed stdout does not want to know.
    drop(writeln!(io::stdout(), "{result}"));
    Ok(())
}

/// A line on stderr that grows with what is going on; none when nothing goes on.
struct ProgressLine {
    release: &'static Release,
    begun: bool,
}

impl ProgressLine {
    const fn new(release: &'static Release) -> Self {
        Self {
            release,
            begun: false,
        }
    }

    fn add(&mut self, text: &str) {
        let Release { name, version, .. } = self.release;
        if !self.begun {
            Self::print(&format!("{name} {version}: "));
            self.begun = true;
        }
        Self::print(text);
    }

    fn end(&self, text: &str) {
        if self.begun {
            Self::print(&format!("{text}\n"));
        }
    }

    /// A closed stderr is no reason to stop an install.
    fn print(text: &str) {
        drop(io::stderr().write_all(text.as_bytes()));
    }
}

const fn exit(error: &InstallError) -> Exit {
    match error {
        InstallError::Unusable { .. }
        | InstallError::Occupied { .. }
        | InstallError::Npm {
            fault: NpmFault::Disk,
            ..
        } => Exit::State,
        InstallError::Npm {
            fault: NpmFault::Network,
            ..
        }
        | InstallError::TooSlow { .. }
        | InstallError::Cancelled { .. } => Exit::TryAgain,
        _ => Exit::Agent,
    }
}
