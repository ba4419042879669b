//! Which repositories a session works in: the user's own word, else the Hub's.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use secrecy::SecretString;
use serde_json::Value;

use crate::config::EnvMap;
use crate::daemon::{DaemonError, Setup};
use crate::hub::rest::{RestClient, SessionDetail};
use crate::ids::SessionId;
use crate::workspace::{AllowList, Credentials, RepoUrl, Revision, host_of};

/// More than a session works in; a Hub that names more is mistaken.
const MOST: usize = 32;

/// Names by which a session's own environment gives its token.
const SENT_TOKENS: &[&str] = &["GIT_TOKEN", "GH_TOKEN", "GITHUB_TOKEN"];

/// A repository to clone.
#[derive(Debug)]
pub(in crate::daemon) struct Repo {
    pub(in crate::daemon) url: RepoUrl,
    pub(super) revision: Option<Revision>,
    /// Its folder within the workspace, where there are several.
    pub(in crate::daemon) folder: String,
}

/// What to clone, and with whose token.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Wanted {
    pub(in crate::daemon) repos: Vec<Repo>,
    pub(in crate::daemon) credentials: Credentials,
}

/// What the settings and the Hub's view of the session ask for.
pub(in crate::daemon) fn wanted(
    setup: &Setup<'_>,
    rest: &RestClient,
    detail: Option<&SessionDetail>,
) -> Result<Wanted, DaemonError> {
    let allowed = allowed(setup)?;
    let (Some(detail), true) = (detail, setup.config.repos.is_empty()) else {
        return typed(setup);
    };
    let sent = sent(detail).into_iter().filter_map(|repo| {
        let url = first(repo, &["cloneUrl", "url"])?;
        let revision = first(repo, &["commit", "ref", "branch", "defaultBranch"]);
        let url = RepoUrl::from_hub(url, &allowed).map_err(|error| fault(&error));
        Some(url.and_then(|url| read(url, revision)))
    });
    let repos: Vec<Repo> = sent.take(MOST).collect::<Result<_, _>>()?;
    let given = repos
        .iter()
        .find_map(|repo| host_of(&repo.url))
        .zip(token_in(detail));
    let credentials = match given {
        Some((host, token)) => of_session(rest, &detail.session_id, Some(token), host),
        // A Hub names the address: the user's token goes only where the user said that it may.
        None => of_settings(setup, None),
    };
    Ok(Wanted {
        repos: named(repos),
        credentials,
    })
}

/// What the settings alone ask for.
pub(in crate::daemon) fn typed(setup: &Setup<'_>) -> Result<Wanted, DaemonError> {
    let typed = setup.config.repos.iter().map(|repo| {
        let url = RepoUrl::parse(&repo.url, &setup.cwd).map_err(|error| fault(&error))?;
        read(url, repo.branch.as_deref())
    });
    let repos: Vec<Repo> = typed.collect::<Result<_, _>>()?;
    let host = repos.iter().find_map(|repo| host_of(&repo.url));
    Ok(Wanted {
        repos: named(repos),
        credentials: of_settings(setup, host),
    })
}

/// The token in the session's own environment, which the Hub is asked for each time: it may renew it.
pub(in crate::daemon) fn of_session(
    rest: &RestClient,
    session: &SessionId,
    last: Option<SecretString>,
    host: String,
) -> Credentials {
    let (rest, session) = (rest.clone(), session.clone());
    let ask = move || -> BoxFuture<'static, Result<SecretString, String>> {
        let (rest, session) = (rest.clone(), session.clone());
        Box::pin(async move {
            let detail = rest.session(&session).await;
            let detail = detail.map_err(|error| format!("the Hub was asked for it: {error}"))?;
            token_in(&detail).ok_or_else(|| {
                let names = SENT_TOKENS.join(", ");
                format!("the session's environment has none any more ({names})")
            })
        })
    };
    Credentials::asked(Arc::new(ask), last, host)
}

/// What the settings let a Hub, or a repository's submodules, name.
pub(in crate::daemon) fn allowed(setup: &Setup<'_>) -> Result<AllowList, DaemonError> {
    AllowList::parse(&setup.config.git.allow_hosts)
        .map_err(|error| DaemonError::Usage(error.to_string()))
}

/// The settings' token, for the host that they name or else for `host`.
pub(super) fn of_settings(setup: &Setup<'_>, host: Option<String>) -> Credentials {
    let git = &setup.config.git;
    let Some(source) = &git.token else {
        return Credentials::default();
    };
    let host = git.token_host.clone().or(host);
    Credentials::from_settings(source, host, visible(setup.env))
}

/// What a program that gives a token sees: all but what is ours.
fn visible(env: &EnvMap) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    let ours = |name: &std::ffi::OsStr| {
        let name = name.as_encoded_bytes();
        name.starts_with(b"AGENTUITY_") || name.starts_with(b"AGENT_RUNNER_")
    };
    let variables = env.iter().filter(|(name, _)| !ours(name));
    variables
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The list of a session with several, else its one.
fn sent(detail: &SessionDetail) -> Vec<&Value> {
    let several = detail.rest.get("repos").and_then(Value::as_array);
    match several.filter(|repos| !repos.is_empty()) {
        Some(repos) => repos.iter().collect(),
        None => detail.repo.iter().collect(),
    }
}

fn token_in(detail: &SessionDetail) -> Option<SecretString> {
    let env = detail.rest.get("env")?;
    let token = first(env, SENT_TOKENS)?;
    Some(SecretString::from(token.to_owned()))
}

fn first<'a>(value: &'a Value, names: &[&str]) -> Option<&'a str> {
    let mut texts = names.iter().filter_map(|name| value.get(name)?.as_str());
    texts.find(|text| !text.is_empty())
}

fn read(url: RepoUrl, revision: Option<&str>) -> Result<Repo, DaemonError> {
    let revision = revision.map(Revision::parse).transpose();
    Ok(Repo {
        folder: url.folder_name(),
        url,
        revision: revision.map_err(|error| fault(&error))?,
    })
}

/// Several of one name have folders of their own: `r`, `r-2`. Compared without regard to case, as
/// some file systems do.
fn named(mut repos: Vec<Repo>) -> Vec<Repo> {
    let mut taken = HashSet::new();
    for repo in &mut repos {
        let name = repo.folder.clone();
        let mut count = 1;
        while !taken.insert(repo.folder.to_lowercase()) {
            count += 1;
            repo.folder = format!("{name}-{count}");
        }
    }
    repos
}

fn fault(error: &dyn std::fmt::Display) -> DaemonError {
    DaemonError::Workspace(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn repositories_of_one_name_have_folders_of_their_own() {
        let repo = |text: &str| read(RepoUrl::parse(text, Path::new("/")).unwrap(), None).unwrap();
        let repos = [
            "https://a.example/r",
            "https://b.example/R.git",
            "/srv/r-2",
            "/x/r",
        ];
        let repos = named(repos.map(repo).into());
        let folders: Vec<&str> = repos.iter().map(|repo| repo.folder.as_str()).collect();
        assert_eq!(folders, ["r", "R-2", "r-2-2", "r-3"]);
    }
}
