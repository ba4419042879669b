//! Tokens for repositories: read from a short-lived source each time that one is needed.
//!
//! A token is for one host. It is given to that host's repositories and to no other address, whoever
//! names it, and stands in no file of ours, no argument and no variable.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use secrecy::SecretString;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

use super::url::RepoUrl;
use crate::config::TokenSource;

/// A token is a line; anything longer is something else.
const MAX_BYTES: u64 = 16 * 1024;
/// A program that asks a vault answers within seconds.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks whether a program that has closed its output has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// Where the token of a session comes from, and whom it is for.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    source: Option<Source>,
    /// `host` or `host:port`.
    host: Option<String>,
}

#[derive(Debug, Clone)]
enum Source {
    File(PathBuf),
    /// What a variable held when the session was made, or what the Hub gave with it.
    Given(SecretString),
    /// A program, its arguments, and its environment.
    Command(Vec<String>, Vec<(OsString, OsString)>),
}

/// A token that could not be had.
#[derive(Debug, thiserror::Error)]
#[error("no token for {host}: {why}")]
pub struct TokenError {
    host: String,
    why: String,
}

impl Credentials {
    /// The token of the settings, for repositories on `host`; `environment` is what its program
    /// sees, and where its variable is looked up.
    pub fn from_settings(
        source: &TokenSource,
        host: Option<String>,
        environment: Vec<(OsString, OsString)>,
    ) -> Self {
        let source = match source {
            TokenSource::File(path) => Some(Source::File(path.clone())),
            TokenSource::Command(words) => Some(Source::Command(words.clone(), environment)),
            TokenSource::Variable(name) => environment
                .into_iter()
                .find(|(variable, _)| variable.to_str() == Some(name))
                .and_then(|(_, value)| value.into_string().ok())
                .map(|value| Source::Given(SecretString::from(value))),
        };
        Self { source, host }
    }

    /// A token that came with the session, for repositories on `host`.
    pub fn given(token: SecretString, host: String) -> Self {
        Self {
            source: Some(Source::Given(token)),
            host: Some(host),
        }
    }

    /// Whether there is a token for that repository.
    pub fn has_one_for(&self, url: &RepoUrl) -> bool {
        self.source.is_some() && self.host.is_some() && host_of(url) == self.host
    }

    /// The token for that repository, read now; none where there is none for its host.
    pub async fn token(&self, url: &RepoUrl) -> Result<Option<SecretString>, TokenError> {
        match &self.source {
            Some(source) if self.has_one_for(url) => {
                let read = source.read().await;
                read.map(Some).map_err(|why| TokenError {
                    host: self.host.clone().unwrap_or_default(),
                    why,
                })
            }
            _ => Ok(None),
        }
    }

    /// The token as it is now, for masking it.
    pub async fn known(&self) -> Option<SecretString> {
        self.source.as_ref()?.read().await.ok()
    }
}

/// `host`, or `host:port` where the port is not the scheme's own.
pub fn host_of(url: &RepoUrl) -> Option<String> {
    let url = url.remote()?;
    let host = url.host_str()?;
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

impl Source {
    async fn read(&self) -> Result<SecretString, String> {
        match self {
            Self::Given(token) => Ok(token.clone()),
            Self::File(path) => of_file(path),
            Self::Command(words, environment) => of_command(words, environment).await,
        }
    }
}

fn of_file(path: &Path) -> Result<SecretString, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    line(&text).ok_or_else(|| format!("{} does not hold one line, the token", path.display()))
}

fn line(text: &str) -> Option<SecretString> {
    let token = text.trim();
    let is_line =
        !token.is_empty() && text.len() as u64 <= MAX_BYTES && !token.contains(char::is_control);
    is_line.then(|| SecretString::from(token.to_owned()))
}

async fn of_command(
    words: &[String],
    environment: &[(OsString, OsString)],
) -> Result<SecretString, String> {
    let Some((program, arguments)) = words.split_first() else {
        return Err("git.token_command is empty".to_owned());
    };
    let failed = |why: String| format!("`{program}` of git.token_command {why}");
    let output = tokio::time::timeout(COMMAND_LIMIT, run(program, arguments, environment)).await;
    match output {
        Err(_) => Err(failed(format!(
            "did not end within {} s",
            COMMAND_LIMIT.as_secs()
        ))),
        Ok(Err(error)) => Err(failed(format!("cannot be run: {error}"))),
        Ok(Ok((_, false))) => Err(failed("failed; run it by hand to see why".to_owned())),
        Ok(Ok((text, true))) => {
            line(&text).ok_or_else(|| failed("does not write one line, the token".to_owned()))
        }
    }
}

/// What a program writes, and whether it was content. Dropped, it ends the program.
async fn run(
    program: &str,
    arguments: &[String],
    environment: &[(OsString, OsString)],
) -> std::io::Result<(String, bool)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(write)
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    let mut child = Ended(child);
    let mut text = String::new();
    let output = Receiver::from_owned_fd(read)?;
    output.take(MAX_BYTES + 1).read_to_string(&mut text).await?;
    loop {
        if let Some(status) = child.0.try_wait()? {
            return Ok((text, status.success()));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A program that is not left behind.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // One that has ended is only taken off the process table.
        let ended = self.0.kill().and_then(|()| self.0.wait());
        drop(ended);
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn url(text: &str) -> RepoUrl {
        RepoUrl::parse(text, Path::new("/")).unwrap()
    }

    async fn token(source: TokenSource, host: &str) -> Result<Option<String>, String> {
        let environment = vec![("GIT_T".into(), "t-variable".into())];
        let credentials = Credentials::from_settings(&source, Some(host.to_owned()), environment);
        let token = credentials.token(&url("https://example.com/r")).await;
        let shown = |token: SecretString| token.expose_secret().to_owned();
        token
            .map(|token| token.map(shown))
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_token_is_read_anew_from_each_kind_of_source() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for text in ["t-one", "t-two"] {
            std::fs::write(&path, format!("{text}\n")).unwrap();
            let of_file = token(TokenSource::File(path.clone()), "example.com").await;
            assert_eq!(of_file.unwrap().as_deref(), Some(text));
        }
        let of_variable = token(TokenSource::Variable("GIT_T".to_owned()), "example.com").await;
        assert_eq!(of_variable.unwrap().as_deref(), Some("t-variable"));
        let command = ["/bin/sh", "-c", "echo $GIT_T-by-command"].map(str::to_owned);
        let of_command = token(TokenSource::Command(command.to_vec()), "example.com").await;
        assert_eq!(
            of_command.unwrap().as_deref(),
            Some("t-variable-by-command")
        );
    }

    #[tokio::test]
    async fn a_token_is_for_its_own_host() {
        let source = || TokenSource::Variable("GIT_T".to_owned());
        assert_eq!(token(source(), "example.org").await, Ok(None));
        assert_eq!(token(source(), "example.com:8443").await, Ok(None));
    }

    #[tokio::test]
    async fn a_source_that_gives_nothing_says_why_and_never_what_it_gave() {
        let command = |script: &str| {
            let words = ["/bin/sh", "-c", script].map(str::to_owned);
            TokenSource::Command(words.to_vec())
        };
        for (source, why) in [
            (command("exit 3"), "failed"),
            (command("echo one; echo two"), "one line"),
            (command("exit 0"), "one line"),
            (
                TokenSource::Command(vec!["/no/such/program".to_owned()]),
                "cannot be run",
            ),
            (TokenSource::File("/no/such/file".into()), "cannot read"),
        ] {
            let error = token(source, "example.com").await.unwrap_err();
            assert!(error.contains(why) && !error.contains("two"), "{error}");
        }
    }
}
