//! Uploading what commits leave to Git LFS: its batch API with plain uploads, as far as a push needs
//! it.
//!
//! The server is asked first, and only what it wants is read from the workspace. Each content is
//! checked against its pointer before it leaves. The token goes to the repository's own server alone;
//! other addresses that the server names get what it says for them, over https, and a server of the
//! public network cannot name one that is not. Locks, other ways of transfer and `.lfsconfig`, which
//! the agent writes, are left out.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Body, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::content::{Contents, Uploaded, refused};
use super::pointer::Pointer;
use super::receive::{self, LIMIT, Server};
use super::{PushError, remove};
use crate::workspace::policy::private_name;
use crate::workspace::url::Reach;

/// As many as Git LFS itself asks for at a time.
const BATCH: usize = 100;
/// An upload that is slower than so many bytes in a second is given up.
const SLOWEST: u64 = 128 * 1024;
const JSON: &str = "application/vnd.git-lfs+json";

/// A server's side of Git LFS.
pub(super) struct Store<'a> {
    pub(super) server: &'a Server,
    /// Where its API is, without a slash at its end.
    pub(super) endpoint: String,
    pub(super) contents: Contents<'a>,
    pub(super) reference: &'a str,
    /// All of a push together, in bytes.
    pub(super) most: u64,
}

#[derive(Deserialize)]
struct Batch {
    transfer: Option<String>,
    objects: Vec<Answered>,
}

#[derive(Deserialize)]
struct Answered {
    oid: String,
    #[serde(default)]
    authenticated: bool,
    actions: Option<Actions>,
    error: Option<Refusal>,
}

/// Nothing is to be done with what the server has.
#[derive(Deserialize)]
struct Actions {
    upload: Option<Action>,
    verify: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    header: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

impl Store<'_> {
    /// Uploads what the server does not have.
    pub(super) async fn upload(&self, pointers: &[Pointer]) -> Result<Uploaded, PushError> {
        let mut uploaded = Uploaded::default();
        for some in pointers.chunks(BATCH) {
            let answers = self.batch(some).await?;
            for pointer in some {
                let answer = answers.iter().find(|answer| answer.oid == pointer.oid);
                let Some(answer) = answer else {
                    return Err(refused(pointer, "the server says nothing of it"));
                };
                if let Some(error) = &answer.error {
                    return Err(refused(pointer, &shown(&error.message)));
                }
                let Some(actions) = &answer.actions else {
                    continue;
                };
                let Some(action) = &actions.upload else {
                    continue;
                };
                uploaded = uploaded.and(pointer, self.most)?;
                let sent = self.send(pointer, answer, action).await;
                crash_point!("push.content_sent");
                remove(&self.contents.temporary);
                sent?;
                if let Some(verify) = &actions.verify {
                    self.verify(pointer, answer, verify).await?;
                }
            }
        }
        Ok(uploaded)
    }

    /// What the server wants of these.
    async fn batch(&self, pointers: &[Pointer]) -> Result<Vec<Answered>, PushError> {
        let objects = pointers
            .iter()
            .map(|Pointer { oid, size }| json!({"oid": oid, "size": size}));
        let asked = json!({
            "operation": "upload",
            "transfers": ["basic"],
            "ref": {"name": self.reference},
            "objects": objects.collect::<Vec<_>>(),
            "hash_algo": "sha256",
        });
        let url = format!("{}/objects/batch", self.endpoint);
        let request = self.server.client.post(url);
        let request = self.server.authorized(request).header(header::ACCEPT, JSON);
        let answer = with_json(request, &asked).send().await;
        let answer = taken(answer.map_err(receive::network)?, true).await?;
        let odd = |_| PushError::Lfs("the server's answer is none of Git LFS".to_owned());
        let batch: Batch = serde_json::from_slice(&answer).map_err(odd)?;
        match batch.transfer.as_deref() {
            None | Some("basic") => Ok(batch.objects),
            Some(other) => Err(PushError::Lfs(format!(
                "the server wants the transfer `{}`, which only git-lfs may know; git.push = \"agent\" \
                 has the agent's git push with it",
                shown(other)
            ))),
        }
    }

    async fn send(
        &self,
        pointer: &Pointer,
        answer: &Answered,
        action: &Action,
    ) -> Result<(), PushError> {
        let content = self.contents.checked(pointer).await?;
        let url = self.address(action)?;
        let slow = Duration::from_secs(pointer.size / SLOWEST);
        let request = self.server.client.put(url.clone()).timeout(LIMIT + slow);
        let (request, own) = self.as_told(request, &url, answer, action)?;
        let request = request
            .header(header::CONTENT_LENGTH, pointer.size)
            .body(Body::wrap_stream(receive::chunks(Vec::new(), content)));
        let sent = request.send().await.map_err(receive::network)?;
        taken(sent, own).await.map(drop)
    }

    async fn verify(
        &self,
        pointer: &Pointer,
        answer: &Answered,
        action: &Action,
    ) -> Result<(), PushError> {
        let url = self.address(action)?;
        let request = self.server.client.post(url.clone());
        let (request, own) = self.as_told(request, &url, answer, action)?;
        let asked = json!({"oid": pointer.oid, "size": pointer.size});
        let sent = with_json(request, &asked).send().await;
        taken(sent.map_err(receive::network)?, own).await.map(drop)
    }

    /// Where the server sends us, if we may go there.
    fn address(&self, action: &Action) -> Result<Url, PushError> {
        let url = Url::parse(&action.href).ok();
        let url = url.ok_or_else(|| PushError::Lfs("the server names no address".to_owned()))?;
        match elsewhere(&self.server.address, self.server.reach, &url) {
            None => Ok(url),
            Some(why) => Err(PushError::Lfs(format!(
                "the server names `{}`, which is refused: {why}",
                url.host_str().unwrap_or_default()
            ))),
        }
    }

    /// With the headers that the server gave, and whether the token is among them.
    fn as_told(
        &self,
        request: RequestBuilder,
        url: &Url,
        answer: &Answered,
        action: &Action,
    ) -> Result<(RequestBuilder, bool), PushError> {
        let mut headers = HeaderMap::new();
        for (name, value) in action.header.iter().flatten() {
            let odd = || PushError::Lfs("the server gives a header that is none".to_owned());
            let name = HeaderName::try_from(name).map_err(|_| odd())?;
            let value = HeaderValue::try_from(value).map_err(|_| odd())?;
            // These follow from what is sent.
            let ours = [
                header::HOST,
                header::CONTENT_LENGTH,
                header::TRANSFER_ENCODING,
            ];
            if !ours.contains(&name) {
                headers.insert(name, value);
            }
        }
        let own = is_same_server(&self.server.address, url)
            && !answer.authenticated
            && !headers.contains_key(header::AUTHORIZATION);
        let request = if own {
            self.server.authorized(request)
        } else {
            request
        };
        headers
            .entry(header::CONTENT_TYPE)
            .or_insert(HeaderValue::from_static("application/octet-stream"));
        Ok((request.headers(headers), own))
    }
}

/// Where a repository's server has Git LFS, as git-lfs itself looks for it.
pub(super) fn endpoint(repository: &str) -> String {
    let url = repository.strip_suffix(".git").unwrap_or(repository);
    format!("{url}.git/info/lfs")
}

/// Where a server that is reached by ssh has contents taken to, if we may go there: by https, or to
/// itself where it is of one's own network.
pub(super) fn named_by_ssh(host: &str, href: &str) -> Result<Url, PushError> {
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let odd = |_| PushError::Lfs("the server names no address".to_owned());
    let own = Url::parse(&format!("https://{host}/")).map_err(odd)?;
    let url = Url::parse(href.trim_end_matches('/')).map_err(odd)?;
    let is_near = own.host() == url.host() && private_name(&own).is_some();
    if is_near && url.scheme() == "http" {
        return Ok(url);
    }
    match elsewhere(&own, Reach::Anywhere, &url) {
        None => Ok(url),
        Some(why) => Err(PushError::Lfs(format!(
            "the server names `{}`, which is refused: {why}",
            url.host_str().unwrap_or_default()
        ))),
    }
}

fn with_json(request: RequestBuilder, value: &Value) -> RequestBuilder {
    let json = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(JSON))]);
    request.headers(json).body(value.to_string())
}

fn is_same_server(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

/// Why an address is refused that the repository's server names.
fn elsewhere(own: &Url, reach: Reach, url: &Url) -> Option<&'static str> {
    if is_same_server(own, url) {
        return None;
    }
    if url.scheme() != "https" {
        return Some("it is no https address");
    }
    match reach {
        Reach::Public if url.port().is_some() => Some("it names a port of its own"),
        // A server of one's own network may keep its files there.
        Reach::Anywhere if private_name(own).is_some() => None,
        Reach::Public | Reach::Anywhere => private_name(url),
    }
}

/// What a server answered, if it took what was sent.
async fn taken(answer: Response, with_token: bool) -> Result<Vec<u8>, PushError> {
    let status = answer.status();
    if status == StatusCode::UNAUTHORIZED && with_token {
        return Err(PushError::Unauthorized(status));
    }
    let content = receive::content(answer).await?;
    if status.is_success() {
        return Ok(content);
    }
    let said: Option<Refusal> = serde_json::from_slice(&content).ok();
    let said = said.map_or_else(String::new, |said| format!(": {}", shown(&said.message)));
    Err(PushError::Lfs(format!("the server answers {status}{said}")))
}

/// A stranger's words, in one line.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}

#[cfg(test)]
mod tests;
