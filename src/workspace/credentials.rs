//! Tokens for repositories: read from a short-lived source each time that one is needed.
//!
//! A token is for one host. It is given to that host's repositories and to no other address, whoever
//! names it, and stands in no file of ours, no argument and no variable. It is masked before it is
//! used for the first time, however often its source gives another one.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;

use rustix::pipe::{PipeFlags, pipe_with};
use secrecy::SecretString;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

use super::url::RepoUrl;
use crate::config::TokenSource;
use crate::redact::Redactor;

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
    /// What masks it.
    redactor: Option<Arc<Redactor>>,
    /// Who has to know of each.
    keeper: Option<Keeper>,
}

/// Told of each token before it is used.
#[derive(Clone)]
struct Keeper(Arc<dyn Fn(&SecretString) + Send + Sync>);

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

#[derive(Debug, Clone)]
enum Source {
    File(PathBuf),
    /// What a variable held when the session was made.
    Given(SecretString),
    /// A program, its arguments, and its environment.
    Command(Vec<String>, Vec<(OsString, OsString)>),
    /// Somebody who is asked each time.
    Asked(Asked),
}

/// Asks for a token; what it answers in vain is words for people.
pub type Ask = dyn Fn() -> BoxFuture<'static, Result<SecretString, String>> + Send + Sync;

/// Somebody who is asked for a token, and what they said last: that serves while they do not answer.
#[derive(Clone)]
struct Asked {
    ask: Arc<Ask>,
    last: Arc<Mutex<Option<SecretString>>>,
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").finish_non_exhaustive()
    }
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
        Self {
            source,
            host,
            redactor: None,
            keeper: None,
        }
    }

    /// A token that somebody is asked for, for repositories on `host`; `last` is what they have said
    /// already.
    pub fn asked(ask: Arc<Ask>, last: Option<SecretString>, host: String) -> Self {
        let last = Arc::new(Mutex::new(last));
        Self {
            source: Some(Source::Asked(Asked { ask, last })),
            host: Some(host),
            redactor: None,
            keeper: None,
        }
    }

    /// The same, with each token masked by `redactor` from the moment at which it is given.
    #[must_use]
    pub fn masked_by(mut self, redactor: Arc<Redactor>) -> Self {
        self.redactor = Some(redactor);
        self
    }

    /// The same, with `keeper` told of each token before it is used; it may be told of one twice.
    #[must_use]
    pub fn kept_by(mut self, keeper: impl Fn(&SecretString) + Send + Sync + 'static) -> Self {
        self.keeper = Some(Keeper(Arc::new(keeper)));
        self
    }

    /// The host whose repositories it is for, where a Hub gave it.
    pub fn host_of_session(&self) -> Option<&str> {
        let is_asked = matches!(self.source, Some(Source::Asked(_)));
        self.host.as_deref().filter(|_| is_asked)
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
                let masked = read.and_then(|token| self.masked(token));
                masked.map(Some).map_err(|why| TokenError {
                    host: self.host.clone().unwrap_or_default(),
                    why,
                })
            }
            _ => Ok(None),
        }
    }

    /// The token as it is now, for masking it. Waits for nobody on the network: one that somebody has
    /// to be asked for is masked when it comes.
    pub async fn known(&self) -> Option<SecretString> {
        match self.source.as_ref()? {
            Source::Asked(asked) => asked.last(),
            source => source.read().await.ok(),
        }
    }

    /// Has the token that somebody has to be asked for masked, as soon as they answer.
    pub async fn learn(&self) -> Result<(), String> {
        match &self.source {
            Some(source @ Source::Asked(_)) => {
                let token = source.read().await?;
                self.masked(token).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// The secret, from now on masked in all that is told.
    pub(super) fn masked(&self, token: SecretString) -> Result<SecretString, String> {
        if let Some(redactor) = &self.redactor {
            redactor.learn(&token).map_err(|error| error.to_string())?;
        }
        if let Some(Keeper(keep)) = &self.keeper {
            keep(&token);
        }
        Ok(token)
    }
}

impl Asked {
    fn last(&self) -> Option<SecretString> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }

    async fn read(&self) -> Result<SecretString, String> {
        match (self.ask)().await {
            Ok(token) => {
                let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
                *last = Some(token.clone());
                Ok(token)
            }
            Err(why) => self.last().ok_or(why),
        }
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
            Self::Asked(asked) => asked.read().await,
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
    async fn each_token_is_masked_before_it_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let redactor = Arc::new(Redactor::none());
        let source = TokenSource::File(path.clone());
        let host = Some("example.com".to_owned());
        let credentials = Credentials::from_settings(&source, host, Vec::new());
        let credentials = credentials.masked_by(Arc::clone(&redactor));
        for token in ["t-number-one", "t-number-two"] {
            std::fs::write(&path, token).unwrap();
            let given = credentials.token(&url("https://example.com/r")).await;
            assert_eq!(given.unwrap().unwrap().expose_secret(), token);
            let said = format!("server says: {token}?");
            assert_eq!(&*redactor.text(said.as_bytes()), b"server says: ***?");
        }
    }

    #[tokio::test]
    async fn who_is_asked_and_does_not_answer_has_said_it_before() {
        let answers = Arc::new(Mutex::new(vec![Err("gone".to_owned()), Ok("t-new")]));
        let ask = move || -> BoxFuture<'static, Result<SecretString, String>> {
            let next = answers.lock().unwrap().pop();
            let next = next.unwrap_or_else(|| Err("gone for good".to_owned()));
            Box::pin(async move { next.map(SecretString::from) })
        };
        let host = "example.com".to_owned();
        let credentials = Credentials::asked(Arc::new(ask), Some("t-old".into()), host);
        let mut given = Vec::new();
        for _ in 0..3 {
            let token = credentials.token(&url("https://example.com/r")).await;
            given.push(token.unwrap().unwrap().expose_secret().to_owned());
        }
        assert_eq!(given, ["t-new"; 3]);
        let never = || -> BoxFuture<'static, Result<SecretString, String>> {
            Box::pin(async { Err("gone".to_owned()) })
        };
        let credentials = Credentials::asked(Arc::new(never), None, "example.com".to_owned());
        assert!(credentials.known().await.is_none());
        let error = credentials.token(&url("https://example.com/r")).await;
        assert!(error.unwrap_err().to_string().contains("gone"));
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
