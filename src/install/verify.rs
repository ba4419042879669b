//! Runs what was fetched: a CLI counts as installed only after it has said its version here.

use std::path::Path;
use std::process::{Command, Stdio};
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

/// Checks that `executable` (below `staging`) answers `--version` with the pinned one.
pub(super) fn verify(
    release: &Release,
    executable: &Path,
    staging: &Path,
    environment: &Environment,
    cancel: &CancellationToken,
) -> Result<(), InstallError> {
    let home = staging.join(HOME);
    files::create_private_dir(&home).map_err(InstallError::unusable(&home))?;
    let log = home.join("version.log");
    let output = files::create_private(&log).map_err(InstallError::unusable(&log))?;
    let errors = output.try_clone().map_err(InstallError::unusable(&log))?;
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
    let ended =
        child::run(&mut command, LIMIT, cancel, || {}).map_err(|source| InstallError::Start {
            program: executable.to_owned(),
            source,
        })?;
    let said = child::tail(&log).map_err(InstallError::unusable(&log))?;
    let answer = match ended {
        Ended::Exited(status) if status.success() => {
            if says(&said, release.version) {
                return std::fs::remove_dir_all(&home).map_err(InstallError::unusable(home));
            }
            format!("said `{}`", environment.mask(&said))
        }
        Ended::Exited(status) => {
            format!("ended with {status} and said `{}`", environment.mask(&said))
        }
        Ended::TimedOut => format!("did not end within {} s", LIMIT.as_secs()),
        Ended::Cancelled => {
            return Err(InstallError::Cancelled {
                agent: release.name,
            });
        }
    };
    Err(InstallError::NotUsable {
        executable: executable.to_owned(),
        version: release.version,
        answer,
    })
}

/// Whether one word of the output is the version: `2.1.197 (Claude Code)`, `codex-cli 0.169.0`.
fn says(output: &str, version: &str) -> bool {
    output.split_whitespace().any(|word| word == version)
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
