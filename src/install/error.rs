//! Why an install did not come about, and what to do next.

use std::io;
use std::path::PathBuf;

use super::npm::NpmFault;

/// Why a CLI could not be installed. Nothing that was installed before is lost by any of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// npm, or the Node that runs it, is not on PATH.
    #[error(
        "{agent} cannot be installed: `{missing}` is not on PATH; install Node 20 or newer with \
         npm, or put the {agent} CLI on PATH yourself, or name it in `agents.{agent}.command`"
    )]
    NodeMissing {
        /// The agent's name.
        agent: &'static str,
        /// The missing program.
        missing: &'static str,
    },
    /// The vendor has no build for this machine, or none is pinned.
    #[error(
        "{agent} {version} has no pinned build for this machine ({machine}); put the {agent} CLI \
         on PATH yourself, or name it in `agents.{agent}.command`"
    )]
    NoBuild {
        /// The agent's name.
        agent: &'static str,
        /// The pinned version.
        version: &'static str,
        /// Processor and C library.
        machine: String,
    },
    /// The prefix cannot be made, read or written.
    #[error(
        "{path} cannot be used: {source}; mend its owner, mode or free space, or give another \
         place with --prefix"
    )]
    Unusable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something that agent-runner did not put there has the link's name.
    #[error(
        "{path} is not agent-runner's, so it stays; move it away, or give another place with \
         --prefix"
    )]
    Occupied {
        /// Where the link should be.
        path: PathBuf,
    },
    /// A program could not be started.
    #[error(
        "{program} cannot be started: {source}; check its mode, and that it is for this machine"
    )]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// npm failed.
    #[error("npm could not fetch {agent} {version} ({status}); {}\n{stderr}", fault.advice())]
    Npm {
        /// The agent's name.
        agent: &'static str,
        /// The pinned version.
        version: &'static str,
        /// How npm ended.
        status: String,
        /// What kind of failure it named.
        fault: NpmFault,
        /// The end of its stderr, without secrets.
        stderr: String,
    },
    /// What was fetched does not run, or is not what it should be.
    #[error(
        "{executable} was fetched but is not usable: `--version` {answer} instead of {version}; \
         nothing was installed. Try again; if it stays so, this machine lacks what the CLI needs"
    )]
    NotUsable {
        /// What was run.
        executable: PathBuf,
        /// The pinned version.
        version: &'static str,
        /// What it did.
        answer: String,
    },
    /// It took too long.
    #[error(
        "npm did not fetch {agent} {version} within {minutes} minutes; check the way to its \
         registry (`npm ping`) and try again"
    )]
    TooSlow {
        /// The agent's name.
        agent: &'static str,
        /// The pinned version.
        version: &'static str,
        /// The limit.
        minutes: u64,
    },
    /// The caller asked to stop.
    #[error("the install of {agent} was cancelled; nothing was installed")]
    Cancelled {
        /// The agent's name.
        agent: &'static str,
    },
}

impl InstallError {
    /// For `map_err`: an error of the file system at `path`.
    pub(super) fn unusable(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Unusable { path, source }
    }

    /// Whether the next agent would fail in the same way.
    pub fn concerns_all(&self) -> bool {
        matches!(
            self,
            Self::NodeMissing { .. } | Self::Unusable { .. } | Self::Cancelled { .. }
        )
    }
}
