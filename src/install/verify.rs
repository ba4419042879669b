//! Runs what was fetched: a CLI counts as installed only after it has said its version here.

use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::catalog::Release;
use super::child::{self, Ended};
use super::environment::Environment;
use super::error::InstallError;
use crate::files;

/// The slowest takes 2 s of processor time, on a busy machine several times that.
const LIMIT: Duration = Duration::from_mins(1);

/// A home of its own: the CLIs write settings and databases even for `--version`, and the user's
/// are none of our business here.
const HOME: &str = "home";

/// Why a program did not say its version.
#[derive(Debug, thiserror::Error)]
pub enum NoVersion {
    /// It could not be started.
    #[error("cannot be started: {0}")]
    Start(#[source] io::Error),
    /// It failed.
    #[error("ended with {status} and said `{said}`")]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// The end of its output, without secrets.
        said: String,
    },
    /// It took too long, and was killed.
    #[error("did not end within {} s", .0.as_secs())]
    TooSlow(Duration),
    /// The caller asked to stop.
    #[error("was stopped")]
    Cancelled,
    /// It had no place to run in.
    #[error("had no folder to run in: {0}")]
    Folder(#[source] io::Error),
}

/// What `executable` says to `--version`: run with an empty home below `folder`, without
/// credentials, for `limit` at most.
pub fn ask_version(
    executable: &Path,
    folder: &Path,
    environment: &Environment,
    limit: Duration,
    cancel: &CancellationToken,
) -> Result<String, NoVersion> {
    let home = folder.join(HOME);
    files::create_private_dir(&home).map_err(NoVersion::Folder)?;
    let log = home.join("version.log");
    let output = files::create_private(&log).map_err(NoVersion::Folder)?;
    let errors = output.try_clone().map_err(NoVersion::Folder)?;
    let mut command = Command::new(executable);
    command
        .arg("--version")
        .current_dir(&home)
        .env_clear()
        .env("PATH", environment.value("PATH").unwrap_or_default())
        .env("HOME", &home)
        .env("TMPDIR", &home)
        .env("DISABLE_AUTOUPDATER", "1")
        .env("OPENCODE_DISABLE_AUTOUPDATE", "1")
        .env("OPENCODE_DISABLE_MODELS_FETCH", "1")
        // Gemini would start itself again as a child, which a kill of the parent does not reach.
        .env("GEMINI_CLI_NO_RELAUNCH", "1")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    let ended = child::run(&mut command, limit, cancel, || {}).map_err(NoVersion::Start)?;
    let said = child::tail(&log).map_err(NoVersion::Folder)?;
    let said = environment.mask(&said);
    std::fs::remove_dir_all(&home).map_err(NoVersion::Folder)?;
    match ended {
        Ended::Exited(status) if status.success() => Ok(said),
        Ended::Exited(status) => Err(NoVersion::Failed { status, said }),
        Ended::TimedOut => Err(NoVersion::TooSlow(limit)),
        Ended::Cancelled => Err(NoVersion::Cancelled),
    }
}

/// Checks that `executable` (below `staging`) answers `--version` with the pinned one.
pub(super) fn verify(
    release: &Release,
    executable: &Path,
    staging: &Path,
    environment: &Environment,
    cancel: &CancellationToken,
) -> Result<(), InstallError> {
    let answer = match ask_version(executable, staging, environment, LIMIT, cancel) {
        Ok(said) if release.is_named_in(&said) => return Ok(()),
        Ok(said) => format!("said `{said}`"),
        Err(NoVersion::Start(source)) => {
            return Err(InstallError::Start {
                program: executable.to_owned(),
                source,
            });
        }
        Err(NoVersion::Folder(source)) => {
            return Err(InstallError::Unusable {
                path: staging.join(HOME),
                source,
            });
        }
        Err(NoVersion::Cancelled) => {
            return Err(InstallError::Cancelled {
                agent: release.name,
            });
        }
        Err(other) => other.to_string(),
    };
    Err(InstallError::NotUsable {
        executable: executable.to_owned(),
        version: release.version,
        answer,
    })
}

impl Release {
    /// Whether one word of what `--version` said is this version: `2.1.197 (Claude Code)`,
    /// `codex-cli 0.169.0`.
    pub fn is_named_in(&self, said: &str) -> bool {
        said.split_whitespace().any(|word| word == self.version)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::catalog::release;
    use super::*;

    fn verified(script: &str) -> Result<(), InstallError> {
        let dir = tempfile::tempdir().unwrap();
        let written = dir.path().join("script");
        let executable = dir.path().join("cli");
        std::fs::write(&written, script).unwrap();
        // Copied by another process: a test that forks while this one has the file open for
        // writing would make it "busy" for as long as that child has not executed.
        let copied = Command::new("install")
            .args(["-m", "755"])
            .args([&written, &executable])
            .status()
            .unwrap();
        assert!(copied.success());
        let environment = Environment::new([
            (OsString::from("PATH"), OsString::from("/usr/bin:/bin")),
            (
                OsString::from("NPM_TOKEN"),
                OsString::from("npm_0123456789"),
            ),
        ]);
        let cancel = CancellationToken::new();
        let claude = release("claude").unwrap();
        verify(claude, &executable, dir.path(), &environment, &cancel)
    }

    #[test]
    fn only_the_pinned_version_is_taken() {
        verified("#!/bin/sh\necho '2.1.197 (Claude Code)'\n").unwrap();
        for script in [
            "#!/bin/sh\necho '2.1.198 (Claude Code)'\n",
            "#!/bin/sh\necho '12.1.197'\n",
            "#!/bin/sh\n",
            "#!/bin/sh\necho 2.1.197; exit 3\n",
        ] {
            let error = verified(script).unwrap_err();
            assert!(matches!(error, InstallError::NotUsable { .. }), "{error}");
        }
    }

    #[test]
    fn the_cli_sees_neither_the_users_home_nor_npms_token() {
        let error = verified("#!/bin/sh\necho \"$HOME ${NPM_TOKEN-none}\"\n").unwrap_err();
        assert!(error.to_string().contains("/home none"), "{error}");
    }

    #[test]
    fn what_cannot_be_executed_is_named() {
        let error = verified("#!/nowhere/node\n").unwrap_err();
        assert!(matches!(error, InstallError::Start { .. }), "{error}");
    }
}
