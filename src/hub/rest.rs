//! REST calls: finding a Hub, creating a session, looking at one.
//!
//! Errors say which call failed and what the Hub said; they never hold a key or a URL's query.

use std::time::Duration;

use reqwest::{Client, Method, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::address::{HubAddress, InvalidAddress};
use super::credentials::Credentials;
use super::file::MAX_FILE;
use crate::ids::SessionId;
use crate::tls;

/// The whole of one call.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A Hub's answer: a session file is the largest.
const MAX_ANSWER: usize = 2 * MAX_FILE;
const USER_AGENT: &str = concat!("agent-runner/", env!("CARGO_PKG_VERSION"));

/// A REST call that failed.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// No answer.
    #[error("{url} cannot be reached: {source}")]
    Unreachable {
        /// Where, without its query.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The key is missing, wrong or not allowed to do this.
    #[error("{url} refuses the key ({status}): {message}")]
    Refused {
        /// Where, without its query.
        url: String,
        /// 401 or 403.
        status: StatusCode,
        /// What the Hub says.
        message: String,
    },
    /// No such session.
    #[error("{url}: not found: {message}")]
    NotFound {
        /// Where, without its query.
        url: String,
        /// What the Hub says.
        message: String,
    },
    /// Any other answer but success.
    #[error("{url} answered {status}: {message}")]
    Failed {
        /// Where, without its query.
        url: String,
        /// The HTTP status.
        status: StatusCode,
        /// What the Hub says.
        message: String,
    },
    /// An answer that is not what the protocol says.
    #[error("{url} gave an answer that makes no sense: {why}")]
    Nonsense {
        /// Where, without its query.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Discovery named a Hub that is none.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
}

impl RestError {
    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Failed { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            _ => false,
        }
    }
}

/// Where to ask for a Hub, when none is given. The caller reads the environment.
#[derive(Debug, Clone, Default)]
pub struct Discovery {
    /// `AGENTUITY_CATALYST_URL`, else `AGENTUITY_TRANSPORT_URL`.
    pub catalyst_url: Option<String>,
    /// `AGENTUITY_REGION`; `usc` when absent.
    pub region: Option<String>,
}

/// A session that the Hub has just made.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Created {
    /// Its id.
    pub session_id: SessionId,
    /// Its state, in the Hub's words.
    pub status: String,
}

/// A session in a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// Its id.
    pub session_id: SessionId,
    /// What it is called.
    #[serde(default)]
    pub label: String,
    /// Its state, in the Hub's words.
    #[serde(default)]
    pub status: String,
    /// Whether somebody leads it.
    #[serde(default)]
    pub runtime_available: bool,
}

#[derive(Deserialize)]
struct SessionList {
    sessions: SessionLists,
}

/// The Hub's two kinds of sessions; to us they are one.
#[derive(Deserialize)]
struct SessionLists {
    #[serde(default)]
    websocket: Vec<Listed>,
    #[serde(default)]
    sandbox: Vec<Listed>,
}

/// A session, as far as a lead needs it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionDetail {
    /// Its id.
    pub session_id: SessionId,
    /// What is to be done.
    #[serde(default)]
    pub task: Option<String>,
    /// Its state, in the Hub's words.
    #[serde(default)]
    pub status: Option<String>,
    /// Which repository to clone.
    #[serde(default)]
    pub repo: Option<Value>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A session file at the Hub.
#[derive(Debug, Clone, Deserialize)]
pub struct FileCopy {
    /// Its name there.
    pub path: String,
    /// Its lines.
    pub content: String,
}

/// A client of one Hub's REST interface.
#[derive(Debug, Clone)]
pub struct RestClient {
    client: Client,
    address: HubAddress,
    credentials: Credentials,
}

impl RestClient {
    /// Proxies are taken from the environment (`HTTPS_PROXY`, `NO_PROXY`), as reqwest does; a Hub
    /// on this machine is reached directly.
    pub fn new(address: HubAddress, credentials: &Credentials) -> Result<Self, RestError> {
        let client = client(&address.to_string(), address.is_loopback())?;
        let credentials = credentials.clone();
        Ok(Self {
            client,
            address,
            credentials,
        })
    }

    /// Where the Hub is.
    pub fn address(&self) -> &HubAddress {
        &self.address
    }

    /// Has the Hub answer, and say whether it takes the key: asks for a list of one session.
    pub async fn ping(&self) -> Result<(), RestError> {
        let mut url = self.address.rest(&["hub", "sessions"]);
        url.query_pairs_mut().append_pair("limit", "1");
        let got: Map<String, Value> = self.ask(&url, None).await?;
        drop(got);
        Ok(())
    }

    /// Creates a session. `request` holds at least `task`.
    pub async fn create_session(&self, request: &Value) -> Result<Created, RestError> {
        let url = self.address.rest(&["hub", "session"]);
        self.ask(&url, Some(request)).await
    }

    /// The newest sessions that are not archived, as the Hub lists them.
    pub async fn sessions(&self) -> Result<Vec<Listed>, RestError> {
        let mut url = self.address.rest(&["hub", "sessions"]);
        url.query_pairs_mut().append_pair("limit", "50");
        let list: SessionList = self.ask(&url, None).await?;
        let SessionLists { websocket, sandbox } = list.sessions;
        Ok(websocket.into_iter().chain(sandbox).collect())
    }

    /// Has a paused session led again; the Hub answers before it is.
    pub async fn resume(&self, id: &SessionId) -> Result<(), RestError> {
        let url = self
            .address
            .rest(&["hub", "session", id.as_str(), "resume"]);
        let nothing = Value::Object(Map::new());
        let answer: Map<String, Value> = self.ask(&url, Some(&nothing)).await?;
        drop(answer);
        Ok(())
    }

    /// Looks at a session.
    pub async fn session(&self, id: &SessionId) -> Result<SessionDetail, RestError> {
        let url = self.address.rest(&["hub", "session", id.as_str()]);
        self.ask(&url, None).await
    }

    /// The session file as the Hub has it; none where the Hub has none, or does not give it.
    pub async fn session_file(&self, id: &SessionId) -> Result<Option<FileCopy>, RestError> {
        let url = self.address.rest(&["hub", "session", id.as_str(), "file"]);
        match self.ask(&url, None).await {
            Ok(copy) => Ok(Some(copy)),
            Err(RestError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives a session another name, of which the Hub tells its participants.
    pub async fn rename(&self, id: &SessionId, label: &str) -> Result<(), RestError> {
        let url = self.address.rest(&["hub", "session", id.as_str()]);
        let body = serde_json::json!({"label": label});
        let answer: Map<String, Value> = self.call(Method::PATCH, &url, Some(&body)).await?;
        drop(answer);
        Ok(())
    }

    /// Gets, or posts `body`.
    async fn ask<T: DeserializeOwned>(
        &self,
        url: &Url,
        body: Option<&Value>,
    ) -> Result<T, RestError> {
        let method = body.map_or(Method::GET, |_| Method::POST);
        self.call(method, url, body).await
    }

    /// A key that is refused is looked up again once.
    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        url: &Url,
        body: Option<&Value>,
    ) -> Result<T, RestError> {
        let mut again = true;
        loop {
            let key = self.credentials.key();
            let mut request = self.client.request(method.clone(), url.clone());
            if let Some(body) = body {
                request = request.json(body);
            }
            let answer = request
                .headers(self.credentials.rest_headers())
                .send()
                .await;
            let unauthorized = matches!(&answer, Ok(a) if a.status() == StatusCode::UNAUTHORIZED);
            if unauthorized && again && self.credentials.renew(key.as_ref()) {
                again = false;
                continue;
            }
            return read(url, answer).await;
        }
    }
}

/// Asks the catalyst service where the Hub is: `GET {catalyst}/coder`. A 421 names the region that
/// knows; it is followed once.
pub async fn discover(
    from: &Discovery,
    credentials: &Credentials,
) -> Result<HubAddress, RestError> {
    let mut base = catalyst(from);
    for _ in 0..2 {
        let (url, answer) = ask(&base, credentials).await?;
        if answer.status() == StatusCode::MISDIRECTED_REQUEST
            && let Some(region) = answer.headers().get("x-agentuity-region")
            && let Ok(region) = region.to_str()
            && region
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            base = region_url(region);
            continue;
        }
        let found: Found = read(&url, Ok(answer)).await?;
        return Ok(HubAddress::parse(&found.url)?);
    }
    Err(RestError::Nonsense {
        url: base,
        why: "every region says that another one knows".to_owned(),
    })
}

#[derive(Deserialize)]
struct Found {
    url: String,
}

async fn ask(base: &str, credentials: &Credentials) -> Result<(Url, Response), RestError> {
    let url = format!("{}/coder", base.trim_end_matches('/'));
    let url = Url::parse(&url).map_err(|e| RestError::Nonsense {
        url: "the catalyst URL".to_owned(),
        why: e.to_string(),
    })?;
    let client = client(&shown(&url), false)?;
    let headers = credentials.rest_headers();
    let answer = client.get(url.clone()).headers(headers).send().await;
    let answer = answer.map_err(|e| unreachable(&url, e))?;
    Ok((url, answer))
}

fn catalyst(from: &Discovery) -> String {
    let url = from.catalyst_url.as_deref().filter(|u| !u.is_empty());
    url.map_or_else(
        || {
            region_url(
                from.region
                    .as_deref()
                    .filter(|r| !r.is_empty())
                    .unwrap_or("usc"),
            )
        },
        str::to_owned,
    )
}

fn region_url(region: &str) -> String {
    match region {
        "local" | "l" => "https://catalyst.agentuity.io".to_owned(),
        region => format!("https://catalyst-{region}.agentuity.cloud"),
    }
}

fn client(url: &str, direct: bool) -> Result<Client, RestError> {
    let tls = if url.starts_with("ws://") {
        // Never used: redirects are not followed.
        tls::without_roots()
    } else {
        (*tls::client_config()).clone()
    };
    let builder = if direct {
        // No proxy knows the way to this machine's own Hub.
        Client::builder().no_proxy()
    } else {
        Client::builder()
    };
    builder
        .tls_backend_preconfigured(tls)
        .user_agent(USER_AGENT)
        .timeout(TIMEOUT)
        // A redirect would take the key along.
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|source| RestError::Unreachable {
            url: url.to_owned(),
            source: source.without_url(),
        })
}

async fn read<T: DeserializeOwned>(
    url: &Url,
    answer: Result<Response, reqwest::Error>,
) -> Result<T, RestError> {
    let mut answer = answer.map_err(|e| unreachable(url, e))?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|e| unreachable(url, e))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(nonsense(url, "it is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|e| nonsense(url, &e.to_string()));
    }
    let (url, reason) = (shown(url), reason(&body));
    if status == StatusCode::NOT_FOUND {
        // A Hub says why; a server of another kind has no such page.
        let message = reason.unwrap_or_else(|| "what answers there is no Coder Hub".to_owned());
        return Err(RestError::NotFound { url, message });
    }
    let message = reason.unwrap_or_else(|| "no reason given".to_owned());
    Err(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RestError::Refused {
            url,
            status,
            message,
        },
        _ => RestError::Failed {
            url,
            status,
            message,
        },
    })
}

/// What a Hub says in an error body: `error` when it is text, else `message`.
fn reason(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let text = text("error").or_else(|| text("message"))?;
    Some(text.chars().take(500).collect())
}

fn unreachable(url: &Url, source: reqwest::Error) -> RestError {
    RestError::Unreachable {
        url: shown(url),
        source: source.without_url(),
    }
}

fn nonsense(url: &Url, why: &str) -> RestError {
    RestError::Nonsense {
        url: shown(url),
        why: why.to_owned(),
    }
}

fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.into()
}

#[cfg(test)]
mod tests;
