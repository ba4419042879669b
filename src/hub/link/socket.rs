//! The WebSocket: opening it, reading it until the Hub's `init`, and both directions at once after.
//!
//! Nothing waits for a Hub that reads slowly: what is sent is queued, and written while the socket
//! is listened to ([`Socket::receive`]). What is queued is bounded by [`Socket::has_room`], which
//! its user has to ask; beyond that nothing is read either, so that a Hub that floods us without
//! reading is silent to us.

use std::future::poll_fn;
use std::os::unix::ffi::OsStrExt as _;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use secrecy::ExposeSecret as _;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as WireCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};

use super::LinkConfig;
use super::dial::{Stream, dial};
use crate::hub::credentials::Key;
use crate::hub::inbound::{Inbound, Refusal, decode};
use crate::hub::protocol::{CloseCode, HOME_HEADER, Init};
use crate::hub::state::Ended;
use crate::ids::SessionId;

/// A Hub's largest message; its `init` with all tools is the largest known.
const MAX_MESSAGE: usize = 8 << 20;
const MAX_FRAME: usize = MAX_MESSAGE;
/// What is read at once, and held and zeroed for it all the time: commands and acknowledgements
/// are short, and a longer message only takes more reads. The library's own choice is 128 KiB.
const READ_BUFFER: usize = 8 << 10;
/// How long a close frame is waited for when the Hub has already said no.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// Bytes that may wait to be written: a window's worth of events and as much of answers.
const MAX_UNWRITTEN: usize = 2 << 20;

/// An open connection.
pub(super) struct Socket {
    stream: Stream,
    /// Bytes that were queued since everything was last written.
    unwritten: usize,
    /// Why nothing can be written any more; the Hub may have said why before.
    broken: Option<Ended>,
}

impl Socket {
    /// Connects, says who we are and waits for `init`.
    pub(super) async fn open(
        config: &LinkConfig,
        session: Option<&SessionId>,
        key: Key,
    ) -> Result<(Self, Init), Ended> {
        let connecting = Self::connect(config, session, key);
        let connected = tokio::time::timeout(config.timing.connect, connecting).await;
        let mut socket = connected.unwrap_or_else(|_| {
            let waited = config.timing.connect.as_secs();
            Err(Ended::Unreachable(format!(
                "no WebSocket within {waited} s"
            )))
        })?;
        let greeting = socket.handshake(config);
        match tokio::time::timeout(config.timing.init, greeting).await {
            Ok(Ok(init)) => Ok((socket, init)),
            Ok(Err(ended)) => {
                socket.part(&ended).await;
                Err(ended)
            }
            Err(_) => Err(Ended::NoInit),
        }
    }

    async fn connect(
        config: &LinkConfig,
        session: Option<&SessionId>,
        key: Key,
    ) -> Result<Self, Ended> {
        let in_url = match key {
            Key::InUrl => config.credentials.key(),
            Key::NotInUrl => None,
        };
        let url = config.address.socket(&[
            ("sessionId", session.map_or("", SessionId::as_str)),
            ("role", "lead"),
            ("origin", "sdk"),
            ("driverMode", "rpc"),
            ("driverInstanceId", &config.driver_instance_id),
            ("driverVersion", &config.driver_version),
            ("orgId", config.credentials.org().unwrap_or_default()),
            (
                "api_key",
                in_url.as_ref().map_or("", |key| key.expose_secret()),
            ),
        ]);
        let mut headers = config.credentials.socket_headers();
        let home = config.home.as_ref();
        let home = home.filter(|_| config.address.is_loopback());
        let home = home.and_then(|home| HeaderValue::from_bytes(home.as_os_str().as_bytes()).ok());
        if let Some(home) = home {
            headers.insert(HOME_HEADER, home);
        }
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_FRAME))
            .read_buffer_size(READ_BUFFER);
        let way = (&config.address, &config.proxies);
        Ok(Self {
            stream: dial(&url, headers, way, limits).await?,
            unwritten: 0,
            broken: None,
        })
    }

    async fn handshake(&mut self, config: &LinkConfig) -> Result<Init, Ended> {
        if let Some(frame) = config.credentials.first_frame() {
            let frame = serde_json::to_string(&frame).map_err(|e| Ended::Lost(e.to_string()))?;
            self.queue(frame);
        }
        loop {
            match self.receive().await? {
                Inbound::Init(init) => return Ok(*init),
                Inbound::Rejected { frame, said } => {
                    let close = tokio::time::timeout(CLOSE_WAIT, self.closed()).await;
                    let close = close.ok().flatten();
                    // An error without a type is what a failed authentication looks like.
                    let close = close.filter(|_| frame != Refusal::Error);
                    return Err(Ended::Rejected { said, close });
                }
                _ => {}
            }
        }
    }

    /// Waits for the Hub's close frame.
    async fn closed(&mut self) -> Option<CloseCode> {
        loop {
            match self.receive().await {
                Err(Ended::Close { code, .. }) => return Some(code),
                Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The next frame; what is queued is written meanwhile. Safe to drop while it waits.
    pub(super) async fn receive(&mut self) -> Result<Inbound, Ended> {
        read(poll_fn(|cx| self.poll(cx)).await)
    }

    /// The next frame, if it is here.
    pub(super) fn try_receive(&mut self) -> Option<Result<Inbound, Ended>> {
        // Nobody is woken by this: whoever asks goes on with `receive`.
        let mut cx = Context::from_waker(Waker::noop());
        match self.poll_read(&mut cx) {
            Poll::Ready(message) => Some(read(message)),
            Poll::Pending => None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Ended>> {
        if self.unwritten > 0 && self.broken.is_none() {
            match self.stream.poll_flush_unpin(cx) {
                Poll::Ready(Ok(())) => self.unwritten = 0,
                Poll::Ready(Err(error)) => self.broken = Some(failed(&error)),
                Poll::Pending if !self.has_room() => return Poll::Pending,
                Poll::Pending => {}
            }
        }
        self.poll_read(cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Ended>> {
        match self.stream.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(message))) => Poll::Ready(Ok(message)),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(failed(&error))),
            Poll::Ready(None) => Poll::Ready(Err(Ended::Lost("the Hub is gone".to_owned()))),
            // All that the Hub said before it went is read.
            Poll::Pending => self
                .broken
                .take()
                .map_or(Poll::Pending, |why| Poll::Ready(Err(why))),
        }
    }

    /// Whether more may be queued.
    pub(super) fn has_room(&self) -> bool {
        self.unwritten < MAX_UNWRITTEN
    }

    /// Queues one text message; [`Socket::receive`] writes it.
    pub(super) fn queue(&mut self, text: String) {
        self.unwritten += text.len();
        if let Err(error) = self.stream.start_send_unpin(Message::text(text)) {
            self.broken.get_or_insert_with(|| failed(&error));
        }
    }

    /// Tells the Hub why we leave, where it is the Hub's doing.
    pub(super) async fn part(&mut self, why: &Ended) {
        match why {
            Ended::Nonsense(_) => self.close(WireCode::Policy, "not a protocol frame").await,
            Ended::Oversized(_) => self.close(WireCode::Size, "message too long").await,
            Ended::Source(_) => self.close(WireCode::Away, "").await,
            // The rest is closed already, or hears nothing.
            _ => {}
        }
    }

    /// Sends a close frame; does not wait for the Hub's.
    pub(super) async fn close(&mut self, code: WireCode, reason: &'static str) {
        let frame = CloseFrame {
            code,
            reason: reason.into(),
        };
        let closed = tokio::time::timeout(CLOSE_WAIT, self.stream.close(Some(frame))).await;
        tracing::debug!(?closed, reason, "closed the connection to the Hub");
    }

    /// Closes as after orderly work, and waits a little for the Hub to say so, too.
    pub(super) async fn finish(&mut self) {
        self.close(WireCode::Normal, "").await;
        if tokio::time::timeout(CLOSE_WAIT / 4, self.closed())
            .await
            .is_err()
        {
            tracing::debug!("the Hub did not answer the close frame");
        }
    }
}

fn read(message: Result<Message, Ended>) -> Result<Inbound, Ended> {
    match message? {
        Message::Text(text) => decode(&text).map_err(|e| Ended::Nonsense(e.to_string())),
        Message::Close(frame) => {
            let (code, reason) = frame.map_or((1005, String::new()), |frame| {
                let reason = frame.reason.chars().take(200).collect();
                (u16::from(frame.code), reason)
            });
            let code = CloseCode(code);
            Err(Ended::Close { code, reason })
        }
        // Anything that is heard shows that the Hub lives; the protocol is text only.
        _ => Ok(Inbound::Ignored),
    }
}

fn failed(error: &Error) -> Ended {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            Ended::Oversized(format!("{size} bytes; at most {max_size}"))
        }
        error => Ended::Lost(error.to_string()),
    }
}
