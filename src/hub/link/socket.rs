//! The WebSocket: opening it, and reading it until the Hub's `init`.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as WireCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream};

use super::LinkConfig;
use crate::hub::inbound::{Inbound, Refusal, decode};
use crate::hub::protocol::{CloseCode, Init};
use crate::hub::state::Ended;
use crate::ids::SessionId;
use crate::tls;

/// A Hub's largest message; its `init` with all tools is the largest known.
const MAX_MESSAGE: usize = 8 << 20;
const MAX_FRAME: usize = 4 << 20;
/// What is read at once, and held and zeroed for it all the time: commands and acknowledgements
/// are short, and a longer message only takes more reads. The library's own choice is 128 KiB.
const READ_BUFFER: usize = 8 << 10;
/// How long a close frame is waited for when the Hub has already said no.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// The longest that writing one message may take.
const WRITE_WAIT: Duration = Duration::from_secs(30);

/// An open connection.
pub(super) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    /// Connects, says who we are and waits for `init`.
    pub(super) async fn open(
        config: &LinkConfig,
        session: Option<&SessionId>,
    ) -> Result<(Self, Init), Ended> {
        let work = async {
            let mut socket = Self::connect(config, session).await?;
            match socket.handshake(config).await {
                Ok(init) => Ok((socket, init)),
                Err(ended) => {
                    socket.part(&ended).await;
                    Err(ended)
                }
            }
        };
        match tokio::time::timeout(config.timing.init, work).await {
            Ok(result) => result,
            Err(_) => Err(Ended::NoInit),
        }
    }

    async fn connect(config: &LinkConfig, session: Option<&SessionId>) -> Result<Self, Ended> {
        let key = config.credentials.key().unwrap_or_default();
        let url = config.address.socket(&[
            ("sessionId", session.map_or("", SessionId::as_str)),
            ("role", "lead"),
            ("origin", "sdk"),
            ("driverMode", "rpc"),
            ("driverInstanceId", &config.driver_instance_id),
            ("driverVersion", &config.driver_version),
            ("orgId", config.credentials.org().unwrap_or_default()),
            ("api_key", key),
        ]);
        // The error could show the URL, and with it the key.
        let mut request = url
            .as_str()
            .into_client_request()
            .map_err(|_| Ended::Unreachable("the address gives no valid request".to_owned()))?;
        request
            .headers_mut()
            .extend(config.credentials.socket_headers());
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_FRAME))
            .read_buffer_size(READ_BUFFER);
        // Reading the machine's roots takes time and memory that a plain socket has no use for.
        let tls = match url.scheme() {
            "wss" => Connector::Rustls(tls::client_config()),
            _ => Connector::Plain,
        };
        let connected = tokio_tungstenite::connect_async_tls_with_config(
            request,
            Some(limits),
            true, // no Nagle: acknowledgements must not wait for each other
            Some(tls),
        )
        .await;
        match connected {
            Ok((stream, _)) => Ok(Self { stream }),
            Err(Error::Http(answer)) => Err(Ended::Http(answer.status().as_u16())),
            Err(Error::HttpFormat(_) | Error::Url(_)) => {
                Err(Ended::Unreachable("the address is not usable".to_owned()))
            }
            Err(error) => Err(Ended::Unreachable(error.to_string())),
        }
    }

    async fn handshake(&mut self, config: &LinkConfig) -> Result<Init, Ended> {
        if let Some(frame) = config.credentials.first_frame() {
            let frame = serde_json::to_string(&frame).map_err(|e| Ended::Lost(e.to_string()))?;
            self.send(frame).await?;
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

    /// The next frame. Safe to drop while it waits.
    pub(super) async fn receive(&mut self) -> Result<Inbound, Ended> {
        let message = match self.stream.next().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(failed(&error)),
            None => return Err(Ended::Lost("the Hub is gone".to_owned())),
        };
        match message {
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

    /// Sends one text message.
    pub(super) async fn send(&mut self, text: String) -> Result<(), Ended> {
        written(self.stream.send(Message::text(text))).await
    }

    /// Adds one text message to what [`Socket::flush`] sends.
    pub(super) async fn feed(&mut self, text: String) -> Result<(), Ended> {
        written(self.stream.feed(Message::text(text))).await
    }

    /// Sends what was fed.
    pub(super) async fn flush(&mut self) -> Result<(), Ended> {
        written(self.stream.flush()).await
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

fn failed(error: &Error) -> Ended {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            Ended::Oversized(format!("{size} bytes; at most {max_size}"))
        }
        error => Ended::Lost(error.to_string()),
    }
}

async fn written(write: impl Future<Output = Result<(), Error>>) -> Result<(), Ended> {
    match tokio::time::timeout(WRITE_WAIT, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Ended::Lost(error.to_string())),
        Err(_) => Err(Ended::Silent),
    }
}
