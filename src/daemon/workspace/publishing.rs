//! Who pushes a session's commits, and where to.

use std::path::{Path, PathBuf};

use super::made::Made;
use crate::config::Push;
use crate::daemon::{DaemonError, Setup};
use crate::ids::SessionId;
use crate::turn::Publishing;
use crate::workspace::{Credentials, PushRequest, RepoUrl, Revision};

/// What the daemon pushes after each turn: to every repository where the settings say so, else to
/// those that it has a token for.
pub(in crate::daemon) fn by_daemon(
    setup: &Setup<'_>,
    session: &SessionId,
    made: &Made,
    credentials: &Credentials,
) -> Result<Option<Publishing>, DaemonError> {
    let wanted = |url: &RepoUrl| match setup.config.git.push {
        Some(Push::Daemon) => true,
        Some(Push::Agent | Push::Off) => false,
        None => credentials.has_one_for(url),
    };
    let branch = branch(setup, session)?;
    let rescue = folder(&setup.config.state_dir, session);
    let requests = made.repositories.iter().filter_map(|repository| {
        let name = repository.path.file_name()?.to_string_lossy().into_owned();
        Some(PushRequest {
            workspace: repository.path.clone(),
            url: repository.address().filter(wanted)?,
            base: repository.commit.clone(),
            branch: branch.clone(),
            rescue: rescue.join(format!("{name}.bundle")),
            max_size: setup.config.git.max_size,
        })
    });
    let requests: Vec<_> = requests.collect();
    Ok((!requests.is_empty()).then(|| Publishing {
        requests,
        credentials: credentials.clone(),
    }))
}

/// Where what cannot be pushed of a session is kept.
pub(in crate::daemon) fn folder(state_dir: &Path, session: &SessionId) -> PathBuf {
    state_dir.join("rescue").join(session.as_str())
}

/// The session's branch.
fn branch(setup: &Setup<'_>, session: &SessionId) -> Result<String, DaemonError> {
    let template = &setup.config.git.push_branch;
    let name = template.replace("{session}", session.as_str());
    Revision::parse(&name)
        .map(|name| name.as_str().to_owned())
        .map_err(|error| DaemonError::Usage(format!("git.push_branch = \"{template}\": {error}")))
}
