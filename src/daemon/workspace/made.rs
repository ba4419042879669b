//! What was cloned for a session, kept beside its workspace: a daemon that goes on with the session
//! knows its repositories without asking anyone. Holds no secret.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::skills::Placed;
use crate::daemon::DaemonError;
use crate::files;
use crate::ids::SessionId;
use crate::workspace::{Reach, RepoUrl};

/// What was made for a session. Unknown fields, of a newer program, are left out when it is read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::daemon) struct Made {
    /// Its repositories; none where the workspace was there before.
    #[serde(default)]
    pub(in crate::daemon) repositories: Vec<MadeRepository>,
    /// Whether the files of Git LFS have been fetched.
    #[serde(default)]
    pub(super) lfs_done: bool,
    /// Whether the setup script has been run to its end.
    #[serde(default)]
    pub(super) setup_done: bool,
    /// Reports that the Hub expects of each turn.
    #[serde(default)]
    pub(in crate::daemon) expected: Vec<PathBuf>,
    /// The skills that were put into its workspace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::daemon) skills: Vec<Placed>,
    /// The host that the token in the session's own environment is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::daemon) token_host: Option<String>,
}

/// A repository that was cloned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::daemon) struct MadeRepository {
    /// Its folder.
    pub(in crate::daemon) path: PathBuf,
    /// Where it came from.
    pub(in crate::daemon) url: String,
    /// Where a connection to that may lead.
    pub(in crate::daemon) reach: Reach,
    /// The commit that was checked out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::daemon) commit: Option<String>,
}

impl MadeRepository {
    /// Its address.
    pub(in crate::daemon) fn address(&self) -> Option<RepoUrl> {
        let url = RepoUrl::parse(&self.url, Path::new("/")).ok()?;
        Some(url.with_reach(self.reach))
    }
}

impl Made {
    /// Reads it; empty where nothing was kept.
    pub(in crate::daemon) fn read(
        state_dir: &Path,
        session: &SessionId,
    ) -> Result<Self, DaemonError> {
        let path = file(state_dir, session);
        let fault = |why: &dyn std::fmt::Display| {
            DaemonError::Workspace(format!(
                "{}, which says what was cloned for the session, cannot be used: {why}",
                path.display()
            ))
        };
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| fault(&error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(fault(&error)),
        }
    }

    /// Keeps it; durable when this returns.
    pub(in crate::daemon) fn keep(
        &self,
        state_dir: &Path,
        session: &SessionId,
    ) -> Result<(), DaemonError> {
        let path = file(state_dir, session);
        let kept = serde_json::to_vec(self)
            .map_err(io::Error::from)
            .and_then(|bytes| {
                files::create_private_dir(&state_dir.join("sessions"))?;
                files::replace_durably(&path, &bytes)
            });
        kept.map_err(|error| {
            DaemonError::Workspace(format!("cannot write {}: {error}", path.display()))
        })
    }

    /// Takes up what a start has made or found. What was made earlier is known better: it says which
    /// commit the work began with.
    pub(in crate::daemon) fn found(&mut self, repositories: Vec<MadeRepository>) {
        let earlier = std::mem::replace(&mut self.repositories, repositories);
        for repository in &mut self.repositories {
            let same = earlier.iter().find(|known| known.path == repository.path);
            let commit = same.and_then(|known| known.commit.clone());
            repository.commit = commit.or(repository.commit.take());
        }
    }

    /// The workspace is made anew: it has to be prepared as it was, and nothing of ours is in it.
    pub(in crate::daemon) fn lost(&mut self) {
        self.lfs_done = false;
        self.setup_done = false;
        self.skills.clear();
    }

    /// Forgets it.
    pub(in crate::daemon) fn forget(state_dir: &Path, session: &SessionId) -> io::Result<()> {
        match std::fs::remove_file(file(state_dir, session)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn file(state_dir: &Path, session: &SessionId) -> PathBuf {
    state_dir.join("sessions").join(format!("{session}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_read_again_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let session: SessionId = "s1".parse().unwrap();
        assert_eq!(Made::read(dir.path(), &session).unwrap(), Made::default());
        let made = Made {
            repositories: vec![MadeRepository {
                path: "/w".into(),
                url: "https://example.com/r".to_owned(),
                reach: Reach::Public,
                commit: None,
            }],
            lfs_done: false,
            setup_done: true,
            expected: Vec::new(),
            skills: Vec::new(),
            token_host: None,
        };
        made.keep(dir.path(), &session).unwrap();
        assert_eq!(Made::read(dir.path(), &session).unwrap(), made);
        for _ in 0..2 {
            Made::forget(dir.path(), &session).unwrap();
        }
        assert_eq!(Made::read(dir.path(), &session).unwrap(), Made::default());
    }
}
