//! The controller's connection: one after the other, until the session is left.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};

use super::frame::{Inbound, decode};
use super::{ControllerConfig, Heard};
use crate::clock::Clock;
use crate::hub::credentials::{Credentials, Key};
use crate::hub::link::access::Access;
use crate::hub::link::dial::{Stream, dial};
use crate::hub::protocol::CloseCode;
use crate::hub::state::{Ended, Reconnect, StartError};

/// The largest message that is taken: a session's history comes in one.
const MAX_MESSAGE: usize = 64 << 20;
/// How long the Hub may take to answer our close frame.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// How long one may take to say where the Hub is.
const WHEREABOUTS_WAIT: Duration = Duration::from_secs(2);
/// The longest that writing one message may take.
const WRITE_WAIT: Duration = Duration::from_secs(30);

/// Joins, and joins again, until the session is left or the Hub refuses us.
pub(super) async fn run(
    mut config: ControllerConfig,
    heard: mpsc::Sender<Heard>,
    mut said: mpsc::Receiver<String>,
    clock: Clock,
) {
    let mut reconnect = Reconnect::new(config.timing.clone(), config.seed, clock.now());
    let mut access = Access::new(config.key_in_url);
    loop {
        let used = config.credentials.key();
        let mut joined_at = None;
        let connection = async {
            let mut stream = open(&config, access.key()).await?;
            access.joined();
            reconnect.joined();
            joined_at = Some(clock.now());
            converse(&mut stream, &config, &heard, &mut said).await
        };
        let why = tokio::select! {
            // Nobody listens any more.
            () = heard.closed() => return,
            ended = connection => match ended {
                Ok(()) => return,
                Err(why) => why,
            },
        };
        // What another Hub at the old address says is not meant for us.
        if moved(&mut config).await {
            access = Access::new(config.key_in_url);
            if heard.send(Heard::Lost(why.to_string())).await.is_err() {
                return;
            }
            continue;
        }
        if why.refuses_key() && access.refused(&config.credentials, used.as_ref()) {
            continue;
        }
        let lived = joined_at.map_or(Duration::ZERO, |at| clock.now() - at);
        let after = match reconnect.ended(&why, lived, clock.now()) {
            // What is refused after it was allowed (archived, deleted) stays so for a person.
            Ok(next) if is_final(&why) => {
                tracing::debug!(?next, "the Hub has put us out");
                drop(
                    heard
                        .send(Heard::Over(StartError::Refused(why.to_string())))
                        .await,
                );
                return;
            }
            Ok(next) => next.after,
            Err(error) => {
                drop(heard.send(Heard::Over(error)).await);
                return;
            }
        };
        if heard.send(Heard::Lost(why.to_string())).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(after) => {}
            () = heard.closed() => return,
        }
    }
}

/// Whether the Hub is elsewhere now, or wants another key; the next connection goes there.
async fn moved(config: &mut ControllerConfig) -> bool {
    let Some(whereabouts) = &config.whereabouts else {
        return false;
    };
    let asked = tokio::time::timeout(WHEREABOUTS_WAIT, whereabouts.ask()).await;
    let Ok(Some((address, credentials))) = asked else {
        return false;
    };
    let secret = |credentials: &Credentials| {
        let key = credentials.key();
        key.map(|key| key.expose_secret().to_owned())
    };
    let is_new = address != config.address || secret(&credentials) != secret(&config.credentials);
    config.address = address;
    config.credentials = credentials;
    is_new
}

fn is_final(why: &Ended) -> bool {
    let code = match why {
        Ended::Close { code, .. } => Some(*code),
        Ended::Rejected { close, .. } => *close,
        _ => None,
    };
    code.is_some_and(CloseCode::is_terminal)
}

/// Connects, says who we are, and asks for the history once the Hub has let us in.
async fn open(config: &ControllerConfig, key: Key) -> Result<Stream, Ended> {
    let in_url = match key {
        Key::InUrl => config.credentials.key(),
        Key::NotInUrl => None,
    };
    let url = config.address.socket(&[
        ("sessionId", config.session.as_str()),
        ("role", "controller"),
        ("origin", "tui"),
        ("orgId", config.credentials.org().unwrap_or_default()),
        (
            "api_key",
            in_url.as_ref().map_or("", |key| key.expose_secret()),
        ),
    ]);
    let limits = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let way = (&config.address, &config.proxies);
    let dialing = dial(&url, config.credentials.socket_headers(), way, limits);
    let dialed = tokio::time::timeout(config.timing.connect, dialing).await;
    let mut stream = dialed.unwrap_or_else(|_| {
        Err(Ended::Unreachable(
            "no WebSocket within the time for it".to_owned(),
        ))
    })?;
    let greeting = async {
        if let Some(frame) = config.credentials.first_frame() {
            let frame = serde_json::to_string(&frame).map_err(|e| Ended::Lost(e.to_string()))?;
            send(&mut stream, frame).await?;
        }
        loop {
            match receive(&mut stream).await? {
                Inbound::Init => break,
                Inbound::Refused(said) => {
                    let close = closed(&mut stream).await;
                    return Err(Ended::Rejected { said, close });
                }
                Inbound::Heard(_) | Inbound::Ignored => {}
            }
        }
        send(&mut stream, json!({"type": "bootstrap_ready"}).to_string()).await
    };
    match tokio::time::timeout(config.timing.init, greeting).await {
        Ok(Ok(())) => Ok(stream),
        Ok(Err(ended)) => Err(ended),
        Err(_) => Err(Ended::NoInit),
    }
}

/// Both directions, until the connection ends; in order when the session is left.
async fn converse(
    stream: &mut Stream,
    config: &ControllerConfig,
    heard: &mpsc::Sender<Heard>,
    said: &mut mpsc::Receiver<String>,
) -> Result<(), Ended> {
    let mut pings = tokio::time::interval(config.timing.ping);
    let mut alive = Clock.now();
    loop {
        tokio::select! {
            frame = receive(stream) => {
                alive = Clock.now();
                let told = match frame? {
                    Inbound::Heard(one) => heard.send(one).await,
                    Inbound::Refused(said) => heard.send(Heard::Refused(said)).await,
                    Inbound::Init | Inbound::Ignored => Ok(()),
                };
                if told.is_err() {
                    return leave(stream).await;
                }
            }
            said = said.recv() => match said {
                Some(text) => send(stream, text).await?,
                None => return leave(stream).await,
            },
            _ = pings.tick() => {
                if alive.elapsed() > config.timing.dead {
                    return Err(Ended::Silent);
                }
                let now = Clock.wall().millis();
                send(stream, json!({"type": "ping", "timestamp": now}).to_string()).await?;
            }
        }
    }
}

async fn leave(stream: &mut Stream) -> Result<(), Ended> {
    let frame = CloseFrame {
        code: CloseCode::NORMAL.0.into(),
        reason: "".into(),
    };
    let closing = async {
        // The Hub sees that we have gone in any case.
        drop(stream.close(Some(frame)).await);
        while let Some(Ok(_)) = stream.next().await {}
    };
    if tokio::time::timeout(CLOSE_WAIT, closing).await.is_err() {
        tracing::debug!("the Hub did not answer the close frame");
    }
    Ok(())
}

/// The next frame. Safe to drop while it waits.
async fn receive(stream: &mut Stream) -> Result<Inbound, Ended> {
    match stream.next().await {
        Some(Ok(Message::Text(text))) => Ok(decode(&text)),
        Some(Ok(Message::Close(frame))) => {
            let (code, reason) = frame.map_or((1005, String::new()), |frame| {
                (
                    u16::from(frame.code),
                    frame.reason.chars().take(200).collect(),
                )
            });
            Err(Ended::Close {
                code: CloseCode(code),
                reason,
            })
        }
        Some(Ok(_)) => Ok(Inbound::Ignored),
        Some(Err(error)) => Err(Ended::Lost(error.to_string())),
        None => Err(Ended::Lost("the Hub is gone".to_owned())),
    }
}

/// The code that follows a refusal, if one does.
async fn closed(stream: &mut Stream) -> Option<CloseCode> {
    let closing = async {
        loop {
            match receive(stream).await {
                Err(Ended::Close { code, .. }) => return Some(code),
                Err(_) => return None,
                Ok(_) => {}
            }
        }
    };
    tokio::time::timeout(CLOSE_WAIT, closing)
        .await
        .ok()
        .flatten()
}

async fn send(stream: &mut Stream, text: String) -> Result<(), Ended> {
    match tokio::time::timeout(WRITE_WAIT, stream.send(Message::text(text))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Ended::Lost(error.to_string())),
        Err(_) => Err(Ended::Silent),
    }
}
