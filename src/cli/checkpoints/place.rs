//! Which repository `diff` and `restore` are about: the one that is named, the one of this folder, or
//! the one that a session works in, as its journal says.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::repo;
use crate::cli::lead::here;
use crate::cli::{CliError, Exit};
use crate::config::{self, ClientOptions, CommandKind, EnvMap};
use crate::daemon::journals;
use crate::ids::SessionId;
use crate::journal::Journal;
use crate::process::become_user;
use crate::workspace::Checkpoints;

/// Where the checkpoints are.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// The session; without it, the one that took the newest checkpoint
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// The workspace, or a folder in it; without it, that of the session, or this folder
    #[arg(long, value_name = "DIR")]
    workspace_dir: Option<PathBuf>,
    /// The state dir of the daemon that has the session
    #[arg(long, value_name = "DIR")]
    state_dir: Option<String>,
}

impl Place {
    /// The session that was named.
    pub(super) fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The checkpoints that are kept there.
    pub(super) fn open(&self) -> Result<Checkpoints, CliError> {
        if let Some(path) = &self.workspace_dir {
            return checkpoints(path);
        }
        let cwd = std::env::current_dir().map_err(|error| {
            CliError::new(Exit::Usage, format!("this folder cannot be used: {error}"))
        })?;
        let id = self.session.as_ref().and_then(|id| id.parse().ok());
        let Some(id) = id else {
            return checkpoints(&cwd);
        };
        // Before we become the workspace's owner, who may not read it.
        match self.workspace_of(&id)? {
            Some(workspace) if cwd.starts_with(&workspace) => checkpoints(&cwd),
            Some(workspace) => checkpoints(&repository(&workspace)?),
            None => checkpoints(&cwd).map_err(|error| {
                let why = format!(
                    "{error}; of the session {id} nothing else is known here: give \
                     --workspace-dir, or --state-dir of its daemon"
                );
                CliError::new(Exit::Repo, why)
            }),
        }
    }

    /// Where a session works, as far as this user may know.
    fn workspace_of(&self, id: &SessionId) -> Result<Option<PathBuf>, CliError> {
        let env = EnvMap::of_this_process();
        let place = here(CommandKind::Start, &env)?;
        let options = ClientOptions {
            state_dir: self.state_dir.clone(),
            api: None,
            api_token_file: None,
            config: None,
        };
        let config = config::resolve_client(&options, None, &env, &place)
            .map_err(|error| CliError::new(Exit::Usage, error.to_string()))?;
        for journal in journals(&config.state_dir) {
            match Journal::workspace_in(&journal, id) {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(error) => tracing::debug!(path = %journal.display(), %error, "no journal"),
            }
        }
        Ok(None)
    }
}

/// The repository in a session's workspace: itself, or the one folder in it that is one.
fn repository(workspace: &Path) -> Result<PathBuf, CliError> {
    let is_one = |path: &Path| path.join(".git").exists();
    if is_one(workspace) {
        return Ok(workspace.to_owned());
    }
    let entries = workspace.read_dir().into_iter().flatten().flatten();
    let mut found: Vec<_> = entries.map(|entry| entry.path()).collect();
    found.retain(|path| is_one(path));
    found.sort();
    match found.as_slice() {
        [] => Ok(workspace.to_owned()),
        [one] => Ok(one.clone()),
        several => {
            let names = several.iter().map(|path| path.display().to_string());
            let names = names.collect::<Vec<_>>().join(", ");
            let why =
                format!("the session has several repositories; give --workspace-dir: {names}");
            Err(CliError::new(Exit::Usage, why))
        }
    }
}

fn checkpoints(path: &Path) -> Result<Checkpoints, CliError> {
    let unusable = |error: io::Error| {
        let place = path.display();
        CliError::new(Exit::Repo, format!("{place} cannot be read: {error}"))
    };
    // What another user wrote there must not lead root's hands elsewhere.
    let owner = path.metadata().map_err(unusable)?;
    if rustix::process::getuid().is_root() && owner.uid() != 0 {
        become_user(owner.uid(), owner.gid(), &[]).map_err(unusable)?;
    }
    if let Some((closed, error)) = closed(path) {
        return Err(CliError::new(
            Exit::Repo,
            format!(
                "{} cannot be read: {error}; run this as its owner",
                closed.display()
            ),
        ));
    }
    Checkpoints::around(path).map_err(|error| repo(&error))
}

/// What keeps this user from the repository around `path`: git would find none.
fn closed(path: &Path) -> Option<(PathBuf, io::Error)> {
    let mut places = path.ancestors().map(|folder| folder.join(".git"));
    let git = places.find(|git| git.exists());
    let looked_at = [Some(path.to_owned()), git];
    looked_at.into_iter().flatten().find_map(|place| {
        let readable = if place.is_dir() {
            Access::READ_OK | Access::EXEC_OK
        } else {
            Access::READ_OK
        };
        let error = access(&place, readable).err()?;
        Some((place, error.into()))
    })
}
