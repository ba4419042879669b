//! A push to a server over HTTP: git's protocol, version 0, as far as one branch needs it.
//!
//! The pack was made elsewhere, without the token; here is the token, and no repository. Nothing is
//! forced: the server is told which commit the branch is at now, and refuses when that has changed.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{self, HeaderMap};
use reqwest::{Body, Client, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::PushError;
use crate::workspace::resolver;
use crate::workspace::url::Reach;

/// No commit: the branch is new.
pub(super) const NONE: &str = "0000000000000000000000000000000000000000";

/// Until a server has answered.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// All of one push.
pub(super) const LIMIT: Duration = Duration::from_mins(5);
/// What a server says of its refs: a hundred thousand of them take ten megabytes.
const LARGEST_ANSWER: usize = 64 << 20;
/// One read of the pack.
pub(super) const CHUNK: usize = 64 * 1024;

/// A server's side of one repository.
pub(super) struct Server {
    pub(super) client: Client,
    /// Without a slash at its end.
    pub(super) url: String,
    pub(super) address: Url,
    pub(super) reach: Reach,
    login: Login,
}

/// What shows a server who asks.
enum Login {
    Nothing,
    Token(SecretString),
    /// As the server itself said.
    Headers(HeaderMap),
}

impl Login {
    fn of(token: Option<SecretString>) -> Self {
        token.map_or(Self::Nothing, Self::Token)
    }
}

/// A ref that the server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Advertised {
    pub(super) name: String,
    pub(super) commit: String,
}

/// A branch to move, and the pack that it needs.
pub(super) struct Update<'a> {
    pub(super) reference: &'a str,
    pub(super) old: Option<&'a str>,
    pub(super) new: &'a str,
    pub(super) pack: File,
    pub(super) pack_at: u64,
}

impl Server {
    pub(super) fn new(
        url: &Url,
        token: Option<SecretString>,
        reach: Reach,
    ) -> Result<Self, PushError> {
        let client = Client::builder()
            .tls_backend_preconfigured((*crate::tls::client_config()).clone())
            // Some servers know git by its name alone.
            .user_agent(concat!("git/agent-runner-", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_LIMIT)
            .timeout(LIMIT)
            // A redirect would take the token along.
            .redirect(reqwest::redirect::Policy::none());
        let client = resolver::within(client, reach).build();
        Ok(Self {
            client: client.map_err(network)?,
            url: url.as_str().trim_end_matches('/').to_owned(),
            address: url.clone(),
            reach,
            login: Login::of(token),
        })
    }

    /// The same, asked with another token.
    pub(super) fn with_token(mut self, token: Option<SecretString>) -> Self {
        self.login = Login::of(token);
        self
    }

    /// The same, asked with these headers.
    pub(super) fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.login = Login::Headers(headers);
        self
    }

    /// The refs that the server has.
    pub(super) async fn refs(&self) -> Result<Vec<Advertised>, PushError> {
        let url = format!("{}/info/refs?service=git-receive-pack", self.url);
        let answer = self.authorized(self.client.get(url)).send().await;
        let body = body(answer.map_err(network)?).await?;
        advertised(&body)
    }

    /// Moves a branch.
    pub(super) async fn update(&self, update: Update<'_>) -> Result<(), PushError> {
        let head = command(update.old.unwrap_or(NONE), update.new, update.reference);
        let mut pack = update.pack;
        let length = pack.seek(SeekFrom::End(0))?.saturating_sub(update.pack_at);
        pack.seek(SeekFrom::Start(update.pack_at))?;
        let total = head.len() as u64 + length;
        let url = format!("{}/git-receive-pack", self.url);
        let request = self
            .authorized(self.client.post(url))
            .header(
                header::CONTENT_TYPE,
                "application/x-git-receive-pack-request",
            )
            .header(header::CONTENT_LENGTH, total)
            .body(Body::wrap_stream(chunks(head, pack)));
        let answer = request.send().await.map_err(network)?;
        verdict(&body(answer).await?, update.reference)
    }

    pub(super) fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.login {
            // Hosts take any user name beside a token; this one is GitHub's own.
            Login::Token(token) => {
                request.basic_auth("x-access-token", Some(token.expose_secret()))
            }
            Login::Headers(headers) => request.headers(headers.clone()),
            Login::Nothing => request,
        }
    }
}

/// The head, then the file's rest.
pub(super) fn chunks(
    head: Vec<u8>,
    file: File,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    let first = Some(Bytes::from(head));
    futures_util::stream::unfold((first, file), |(first, mut file)| async move {
        if let Some(head) = first {
            return Some((Ok(head), (None, file)));
        }
        let mut chunk = vec![0; CHUNK];
        match file.read(&mut chunk) {
            Ok(0) => None,
            Ok(count) => {
                chunk.truncate(count);
                Some((Ok(Bytes::from(chunk)), (None, file)))
            }
            Err(error) => Some((Err(error), (None, file))),
        }
    })
}

async fn body(answer: Response) -> Result<Vec<u8>, PushError> {
    match answer.status() {
        status if status.is_success() => {}
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) => {
            return Err(PushError::Unauthorized(status));
        }
        status => return Err(PushError::Network(format!("it answers {status}"))),
    }
    content(answer).await
}

/// What an answer holds, whatever its status.
pub(super) async fn content(mut answer: Response) -> Result<Vec<u8>, PushError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(network)? {
        if body.len() + chunk.len() > LARGEST_ANSWER {
            return Err(PushError::Network("its answer is too long".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

pub(super) fn network(error: reqwest::Error) -> PushError {
    let mut text = String::new();
    let error = error.without_url();
    let mut next: Option<&dyn std::error::Error> = Some(&error);
    while let Some(cause) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    PushError::Network(text)
}

/// What moves a branch; the pack follows it.
pub(super) fn command(old: &str, new: &str, reference: &str) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let command = format!("{old} {new} {reference}\0 report-status agent=agent-runner/{version}");
    let mut head = line(&command);
    head.extend_from_slice(b"0000");
    head
}

/// A line of the protocol: its length in four hex digits, then its bytes.
fn line(text: &str) -> Vec<u8> {
    format!("{:04x}{text}", text.len() + 4).into_bytes()
}

/// The lines of an answer; the empty one stands for a flush.
fn lines(mut bytes: &[u8]) -> Result<Vec<&[u8]>, PushError> {
    let broken = || PushError::Network("its answer is none of git's".to_owned());
    let mut lines = Vec::new();
    while !bytes.is_empty() {
        let (digits, rest) = bytes.split_at_checked(4).ok_or_else(broken)?;
        let digits = std::str::from_utf8(digits).map_err(|_| broken())?;
        let length = usize::from_str_radix(digits, 16).map_err(|_| broken())?;
        let (content, rest) = match length {
            0 => (&[][..], rest),
            length => {
                let content = length
                    .checked_sub(4)
                    .and_then(|length| rest.split_at_checked(length));
                content.ok_or_else(broken)?
            }
        };
        lines.push(content.strip_suffix(b"\n").unwrap_or(content));
        bytes = rest;
    }
    Ok(lines)
}

fn advertised(body: &[u8]) -> Result<Vec<Advertised>, PushError> {
    match lines(body)?.first() {
        Some(&b"# service=git-receive-pack") => refs_in(body),
        _ => Err(PushError::Network("it is no git server".to_owned())),
    }
}

/// The refs of an advertisement.
pub(super) fn refs_in(said: &[u8]) -> Result<Vec<Advertised>, PushError> {
    let mut refs = Vec::new();
    for line in lines(said)?.iter().filter(|line| !line.is_empty()) {
        let named = line.split(|byte| *byte == 0).next().unwrap_or_default();
        let text = String::from_utf8_lossy(named);
        let Some((commit, name)) = text.split_once(' ') else {
            continue;
        };
        let is_commit = commit.len() == NONE.len() && commit.bytes().all(|b| b.is_ascii_hexdigit());
        // A repository without refs says so under a name that is none.
        if is_commit && commit != NONE {
            refs.push(Advertised {
                name: name.to_owned(),
                commit: commit.to_owned(),
            });
        }
    }
    Ok(refs)
}

pub(super) fn verdict(body: &[u8], reference: &str) -> Result<(), PushError> {
    let mut taken = false;
    for line in lines(body)? {
        let text = String::from_utf8_lossy(line);
        let text: String = text.chars().filter(|c| !c.is_control()).take(500).collect();
        match text.split_once(' ') {
            Some(("unpack", "ok")) => {}
            Some(("ok", name)) if name == reference => taken = true,
            Some(("unpack" | "ng", why)) => return Err(PushError::Refused(why.to_owned())),
            _ => {}
        }
    }
    if taken {
        return Ok(());
    }
    Err(PushError::Network(
        "it does not say whether the push was taken".to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "1111111111111111111111111111111111111111";

    fn answer(texts: &[&str]) -> Vec<u8> {
        let parts = texts.iter().map(|text| match *text {
            "" => b"0000".to_vec(),
            text => line(text),
        });
        parts.collect::<Vec<_>>().concat()
    }

    #[test]
    fn refs_are_read_from_what_a_server_says() {
        let head = "# service=git-receive-pack\n";
        let first = format!("{ONE} refs/heads/main\0report-status ofs-delta\n");
        let body = answer(&[head, "", &first, &format!("{ONE} refs/tags/v1\n"), ""]);
        let names: Vec<_> = advertised(&body)
            .unwrap()
            .into_iter()
            .map(|found| found.name)
            .collect();
        assert_eq!(names, ["refs/heads/main", "refs/tags/v1"]);
        let empty = format!("{NONE} capabilities^{{}}\0report-status\n");
        assert_eq!(advertised(&answer(&[head, "", &empty, ""])).unwrap(), []);
    }

    #[test]
    fn what_is_no_answer_of_gits_is_an_error_and_no_panic() {
        for body in [
            &b"<html>"[..],
            b"0003",
            b"ffff",
            b"0008ab",
            b"",
            b"zzzz",
            b"0004",
        ] {
            assert!(advertised(body).is_err(), "{body:?}");
        }
    }

    #[test]
    fn only_a_branch_that_the_server_took_is_pushed() {
        let of = |texts: &[&str]| verdict(&answer(texts), "refs/heads/a");
        assert!(of(&["unpack ok\n", "ok refs/heads/a\n", ""]).is_ok());
        for texts in [
            &["unpack ok\n", ""][..],
            &["unpack ok\n", "ok refs/heads/b\n", ""],
            &["unpack ok\n", "ng refs/heads/a non-fast-forward\n", ""],
            &[
                "unpack index-pack abnormal exit\n",
                "ng refs/heads/a unpacker error\n",
                "",
            ],
        ] {
            assert!(of(texts).is_err(), "{texts:?}");
        }
    }
}
