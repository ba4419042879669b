//! Opening the WebSocket to a Hub, whatever role it is for.

use reqwest::Url;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::http::HeaderMap;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use super::wire::{self, Wire};
use crate::hub::address::HubAddress;
use crate::hub::proxy::Proxies;
use crate::hub::state::Ended;
use crate::tls;

/// An open WebSocket.
pub(in crate::hub) type Stream = WebSocketStream<MaybeTlsStream<Wire>>;

/// Connects to `url`, which is the socket of `hub`, through the proxy that stands in between.
pub(in crate::hub) async fn dial(
    url: &Url,
    headers: HeaderMap,
    (hub, proxies): (&HubAddress, &Proxies),
    limits: WebSocketConfig,
) -> Result<Stream, Ended> {
    // The error could show the URL, and with it the key.
    let mut request = url
        .as_str()
        .into_client_request()
        .map_err(|_| Ended::Unreachable("the address gives no valid request".to_owned()))?;
    request.headers_mut().extend(headers);
    // Reading the machine's roots takes time and memory that a plain socket has no use for.
    let tls = match url.scheme() {
        "wss" => Connector::Rustls(tls::client_config()),
        _ => Connector::Plain,
    };
    let unreachable = |error: &dyn std::fmt::Display| Ended::Unreachable(error.to_string());
    let proxy = proxies.to(hub, url).map_err(|error| unreachable(&error))?;
    let wire = wire::open(url, proxy.as_ref()).await;
    let wire = wire.map_err(|error| unreachable(&error))?;
    match client_async_tls_with_config(request, wire, Some(limits), Some(tls)).await {
        Ok((stream, _)) => Ok(stream),
        Err(Error::Http(answer)) => Err(Ended::Http(answer.status().as_u16())),
        Err(Error::HttpFormat(_) | Error::Url(_)) => {
            Err(Ended::Unreachable("the address is not usable".to_owned()))
        }
        Err(error) => Err(unreachable(&error)),
    }
}
