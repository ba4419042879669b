//! One request to a git server and its answer, as a stream that is written first and then read.

use std::io::{self, Read, Write};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use git2::ErrorCode;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Body, Client, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use super::failed;
use crate::workspace::resolver;
use crate::workspace::url::Reach;

/// A server that accepts no connection for so long is down.
const CONNECT: Duration = Duration::from_secs(30);
/// A server that says nothing for so long, not even that it is counting, has gone.
const SILENCE: Duration = Duration::from_mins(1);
/// A request up to this size is sent whole, a larger one in pieces, as git itself does: some servers
/// want to know a small request's length.
const WHOLE: usize = 1 << 20;
/// What a server may say of its refs: a million of them take as much. All of it is held in memory.
const LARGEST_LISTING: u64 = 128 << 20;
/// Pieces on their way to the socket, each of libgit2's size (64 KiB at most).
const PIECES: usize = 4;

/// The client, and the runtime that it needs. Only blocked on, never shared by two requests at once.
pub(super) struct Line {
    client: Client,
    runtime: Runtime,
}

impl Line {
    /// Trusts `ca_file` besides the machine's roots.
    pub(super) fn open(ca_file: Option<&Path>, reach: Reach) -> Result<Self, String> {
        let tls = crate::tls::client_config_with(ca_file)?;
        let client = resolver::within(Client::builder(), reach)
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            // A token must not follow to another host, and no address is asked that nobody checked.
            .redirect(Policy::none())
            .user_agent(concat!("git/agent-runner-", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| described(&error))?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { client, runtime })
    }
}

/// A server's no, or none at all.
#[derive(Debug)]
pub(super) struct Refusal {
    status: Option<StatusCode>,
    message: String,
}

impl Refusal {
    pub(super) fn is_unauthorized(&self) -> bool {
        self.status == Some(StatusCode::UNAUTHORIZED)
    }

    pub(super) fn into_error(self) -> git2::Error {
        let code = match self.status {
            Some(StatusCode::UNAUTHORIZED) => ErrorCode::Auth,
            _ if self.message.contains("certificate") => ErrorCode::Certificate,
            _ => ErrorCode::GenericError,
        };
        failed(code, &self.message)
    }
}

type Sending = Pin<Box<dyn Future<Output = Result<Response, reqwest::Error>> + Send>>;

enum Stage {
    /// What is to be sent is gathered.
    Gathering(RequestBuilder, Vec<u8>),
    /// It is more than is gathered.
    Sending(Option<mpsc::Sender<io::Result<Bytes>>>, Sending),
    /// The answer comes.
    Receiving(Response, Bytes),
    Over,
}

/// One request and its answer.
pub(super) struct Exchange {
    line: Arc<Line>,
    stage: Stage,
    /// What the answer has to be.
    expected: String,
    /// So much of the answer may still come, in bytes.
    left: u64,
}

impl Exchange {
    /// Asks what a service has.
    pub(super) fn list(
        line: Arc<Line>,
        base: &str,
        service: &str,
        token: Option<SecretString>,
    ) -> Result<Self, Refusal> {
        let url = format!("{base}/info/refs?service={service}");
        let request = with_token(line.client.get(url), token);
        let expected = format!("application/x-{service}-advertisement");
        let answer = line.runtime.block_on(async { request.send().await });
        let answer = checked(answer, &expected)?;
        Ok(Self {
            line,
            stage: Stage::Receiving(answer, Bytes::new()),
            expected,
            left: LARGEST_LISTING,
        })
    }

    /// A request to a service, still to be written.
    pub(super) fn post(
        line: Arc<Line>,
        base: &str,
        service: &str,
        token: Option<SecretString>,
    ) -> Self {
        let request = with_token(line.client.post(format!("{base}/{service}")), token)
            .header(CONTENT_TYPE, format!("application/x-{service}-request"));
        Self {
            line,
            stage: Stage::Gathering(request, Vec::new()),
            expected: format!("application/x-{service}-result"),
            // A pack is counted where it is taken in.
            left: u64::MAX,
        }
    }

    /// Begins to send in pieces.
    fn begin(request: RequestBuilder, gathered: Vec<u8>) -> Stage {
        let (pieces, mut rest) = mpsc::channel(PIECES);
        let mut first = Some(Ok(Bytes::from(gathered)));
        let body = futures_util::stream::poll_fn(move |context| match first.take() {
            Some(first) => std::task::Poll::Ready(Some(first)),
            None => rest.poll_recv(context),
        });
        let request = request.body(Body::wrap_stream(body));
        // Not asked for before the runtime is there.
        let sending = async { request.send().await };
        Stage::Sending(Some(pieces), Box::pin(sending))
    }

    /// Sends what is left and waits for the answer.
    fn answer(&mut self) -> io::Result<()> {
        let answer = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Gathering(request, body) => self
                .line
                .runtime
                .block_on(async { request.body(body).send().await }),
            Stage::Sending(pieces, sending) => {
                drop(pieces);
                self.line.runtime.block_on(sending)
            }
            other => {
                self.stage = other;
                return Ok(());
            }
        };
        let answer =
            checked(answer, &self.expected).map_err(|refusal| io::Error::other(refusal.message))?;
        self.stage = Stage::Receiving(answer, Bytes::new());
        Ok(())
    }
}

impl Write for Exchange {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Gathering(request, mut gathered) => {
                gathered.extend_from_slice(bytes);
                self.stage = if gathered.len() > WHOLE {
                    Self::begin(request, gathered)
                } else {
                    Stage::Gathering(request, gathered)
                };
            }
            Stage::Sending(Some(pieces), mut sending) => {
                let piece = Bytes::copy_from_slice(bytes);
                let early = self.line.runtime.block_on(async {
                    tokio::select! {
                        answer = &mut sending => Some(answer),
                        // A request that is over without an answer gives its reason when it is read.
                        _ = pieces.send(Ok(piece)) => None,
                    }
                });
                self.stage = match early {
                    None => Stage::Sending(Some(pieces), sending),
                    Some(answer) => {
                        let answer = checked(answer, &self.expected)
                            .map_err(|refusal| io::Error::other(refusal.message))?;
                        Stage::Receiving(answer, Bytes::new())
                    }
                };
            }
            // Answered before all was said: the answer is read, what is still said counts for nothing.
            other => self.stage = other,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Exchange {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.answer()?;
        let Stage::Receiving(answer, rest) = &mut self.stage else {
            return Ok(0);
        };
        if rest.is_empty() {
            let next = self.line.runtime.block_on(answer.chunk());
            *rest = next
                .map_err(|error| io::Error::other(described(&error)))?
                .unwrap_or_default();
            let left = self.left.checked_sub(rest.len() as u64);
            self.left = left.ok_or_else(|| {
                let most = LARGEST_LISTING >> 20;
                io::Error::other(format!("the server lists more than {most} MiB of refs"))
            })?;
        }
        let count = rest.len().min(into.len());
        let given = rest.split_to(count);
        if let Some(place) = into.get_mut(..count) {
            place.copy_from_slice(&given);
        }
        Ok(count)
    }
}

fn with_token(request: RequestBuilder, token: Option<SecretString>) -> RequestBuilder {
    let Some(token) = token else {
        return request;
    };
    // Hosts take any user name beside a token; this one is GitHub's own.
    request.basic_auth("x-access-token", Some(token.expose_secret()))
}

/// A success that speaks git.
fn checked(answer: Result<Response, reqwest::Error>, expected: &str) -> Result<Response, Refusal> {
    let answer = answer.map_err(|error| Refusal {
        status: None,
        message: described(&error),
    })?;
    let status = answer.status();
    let refused = |message: String| Refusal {
        status: Some(status),
        message,
    };
    if status.is_redirection() {
        return Err(refused(format!(
            "unsupported redirect (status code: {})",
            status.as_u16()
        )));
    }
    if !status.is_success() {
        return Err(refused(format!(
            "unexpected http status code: {}",
            status.as_u16()
        )));
    }
    let kind = answer.headers().get(CONTENT_TYPE);
    if kind.is_none_or(|kind| kind.as_bytes() != expected.as_bytes()) {
        return Err(refused(format!(
            "the server does not speak git's smart protocol: its answer is not {expected}"
        )));
    }
    Ok(answer)
}

/// An error with all its causes, and without the address, which may hold a query.
fn described(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    let mut words = Vec::new();
    while let Some(next) = cause.source() {
        cause = next;
        words.push(cause.to_string());
    }
    if words.is_empty() {
        error.to_string()
    } else {
        words.join(": ")
    }
}
