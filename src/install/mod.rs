//! Puts agent CLIs at pinned, checksummed versions into a prefix, and finds them there.
//!
//! Guarantees: a CLI appears in the prefix only after npm has checked the SHA-512 of all its
//! packages and it has answered `--version` with the pinned one. It appears at once, by a rename.
//! Two installs of one agent take turns, and the second finds the first one's work. One that is
//! killed leaves a staging folder, which the next removes. What is there and intact is not touched
//! and needs no network.
//!
//! Deliberately not here: which CLI a turn uses (`agents.<name>.command`, then [`installed`], then
//! PATH), and the removal of versions that an older agent-runner placed: agents may run from them.

mod catalog;
mod child;
mod environment;
mod error;
mod layout;
mod npm;
mod platform;
mod project;
mod receipt;
mod verify;

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

pub use catalog::{RELEASES, Release, UnknownAgent, release};
pub use environment::Environment;
pub use error::InstallError;
pub use npm::NpmFault;
pub use verify::{NoVersion, ask_version};

use layout::{AgentLock, Prefix};
use npm::Npm;
use platform::Platform;
use project::Project;
use receipt::Receipt;

/// A CLI in its place.
#[derive(Debug)]
pub struct Installed {
    /// The executable itself, at its version: it stays what it is when the link moves on.
    pub executable: PathBuf,
    /// It was there already.
    pub already: bool,
}

/// What an install is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Another install of the same agent is at work; this one waits for it.
    Waiting,
    /// npm runs.
    Downloading,
    /// The CLI is asked for its version.
    Checking,
}

/// The executable that an install placed for the agent called `name`, of whichever version.
pub fn installed(prefix: &Path, name: &str) -> Option<PathBuf> {
    let executable = Prefix::new(prefix).ok()?.linked(name)?;
    environment::is_executable(&executable).then_some(executable)
}

/// Whether an install of `release` has what it needs on this machine, as far as that can be known
/// without the registry: Node with npm, and a build.
pub fn check(release: &Release, environment: &Environment) -> Result<(), InstallError> {
    project(release)?;
    Npm::find(environment, release)?;
    Ok(())
}

/// Installs `release` into `prefix` and waits for it: seconds to minutes, on the calling thread.
///
/// `environment` is npm's. A cancelled `cancel` ends it within a second, with nothing installed.
pub fn install(
    prefix: &Path,
    release: &Release,
    environment: &Environment,
    cancel: &CancellationToken,
    progress: &mut dyn FnMut(Step),
) -> Result<Installed, InstallError> {
    let prefix = Prefix::new(prefix)?;
    prefix.check_link(release)?;
    // Before anything is written: the prefix of an image is read-only to its user.
    if let Some(installed) = already(&prefix, release) {
        return Ok(installed);
    }
    let lock = lock(&prefix, release, cancel, progress)?;
    if let Some(installed) = already(&prefix, release) {
        return Ok(installed);
    }
    let executable = match Receipt::intact(&prefix.release(release), release.version) {
        Some(receipt) => receipt.executable,
        None => fetch(&prefix, release, environment, &lock, cancel, progress)?,
    };
    prefix.link(release, &executable, &lock)?;
    Ok(Installed {
        executable: prefix.release(release).join(executable),
        already: false,
    })
}

/// The release when it is whole and linked.
fn already(prefix: &Prefix, release: &Release) -> Option<Installed> {
    let folder = prefix.release(release);
    let executable = folder.join(Receipt::intact(&folder, release.version)?.executable);
    (prefix.linked(release.name).as_ref() == Some(&executable)).then_some(Installed {
        executable,
        already: true,
    })
}

/// Waits by looking again and again: a blocking `flock` could not be cancelled.
fn lock(
    prefix: &Prefix,
    release: &Release,
    cancel: &CancellationToken,
    progress: &mut dyn FnMut(Step),
) -> Result<AgentLock, InstallError> {
    let mut told = false;
    loop {
        if let Some(lock) = prefix.try_lock(release)? {
            return Ok(lock);
        }
        if cancel.is_cancelled() {
            return Err(InstallError::Cancelled {
                agent: release.name,
            });
        }
        if !told {
            progress(Step::Waiting);
            told = true;
        }
        std::thread::sleep(child::GLANCE);
    }
}

/// What npm is to fetch here.
fn project(release: &Release) -> Result<(Project, Platform), InstallError> {
    let no_build = |machine: String| InstallError::NoBuild {
        agent: release.name,
        version: release.version,
        machine,
    };
    let platform = Platform::current().ok_or_else(|| no_build(std::env::consts::ARCH.into()))?;
    let project = Project::new(release, platform).ok_or_else(|| no_build(platform.to_string()))?;
    Ok((project, platform))
}

/// Fetches, checks and publishes; gives the executable relative to the release's folder.
fn fetch(
    prefix: &Prefix,
    release: &Release,
    environment: &Environment,
    lock: &AgentLock,
    cancel: &CancellationToken,
    progress: &mut dyn FnMut(Step),
) -> Result<PathBuf, InstallError> {
    let (project, platform) = project(release)?;
    let npm = Npm::find(environment, release)?;
    let staging = prefix.stage(release, lock)?;
    let started = || progress(Step::Downloading);
    npm.fetch(
        release,
        &project,
        (&staging.path, platform),
        lock,
        cancel,
        started,
    )?;
    crash_point!("install.fetched");
    progress(Step::Checking);
    let executable = staging.path.join(&project.executable);
    verify::verify(release, &executable, &staging.path, environment, cancel)?;
    Receipt::write(&staging.path, release.version, &project.executable)
        .map_err(InstallError::unusable(&staging.path))?;
    crash_point!("install.checked");
    prefix.publish(release, &staging, lock)?;
    crash_point!("install.published");
    Ok(project.executable)
}
