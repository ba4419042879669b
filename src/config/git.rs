//! How repositories are cloned and pushed.

use std::fmt;
use std::path::PathBuf;

use url::Url;

use super::keeping::size;
use super::layers::{Layers, quoted};
use super::secret::read_key_file;
use super::setting;
use super::{Author, EnvPattern, RepoConfig};

/// The `--branch` that stands for a repository's own default.
const DEFAULT_BRANCH: &str = "HEAD";

/// How repositories are cloned and pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitConfig {
    /// Where tokens come from, each time that one is needed.
    pub token: Option<TokenSource>,
    /// The host that the token is for, as `host` or `host:port`; `None`: that of the first `--repo`.
    pub token_host: Option<String>,
    /// What a Hub may name besides public hosts, as typed; `workspace::AllowList` reads them.
    pub allow_hosts: Vec<String>,
    /// How much of the past a clone over the network holds.
    pub depth: Depth,
    /// The most bytes of a clone, received or checked out.
    pub max_size: u64,
    /// Whether submodules are cloned.
    pub submodules: bool,
    /// Whether the files that Git LFS keeps elsewhere are fetched.
    pub lfs: bool,
    /// Who pushes the session's commits; `None`: the daemon, where there is a token.
    pub push: Option<Push>,
    /// The branch that the daemon pushes to; `{session}` stands for the session's id.
    pub push_branch: String,
    /// Whom commits name where a prompt names nobody.
    pub author: Option<Author>,
}

/// Where a token comes from. It is read anew for each use, so that one that expires is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// The only line of this file.
    File(PathBuf),
    /// The variable of this name in our environment.
    Variable(String),
    /// What this program writes: a program and its arguments, no shell.
    Command(Vec<String>),
}

/// How much of the past a clone over the network holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// So many commits of each branch.
    Commits(u32),
    /// All of it.
    Full,
}

/// Who pushes the session's commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    /// The daemon, after each turn, to the session's own branch.
    Daemon,
    /// The agent's git, with a token that a helper hands it.
    Agent,
    /// Nobody.
    Off,
}

impl Push {
    fn parse(word: &str) -> Result<Self, String> {
        match word {
            "daemon" => Ok(Self::Daemon),
            "agent" => Ok(Self::Agent),
            "off" => Ok(Self::Off),
            _ => Err(format!("`{word}` is not one of daemon, agent, off")),
        }
    }
}

impl Depth {
    fn parse(word: &str) -> Result<Self, String> {
        const LARGEST: u32 = 1_000_000;
        match (word, word.parse()) {
            ("full", _) => Ok(Self::Full),
            (_, Ok(commits)) if (1..=LARGEST).contains(&commits) => Ok(Self::Commits(commits)),
            _ => Err(format!(
                "`{word}` is no depth; write a number of commits from 1 to {LARGEST}, or full"
            )),
        }
    }
}

impl fmt::Display for Depth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commits(commits) => commits.fmt(f),
            Self::Full => f.write_str("full"),
        }
    }
}

/// The repositories to clone, each with what of it is to be checked out.
pub(super) fn repos(layers: &mut Layers<'_>) -> Vec<RepoConfig> {
    let any = |text: &str| Ok(text.to_owned());
    let urls = layers.list(&setting::REPO, any);
    let branches = layers.list(&setting::BRANCH, any);
    if let Some(raw) = layers.raw(&setting::BRANCH)
        && branches.len() != urls.len()
    {
        let message = match urls.as_slice() {
            [] => "a branch needs a repository: give --repo as well".to_owned(),
            [_] => "there is one repository: give one branch".to_owned(),
            _ => format!(
                "there are {} repositories: give a branch for each, in their order \
                 ({DEFAULT_BRANCH} for a repository's own default)",
                urls.len()
            ),
        };
        layers.fault(raw.origin, message);
    }
    let branch = |branch: &String| Some(branch.clone()).filter(|name| name != DEFAULT_BRANCH);
    let urls = urls.into_iter().enumerate();
    urls.map(|(place, url)| RepoConfig {
        url,
        branch: branches.get(place).and_then(branch),
    })
    .collect()
}

pub(super) fn git(layers: &mut Layers<'_>) -> GitConfig {
    let any = |text: &str| Ok(text.to_owned());
    GitConfig {
        token: token(layers),
        token_host: layers.value(&setting::GIT_TOKEN_HOST, host),
        allow_hosts: layers.list(&setting::GIT_ALLOW_HOSTS, any),
        depth: layers.value_or(&setting::GIT_DEPTH, Depth::Commits(1), Depth::parse),
        max_size: size(layers, &setting::GIT_MAX_SIZE, 20 << 30, 1 << 20),
        submodules: layers.switch(&setting::GIT_SUBMODULES),
        lfs: layers.switch(&setting::GIT_LFS),
        push: layers.value(&setting::GIT_PUSH, Push::parse),
        push_branch: layers.value_or(
            &setting::GIT_PUSH_BRANCH,
            "agent-runner/{session}".to_owned(),
            any,
        ),
        author: author(layers),
    }
}

/// A host as addresses show it, with its port where that is not the scheme's own.
fn host(text: &str) -> Result<String, String> {
    let wrong = || format!("`{text}` is no host; write github.com or git.example.com:8443");
    let url = Url::parse(&format!("https://{text}/")).map_err(|_| wrong())?;
    let is_plain = !text.contains(['/', '@', '?', '#', '\\']);
    let host = url.host_str().filter(|_| is_plain).ok_or_else(wrong)?;
    Ok(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

/// The file, being a flag as well, goes before the others; of those there may be one.
fn token(layers: &mut Layers<'_>) -> Option<TokenSource> {
    if let Some(raw) = layers.raw(&setting::GIT_TOKEN_FILE) {
        let path = layers.path(&setting::GIT_TOKEN_FILE)?;
        // It is read again for each use: here only so that a wrong one is known at once.
        match read_key_file(&path) {
            Ok(key) => layers.warnings.extend(key.warning),
            Err(message) => layers.fault(raw.origin, message),
        }
        return Some(TokenSource::File(path));
    }
    let variable = layers.value(&setting::GIT_TOKEN_ENV, |text| {
        let pattern = EnvPattern::parse(text)?;
        match pattern.as_str().strip_suffix('*') {
            None => Ok(text.to_owned()),
            Some(_) => Err(format!("`{text}` is no name of one variable")),
        }
    });
    let command = layers.list(&setting::GIT_TOKEN_COMMAND, |text| Ok(text.to_owned()));
    match (variable, command.is_empty()) {
        (Some(_), false) => {
            let origin = layers.raw(&setting::GIT_TOKEN_COMMAND)?.origin;
            layers.fault(origin, "there is git.token_env as well; give one");
            None
        }
        (Some(variable), true) => Some(TokenSource::Variable(variable)),
        (None, false) => Some(TokenSource::Command(command)),
        (None, true) => None,
    }
}

fn author(layers: &mut Layers<'_>) -> Option<Author> {
    let raw = layers.raw(&setting::GIT_AUTHOR)?;
    let text = raw.values.first()?;
    match text.parse() {
        Ok(author) => {
            layers.show(setting::GIT_AUTHOR.key, quoted(text), raw.origin);
            Some(author)
        }
        Err(error) => {
            layers.fault(raw.origin, format!("{error}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_depth_is_a_number_or_full() {
        assert_eq!(Depth::parse("1"), Ok(Depth::Commits(1)));
        assert_eq!(Depth::parse("full"), Ok(Depth::Full));
        for wrong in ["0", "-1", "all", "1.5", "99999999"] {
            assert!(Depth::parse(wrong).unwrap_err().contains("full"), "{wrong}");
        }
    }
}
