//! Which program an agent is, and whom it runs as.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd;

use super::executable;
use crate::agent::AgentKind;
use crate::config::{AgentConfig, EnvMap, SandboxKind};
use crate::daemon::DaemonError;
use crate::files;
use crate::install::{self, Release};
use crate::journal::StateLockError;
use crate::spool::User;

/// The user that images create for agents.
const AGENT_USER: &str = "agent";

/// An agent's CLI.
#[derive(Debug)]
pub enum Program {
    /// It is there.
    Found {
        /// Its executable.
        path: PathBuf,
        /// What led to it.
        by: FoundBy,
    },
    /// It is in the image of the container that it runs in, by this name or path.
    InImage(PathBuf),
    /// It is missing, and will be installed once the session is joined.
    ToInstall(&'static Release),
}

/// What led to an agent's CLI; the first that does counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundBy {
    /// `agents.<name>.command` in the config file.
    Config,
    /// It lies where `install` places CLIs.
    Prefix,
    /// PATH.
    Path,
}

/// Finds the CLI: `agents.<name>.command`, then in `prefix`, then on PATH. One that is nowhere is
/// to be installed where the settings allow it and this machine has what that needs; one that is there
/// and cannot be executed is an error.
pub(in crate::daemon) fn find(
    kind: &AgentKind,
    config: &AgentConfig,
    prefix: &Path,
    env: &EnvMap,
) -> Result<Program, DaemonError> {
    let path = env.value("PATH").unwrap_or_default();
    let found = look(kind, config, prefix, env)?;
    // Settings may give the agent a PATH of its own.
    let path = config.env.get("PATH").map_or(path, OsStr::new);
    match &found {
        Program::Found { path: program, .. } => match executable::fault(program, path) {
            Some(why) => Err(DaemonError::Agent {
                message: format!(
                    "the agent CLI {} cannot be executed: {why}",
                    program.display()
                ),
            }),
            None => Ok(found),
        },
        _ => Ok(found),
    }
}

fn look(
    kind: &AgentKind,
    config: &AgentConfig,
    prefix: &Path,
    env: &EnvMap,
) -> Result<Program, DaemonError> {
    let path = env.value("PATH").unwrap_or_default();
    if let Some(command) = &config.command {
        let found = if command.components().count() > 1 {
            runnable(command).then(|| command.clone())
        } else {
            on_path(command.as_os_str(), path)
        };
        let by = FoundBy::Config;
        return found
            .map(|path| Program::Found { path, by })
            .ok_or_else(|| DaemonError::Agent {
                message: format!(
                    "`{}`, which agents.{}.command names, is no program that can be run; correct \
                     it in the config file",
                    command.display(),
                    kind.name
                ),
            });
    }
    let installed = prefix.join(kind.command);
    if runnable(&installed) {
        let (path, by) = (installed, FoundBy::Prefix);
        return Ok(Program::Found { path, by });
    }
    if let Some(path) = on_path(OsStr::new(kind.command), path) {
        let by = FoundBy::Path;
        return Ok(Program::Found { path, by });
    }
    let missing = |why: &str| DaemonError::Agent {
        message: format!(
            "the agent CLI `{}` is not installed: not in {}, not on PATH{why}. Install it with:\n  {}",
            kind.command,
            prefix.display(),
            kind.install.join("\n  ")
        ),
    };
    match install::release(kind.name) {
        Ok(release) if config.install => {
            let environment = install::Environment::new(env.variables());
            install::check(release, &environment)
                .map_err(|error| missing(&format!("; {error}")))?;
            Ok(Program::ToInstall(release))
        }
        _ => Err(missing("")),
    }
}

pub(super) fn on_path(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|candidate| runnable(candidate))
}

fn runnable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Whom the CLI runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunsAs {
    /// Us, without root's rights.
    Ourselves,
    /// Us, and we are root.
    Root,
    /// Another user.
    Other {
        /// Its ids.
        user: User,
        /// Its name.
        name: String,
        /// Its own home folder.
        home: PathBuf,
    },
}

/// The ids of the user `agent` in images, for a machine that has none.
const AGENT_IDS: u32 = 1000;

/// Decides by who we are and what the settings say.
pub fn runs_as(asked: Option<&str>, sandbox: SandboxKind) -> Result<RunsAs, DaemonError> {
    let root = unistd::geteuid().is_root();
    let name = match (asked, root) {
        (None, false) => return Ok(RunsAs::Ourselves),
        (Some(name), false) => {
            return Err(DaemonError::Usage(format!(
                "--agent-user {name}: only root can run the agent as another user; start \
                 agent-runner as root, or leave the flag out"
            )));
        }
        (asked, true) => asked.unwrap_or(AGENT_USER),
    };
    match unistd::User::from_name(name) {
        // By name as well it is root: the CLIs want to be told.
        Ok(Some(found)) if found.uid.is_root() => Ok(RunsAs::Root),
        Ok(Some(found)) => Ok(RunsAs::Other {
            user: User {
                uid: found.uid.as_raw(),
                gid: found.gid.as_raw(),
                groups: Vec::new(),
            },
            name: name.to_owned(),
            home: found.dir,
        }),
        // In a container any ids will do.
        Ok(None) if asked.is_none() && sandbox == SandboxKind::Docker => Ok(RunsAs::Other {
            user: User {
                uid: AGENT_IDS,
                gid: AGENT_IDS,
                groups: Vec::new(),
            },
            name: AGENT_USER.to_owned(),
            home: PathBuf::new(),
        }),
        Ok(None) if asked.is_none() => Ok(RunsAs::Root),
        Ok(None) => Err(DaemonError::Usage(format!(
            "--agent-user {name}: there is no such user; create it, or name another"
        ))),
        Err(error) => Err(DaemonError::Usage(format!(
            "--agent-user {name}: the user cannot be looked up: {error}"
        ))),
    }
}

/// Makes the state dir where it is missing, and makes sure that the agent's user can get to what
/// will be theirs in it.
pub(in crate::daemon) fn open_way(
    state_root: &Path,
    user: &User,
    name: &str,
) -> Result<(), StateLockError> {
    let unusable = |source| StateLockError::Unusable {
        path: state_root.to_owned(),
        source,
    };
    files::create_passable_dir(state_root).map_err(unusable)?;
    for folder in state_root.ancestors().skip(1) {
        if !may_pass(&folder.metadata().map_err(unusable)?, user) {
            let why = format!("the agent's user {name} may not pass {}", folder.display());
            return Err(unusable(io::Error::other(why)));
        }
    }
    Ok(())
}

fn may_pass(folder: &Metadata, user: &User) -> bool {
    let who = if folder.uid() == user.uid {
        0o100
    } else if folder.gid() == user.gid || user.groups.contains(&folder.gid()) {
        0o010
    } else {
        0o001
    };
    user.uid == 0 || folder.mode() & who != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_dir_behind_a_closed_folder_is_refused_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let user = User {
            uid: 65_534,
            gid: 65_534,
            groups: Vec::new(),
        };
        let rights = std::fs::Permissions::from_mode;
        std::fs::set_permissions(dir.path(), rights(0o700)).unwrap();
        let state = dir.path().join("a/b/state");
        let closed = open_way(&state, &user, "nobody").unwrap_err().to_string();
        let folder = dir.path().display();
        assert!(
            closed.contains(&format!("nobody may not pass {folder};")),
            "{closed}"
        );
        std::fs::set_permissions(dir.path(), rights(0o711)).unwrap();
        open_way(&state, &user, "nobody").unwrap();
        let opened = state.metadata().unwrap().permissions().mode();
        assert_eq!(opened & 0o777, 0o711);
    }

    #[test]
    fn only_an_executable_file_is_a_program() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("claude");
        std::fs::write(&file, "").unwrap();
        let path = std::env::join_paths([Path::new("relative"), dir.path()]).unwrap();
        assert_eq!(on_path(OsStr::new("claude"), &path), None);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(on_path(OsStr::new("claude"), &path), Some(file));
    }
}
