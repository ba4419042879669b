//! The npm client as the fetcher: it knows the user's registry, proxy, CA and login, and checks
//! the SHA-512 of every package against the lock file.
//!
//! No package's script is run: none of the CLIs needs one, and one of them would fetch further
//! code that no lock file pins.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::catalog::Release;
use super::child::{self, Ended};
use super::environment::Environment;
use super::error::InstallError;
use super::layout::AgentLock;
use super::platform::Platform;
use super::project::Project;
use crate::files;

/// For 400 MB over a slow line. npm's own limits end a silent connection far earlier.
const LIMIT: Duration = Duration::from_mins(30);

/// What npm's stderr is kept as, in the staging folder.
const LOG: &str = "npm.log";

/// Options that a user's npm configuration could set otherwise, and that would change what is
/// installed or where.
const OPTIONS: [&str; 15] = [
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--no-update-notifier",
    "--no-progress",
    "--loglevel=error",
    "--global=false",
    "--workspaces=false",
    "--dry-run=false",
    "--package-lock=true",
    "--package-lock-only=false",
    "--include=optional",
    "--install-strategy=hoisted",
    "--bin-links=false",
    "--os=linux",
];

/// The kind of failure that npm names, as far as it decides what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NpmFault {
    /// The registry was not reached, or could not serve.
    Network,
    /// The registry wants a login, or another one.
    Login,
    /// The bytes are not those that were pinned.
    Integrity,
    /// npm could not write: cache, prefix or disk.
    Disk,
    /// Anything else.
    Other,
}

impl NpmFault {
    /// Reads npm's `code` line (`npm ERR! code X` before npm 10.6).
    fn of(stderr: &str) -> Self {
        let code = stderr.lines().find_map(|line| {
            let line = line.strip_prefix("npm ")?;
            let line = line.strip_prefix("error ").or(line.strip_prefix("ERR! "))?;
            line.strip_prefix("code ").map(str::trim)
        });
        match code.unwrap_or_default() {
            "EINTEGRITY" => Self::Integrity,
            "E401" | "E403" | "ENEEDAUTH" | "EOTP" => Self::Login,
            "EACCES" | "EPERM" | "EROFS" | "ENOSPC" | "EDQUOT" => Self::Disk,
            "ENOTFOUND" | "EAI_AGAIN" | "ECONNREFUSED" | "ECONNRESET" | "ETIMEDOUT"
            | "EHOSTUNREACH" | "ENETUNREACH" | "EPIPE" | "EIDLETIMEOUT" | "ERR_SOCKET_TIMEOUT"
            | "E429" | "E500" | "E502" | "E503" | "E504" => Self::Network,
            _ => Self::Other,
        }
    }

    /// What to do next.
    pub(super) const fn advice(self) -> &'static str {
        match self {
            Self::Network => {
                "check registry, proxy and CA of your npm configuration (`npm ping`), and try again"
            }
            Self::Login => "log npm in to its registry (`npm login`, or a token in .npmrc)",
            Self::Integrity => {
                "the registry served other bytes than the pinned ones; ask whoever runs it why"
            }
            Self::Disk => {
                "npm must be able to write to its cache (`npm config get cache`) and to the prefix"
            }
            Self::Other => "npm says:",
        }
    }
}

/// npm, and the Node that it runs on.
#[derive(Debug)]
pub(super) struct Npm<'a> {
    program: PathBuf,
    environment: &'a Environment,
}

impl<'a> Npm<'a> {
    /// Both are looked for: npm's first line asks for `node`, and without it fails obscurely.
    pub(super) fn find(
        environment: &'a Environment,
        release: &Release,
    ) -> Result<Self, InstallError> {
        let find = |missing| {
            environment.find(missing).ok_or(InstallError::NodeMissing {
                agent: release.name,
                missing,
            })
        };
        find("node")?;
        Ok(Self {
            program: find("npm")?,
            environment,
        })
    }

    /// Fetches and unpacks `project` in `folder`; `started` is called once npm runs.
    pub(super) fn fetch(
        &self,
        release: &Release,
        project: &Project,
        (folder, platform): (&Path, Platform),
        lock: &AgentLock,
        cancel: &CancellationToken,
        started: impl FnOnce(),
    ) -> Result<(), InstallError> {
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(InstallError::unusable(path))
        };
        write("package.json", &project.package_json)?;
        write("package-lock.json", &project.package_lock)?;
        let log = folder.join(LOG);
        let stderr = files::create_private(&log).map_err(InstallError::unusable(&log))?;
        let mut command = Command::new(&self.program);
        command
            .arg("ci")
            .args(OPTIONS)
            .arg(format!("--cpu={}", platform.arch.as_str()))
            .arg(format!("--libc={}", platform.libc.as_str()))
            .current_dir(folder)
            .env_clear()
            .envs(self.environment.variables().cloned())
            // The lock is held for as long as npm lives: if this process is killed, the next
            // install does not pull the folder away under a npm that still writes to it.
            .stdin(lock.share().map_err(InstallError::unusable(folder))?)
            .stdout(Stdio::null())
            .stderr(stderr);
        let ended = child::run(&mut command, LIMIT, cancel, started).map_err(|source| {
            InstallError::Start {
                program: self.program.clone(),
                source,
            }
        })?;
        match ended {
            Ended::Exited(status) if status.success() => {
                std::fs::remove_file(&log).map_err(InstallError::unusable(log))
            }
            Ended::Exited(status) => {
                let stderr = child::tail(&log).map_err(InstallError::unusable(log))?;
                Err(InstallError::Npm {
                    agent: release.name,
                    version: release.version,
                    status: status.to_string(),
                    fault: NpmFault::of(&stderr),
                    stderr: self.environment.mask(&stderr),
                })
            }
            Ended::TimedOut => Err(InstallError::TooSlow {
                agent: release.name,
                version: release.version,
                minutes: LIMIT.as_secs() / 60,
            }),
            Ended::Cancelled => Err(InstallError::Cancelled {
                agent: release.name,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npms_own_code_decides_what_is_advised() {
        for (stderr, fault) in [
            (
                "npm error code ECONNREFUSED\nnpm error x",
                NpmFault::Network,
            ),
            ("npm warn x\nnpm ERR! code E401", NpmFault::Login),
            ("npm error code EINTEGRITY", NpmFault::Integrity),
            ("npm error code ENOSPC", NpmFault::Disk),
            ("npm error code E404", NpmFault::Other),
            ("Segmentation fault", NpmFault::Other),
        ] {
            assert_eq!(NpmFault::of(stderr), fault, "{stderr}");
        }
    }
}
