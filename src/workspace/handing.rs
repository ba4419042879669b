//! Handing the agent's git a token: a socket that serves nothing else.
//!
//! Where the agent pushes by itself, its git asks a helper (`agent-runner git-credential`), and that
//! asks here. Only the agent's user is answered, and only for the session's own repositories, by
//! scheme, host and path. The token is read from its source for each request, so that a short-lived
//! one serves as long as it lives, and stands in no file, argument or variable of the agent's.
//!
//! ```text
//! git ── host, path ──► helper ── one JSON line ──► socket ──► token of this repository, or why not
//! ```

use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use super::credentials::{Credentials, host_of};
use super::url::RepoUrl;
use crate::files;
use crate::private_socket::{Caller, Door, PrivateSocket};

/// The name of the hidden command that is the helper.
pub const HELPER: &str = "git-credential";

/// The socket's name within its folder.
const SOCKET: &str = "git.sock";
/// A request names a host and a path.
const LONGEST: u64 = 16 * 1024;
/// The helper's patience: longer than any source of a token has.
const ANSWER_LIMIT: Duration = Duration::from_secs(45);

/// What git wants a password for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Question {
    protocol: String,
    host: String,
    #[serde(default)]
    path: String,
}

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Login { username: String, password: String },
    Refused(String),
}

/// Answers the agent's git.
#[derive(Debug)]
pub struct Handing {
    socket: PrivateSocket,
    urls: Vec<RepoUrl>,
    credentials: Credentials,
}

impl Handing {
    /// Makes the socket in `folder`, for the agent's user; `urls` are the session's repositories.
    pub fn open(
        folder: &Path,
        urls: Vec<RepoUrl>,
        credentials: Credentials,
        uid: u32,
    ) -> io::Result<Self> {
        files::create_passable_dir(folder)?;
        Ok(Self {
            socket: PrivateSocket::open(folder, SOCKET, uid)?,
            urls,
            credentials,
        })
    }

    /// Answers until it is dropped, one after the other: a git asks now and then.
    pub async fn serve(self) {
        loop {
            let caller = self.socket.accept().await;
            if let Err(error) = self.answer(caller).await {
                tracing::debug!(%error, "a git got no answer");
            }
        }
    }

    async fn answer(&self, mut caller: Caller) -> io::Result<()> {
        let line = caller.request(LONGEST).await?;
        let answer = if caller.is_own() {
            self.judge(&line).await
        } else {
            Answer::Refused("only the session's agent is answered".to_owned())
        };
        caller.answer(&serde_json::to_vec(&answer)?).await
    }

    async fn judge(&self, line: &[u8]) -> Answer {
        let Ok(question) = serde_json::from_slice::<Question>(line) else {
            return Answer::Refused("the request makes no sense".to_owned());
        };
        let Some(url) = self.urls.iter().find(|url| question.is_about(url)) else {
            return Answer::Refused(format!(
                "{}://{}/{} is none of the session's repositories",
                question.protocol, question.host, question.path
            ));
        };
        match self.credentials.token(url).await {
            Ok(Some(token)) => Answer::Login {
                username: "x-access-token".to_owned(),
                password: token.expose_secret().to_owned(),
            },
            Ok(None) => Answer::Refused(format!("there is no token for {url}")),
            Err(error) => Answer::Refused(error.to_string()),
        }
    }
}

impl Question {
    /// Reads what git writes to a helper: `key=value` lines.
    fn read(text: &str) -> Self {
        let value = |key: &str| {
            let lines = text.lines().filter_map(|line| line.split_once('='));
            let mut found = lines
                .filter(|(name, _)| *name == key)
                .map(|(_, value)| value.to_owned());
            found.next_back().unwrap_or_default()
        };
        Self {
            protocol: value("protocol"),
            host: value("host"),
            path: value("path"),
        }
    }

    /// Whether it is that repository, or its LFS objects.
    fn is_about(&self, url: &RepoUrl) -> bool {
        let Some(remote) = url.remote() else {
            return false;
        };
        let own = remote.path().trim_matches('/');
        let asked = self.path.trim_matches('/');
        let asked = asked.strip_suffix("/info/lfs").unwrap_or(asked);
        self.protocol == remote.scheme()
            && Some(&self.host) == host_of(url).as_ref()
            && asked == own
    }
}

/// The helper's side: reads git's question, asks the socket in `folder`, writes git's answer to
/// `out`. An error says why there is none; git then goes on without.
pub fn ask(folder: &Path, question: &mut dyn io::Read, out: &mut dyn io::Write) -> io::Result<()> {
    let mut text = String::new();
    question.take(LONGEST).read_to_string(&mut text)?;
    let connection = Door::open(folder, SOCKET)?.connect()?;
    let question = serde_json::to_vec(&Question::read(&text))?;
    let answer = connection.ask(&question, LONGEST * 4, ANSWER_LIMIT)?;
    match serde_json::from_slice(&answer)? {
        Answer::Login { username, password } => {
            writeln!(out, "username={username}\npassword={password}")
        }
        Answer::Refused(why) => Err(io::Error::new(io::ErrorKind::PermissionDenied, why)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::future::BoxFuture;
    use secrecy::SecretString;

    use super::*;

    fn url(text: &str) -> RepoUrl {
        RepoUrl::parse(text, Path::new("/")).unwrap()
    }

    fn handing(folder: &Path, uid: u32) -> Handing {
        let urls = vec![url("https://example.com/a/b.git")];
        let token = SecretString::from("t-0k3n");
        let never = || -> BoxFuture<'static, Result<SecretString, String>> {
            Box::pin(async { Err("nobody answers".to_owned()) })
        };
        let host = "example.com".to_owned();
        let credentials = Credentials::asked(Arc::new(never), Some(token), host);
        Handing::open(folder, urls, credentials, uid).unwrap()
    }

    async fn asked(folder: &Path, question: &str) -> Result<String, String> {
        let (folder, question) = (folder.to_owned(), question.to_owned());
        let asking = tokio::task::spawn_blocking(move || {
            let mut out = Vec::new();
            ask(&folder, &mut question.as_bytes(), &mut out)
                .map(|()| String::from_utf8(out).unwrap())
                .map_err(|error| error.to_string())
        });
        asking.await.unwrap()
    }

    #[tokio::test]
    async fn the_token_is_given_for_the_sessions_own_repository_alone() {
        let dir = tempfile::tempdir().unwrap();
        // Longer than a socket's address may be.
        let folder = dir.path().join("x".repeat(120));
        let uid = rustix::process::getuid().as_raw();
        let handing = handing(&folder, uid);
        let questions = async {
            let of = |protocol: &str, host: &str, path: &str| {
                format!("protocol={protocol}\nhost={host}\npath={path}\n\n")
            };
            for path in ["a/b.git", "a/b.git/info/lfs"] {
                let said = asked(&folder, &of("https", "example.com", path))
                    .await
                    .unwrap();
                assert_eq!(said, "username=x-access-token\npassword=t-0k3n\n");
            }
            for question in [
                of("http", "example.com", "a/b.git"),
                of("https", "example.org", "a/b.git"),
                of("https", "example.com:8443", "a/b.git"),
                of("https", "example.com", "a/other.git"),
                of("https", "example.com", "a/b.git/../c"),
                of("https", "example.com", ""),
                String::new(),
                "x".repeat(100_000),
            ] {
                let why = asked(&folder, &question).await.unwrap_err();
                assert!(!why.contains("t-0k3n"), "{why}");
            }
        };
        tokio::select! {
            () = handing.serve() => unreachable!(),
            () = questions => {}
        }
    }

    #[tokio::test]
    async fn another_user_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let stranger = rustix::process::getuid().as_raw() + 1;
        let handing = handing(dir.path(), stranger);
        let question = "protocol=https\nhost=example.com\npath=a/b.git\n\n";
        let why = tokio::select! {
            () = handing.serve() => unreachable!(),
            said = asked(dir.path(), question) => said.unwrap_err(),
        };
        assert!(why.contains("only the session's agent"), "{why}");
    }
}
