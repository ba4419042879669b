//! One WebSocket's two directions, with the limits that keep a dead peer from staying.

use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};

use super::Refusal;
use crate::clock::Clock;
use crate::hub::protocol::{CloseCode, Rejection};
use crate::local_hub::frame;

/// How often a quiet peer is pinged. The official TUI lead sends no pings of its own.
pub(super) const PING_EVERY: Duration = Duration::from_secs(20);

/// How long nothing, not even a pong, may come before the peer counts as gone.
const SILENCE: Duration = Duration::from_mins(1);

/// How long a peer may leave us unable to write one frame.
const SEND_PATIENCE: Duration = Duration::from_mins(1);

/// How long a peer may take to answer our close frame.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Why a conversation ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ended {
    /// The peer closed, or is not there any more.
    Gone,
    /// We close.
    Close(CloseCode, &'static str),
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Self::Close(refusal.code, refusal.why)
    }
}

/// A connected client.
pub(super) struct Connection {
    pub(super) writer: Writer,
    pub(super) reader: Reader,
}

/// The sending direction.
pub(super) struct Writer(SplitSink<Socket, Message>);

/// The receiving direction.
pub(super) struct Reader(SplitStream<Socket>);

impl Connection {
    pub(super) fn new(socket: Socket) -> Self {
        let (sink, stream) = socket.split();
        Self {
            writer: Writer(sink),
            reader: Reader(stream),
        }
    }

    /// The next text frame.
    pub(super) async fn text(&mut self) -> Result<Utf8Bytes, Ended> {
        self.reader.text().await
    }

    /// Says no, twice, and closes.
    pub(super) async fn refuse(mut self, refusal: Refusal, session: Option<&str>) {
        let rejection = rejection(refusal, session);
        if self.writer.send(frame::rejected(&rejection)).await.is_ok() {
            self.close(Ended::from(refusal)).await;
        }
    }

    /// Closes as `ended` says and waits a little for the peer to do the same.
    pub(super) async fn close(mut self, ended: Ended) {
        let Ended::Close(code, why) = ended else {
            return;
        };
        let close = CloseFrame {
            code: code.0.into(),
            reason: Utf8Bytes::from_static(why),
        };
        let goodbye = async move {
            self.writer.0.send(Message::Close(Some(close))).await?;
            let mut answered = false;
            while let Some(message) = self.reader.0.next().await {
                answered |= matches!(message?, Message::Close(_));
            }
            if !answered && let Ok(socket) = self.writer.0.reunite(self.reader.0) {
                // Reading ended early, at a message that is too large. Closing the connection
                // over unread bytes would reset it, and the peer would never learn why.
                let mut rest = socket.into_inner();
                tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
            }
            Ok::<_, tokio_tungstenite::tungstenite::Error>(())
        };
        match timeout(CLOSE_PATIENCE, goodbye).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a peer left before it was told"),
            Err(_) => tracing::debug!("a peer did not answer the close frame"),
        }
    }
}

impl Reader {
    /// The next text frame. Cancel-safe.
    pub(super) async fn text(&mut self) -> Result<Utf8Bytes, Ended> {
        loop {
            let message = match timeout(SILENCE, self.0.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return Err(read_error(&error)),
                Ok(None) | Err(_) => return Err(Ended::Gone),
            };
            match message {
                Message::Text(text) => return Ok(text),
                Message::Binary(_) => {
                    return Err(Ended::Close(
                        CloseCode::BAD_REQUEST,
                        "only text frames are spoken here",
                    ));
                }
                Message::Close(_) => return Err(Ended::Gone),
                // tungstenite answers pings itself.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}

fn read_error(error: &tokio_tungstenite::tungstenite::Error) -> Ended {
    match error {
        tokio_tungstenite::tungstenite::Error::Capacity(_) => {
            Ended::Close(CloseCode::BAD_REQUEST, "a message may have at most 8 MiB")
        }
        error => {
            tracing::debug!(%error, "a peer's connection broke");
            Ended::Gone
        }
    }
}

impl Writer {
    /// Sends a frame now.
    pub(super) async fn send(&mut self, text: Utf8Bytes) -> Result<(), Ended> {
        self.feed(text).await?;
        self.flush().await
    }

    /// Puts a frame into the buffer; [`Writer::flush`] sends it on.
    pub(super) async fn feed(&mut self, text: Utf8Bytes) -> Result<(), Ended> {
        in_time(self.0.feed(Message::Text(text))).await
    }

    /// Sends what is in the buffer.
    pub(super) async fn flush(&mut self) -> Result<(), Ended> {
        in_time(self.0.flush()).await
    }

    /// Asks the peer for a sign of life.
    pub(super) async fn ping(&mut self) -> Result<(), Ended> {
        in_time(self.0.send(Message::Ping(Bytes::new()))).await
    }
}

async fn in_time(
    write: impl Future<Output = Result<(), tokio_tungstenite::tungstenite::Error>>,
) -> Result<(), Ended> {
    match timeout(SEND_PATIENCE, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Ended::Gone),
    }
}

/// A refusal as a frame.
pub(super) fn rejection(refusal: Refusal, session: Option<&str>) -> Rejection {
    let code = match refusal.code {
        CloseCode::BAD_REQUEST => "bad_request",
        CloseCode::AUTH_REQUIRED => "auth_required",
        CloseCode::FORBIDDEN => "session_archived",
        CloseCode::SESSION_NOT_FOUND => "session_not_found",
        CloseCode::SESSION_ACTIVE => "session_active",
        CloseCode::STALE_DRIVER => "stale_driver",
        _ => "unavailable",
    };
    Rejection {
        code: code.to_owned(),
        message: refusal.why.to_owned(),
        timestamp: Clock.wall().millis(),
        session_id: session.map(str::to_owned),
    }
}
