//! What the agent's own git is told by its environment, and the folder of what it is given.
//!
//! No configuration of a repository overrides it: bare repositories within a workspace and remote
//! helpers that run commands are not used, in a workspace that was cloned no hook and no file monitor
//! is, commits name the author of the turn, and where the agent pushes by itself its git gets the
//! token from our helper.
//!
//! The folder holds who authors the commits and the socket of the tokens. The agent's user passes
//! through it and writes nothing in it; a container sees it at the same place.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::config::SandboxKind;
use crate::daemon::{DaemonError, Setup};
use crate::files;
use crate::ids::SessionId;
use crate::process::Environment;
use crate::sandbox::docker;
use crate::spool::User;
use crate::workspace::{Authorship, Credentials, HELPER, Handing, RepoUrl};

/// What Git LFS itself installs as this hook.
const PRE_PUSH: &[u8] = b"#!/bin/sh\nexec git lfs pre-push \"$@\"\n";

/// What the git of a session's agent works with.
pub(in crate::daemon) struct AgentsGit<'a> {
    /// Its folder.
    pub(in crate::daemon) folder: PathBuf,
    /// The agent's user, where that is another one.
    pub(in crate::daemon) user: Option<User>,
    /// The repositories that were cloned for it, from there.
    pub(super) urls: Vec<RepoUrl>,
    pub(in crate::daemon) setup: &'a Setup<'a>,
}

/// The folder of a session's agent's git.
pub(in crate::daemon) fn folder(state_dir: &Path, session: &SessionId) -> PathBuf {
    state_dir.join("git").join(session.as_str())
}

impl AgentsGit<'_> {
    /// Makes the folder where it is missing.
    pub(in crate::daemon) fn make_folder(&self) -> Result<(), DaemonError> {
        let made = files::create_private_dir(&self.folder).and_then(|()| match self.user {
            Some(_) => files::let_pass(self.setup.state_root, &self.folder),
            None => Ok(()),
        });
        made.map_err(|error| self.fault(&error))
    }

    /// Who authors the agent's commits; taken from its environment.
    pub(in crate::daemon) fn authorship(
        &self,
        environment: &mut Environment,
    ) -> Result<Authorship, DaemonError> {
        let author = self.setup.config.git.author.as_ref();
        let taken = Authorship::take(&self.folder, author, environment);
        taken.map_err(|error| self.fault(&error))
    }

    /// Tells it by its environment; what hands it tokens for the repositories, where there is any need.
    pub(in crate::daemon) fn tell(
        &self,
        environment: &mut Environment,
        credentials: Option<&Credentials>,
    ) -> Result<Option<Handing>, DaemonError> {
        let is_cloned = !self.urls.is_empty();
        let credentials = credentials.filter(|_| is_cloned);
        let mut settings = safe(is_cloned);
        if is_cloned {
            settings.push(("core.hooksPath".to_owned(), self.hooks()?));
        }
        let file = Authorship::file(&self.folder).display().to_string();
        settings.push(("include.path".to_owned(), file));
        if credentials.is_some() {
            settings.extend(self.helper()?);
        }
        add(environment, &settings)?;
        let Some(credentials) = credentials.cloned() else {
            return Ok(None);
        };
        let own = || rustix::process::getuid().as_raw();
        let uid = self.user.as_ref().map_or_else(own, |user| user.uid);
        let handing = Handing::open(&self.folder, self.urls.clone(), credentials, uid);
        handing.map(Some).map_err(|error| self.fault(&error))
    }

    /// Where git finds hooks: none of a repository's. With Git LFS there is one of ours, without which
    /// a push would bring commits whose files nobody has.
    fn hooks(&self) -> Result<String, DaemonError> {
        if !self.setup.config.git.lfs {
            return Ok("/dev/null".to_owned());
        }
        let folder = self.folder.join("hooks");
        let written = files::create_passable_dir(&folder)
            .and_then(|()| files::replace_readable(&folder.join("pre-push"), PRE_PUSH, 0o755));
        written.map_err(|error| self.fault(&error))?;
        Ok(folder.display().to_string())
    }

    /// How git gets a token for each of the repositories, and no other helper stores it.
    fn helper(&self) -> Result<Vec<(String, String)>, DaemonError> {
        let program = match self.setup.config.sandbox.kind {
            SandboxKind::Local => std::env::current_exe().map_err(|error| self.fault(&error))?,
            SandboxKind::Docker => docker::PROGRAM.into(),
        };
        let words = format!("!{} {HELPER} {}", quoted(&program), quoted(&self.folder));
        let mut settings = Vec::new();
        for url in self.urls.iter().filter(|url| url.remote().is_some()) {
            let of = |name: &str| format!("credential.{url}.{name}");
            settings.push((of("helper"), String::new()));
            settings.push((of("helper"), words.clone()));
            settings.push((of("useHttpPath"), "true".to_owned()));
        }
        Ok(settings)
    }

    fn fault(&self, error: &std::io::Error) -> DaemonError {
        let at = self.folder.display();
        DaemonError::Workspace(format!("the agent's git cannot be served at {at}: {error}"))
    }
}

/// What holds for every repository; in one that was cloned nothing of it runs.
fn safe(is_cloned: bool) -> Vec<(String, String)> {
    let mut settings = vec![
        ("safe.bareRepository".to_owned(), "explicit".to_owned()),
        ("protocol.ext.allow".to_owned(), "never".to_owned()),
    ];
    if is_cloned {
        settings.push(("core.fsmonitor".to_owned(), "false".to_owned()));
    }
    settings
}

/// Adds settings to an environment, behind what that says already.
fn add(environment: &mut Environment, settings: &[(String, String)]) -> Result<(), DaemonError> {
    let told = environment
        .value("GIT_CONFIG_COUNT")
        .and_then(OsStr::to_str);
    let mut count: usize = told.and_then(|count| count.parse().ok()).unwrap_or(0);
    let mut set = |name: String, value: &str| {
        let set = environment.set(name, value);
        set.map_err(|error| DaemonError::Usage(error.to_string()))
    };
    for (key, value) in settings {
        set(format!("GIT_CONFIG_KEY_{count}"), key)?;
        set(format!("GIT_CONFIG_VALUE_{count}"), value)?;
        count += 1;
    }
    set("GIT_CONFIG_COUNT".to_owned(), &count.to_string())
}

/// A word of the shell that git starts a helper with.
pub(super) fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_stands_behind_what_was_told() {
        let mut environment = Environment::new();
        environment.set("GIT_CONFIG_COUNT", "1").unwrap();
        environment.set("GIT_CONFIG_KEY_0", "a.b").unwrap();
        add(&mut environment, &safe(false)).unwrap();
        let value = |name: &str| environment.value(name).and_then(OsStr::to_str);
        assert_eq!(value("GIT_CONFIG_KEY_0"), Some("a.b"));
        assert_eq!(value("GIT_CONFIG_COUNT"), Some("3"));
        assert_eq!(value("GIT_CONFIG_KEY_2"), Some("protocol.ext.allow"));
    }

    #[test]
    fn a_path_is_one_word_of_the_shell() {
        assert_eq!(quoted(Path::new("/a b/c'd")), r"'/a b/c'\''d'");
    }
}
