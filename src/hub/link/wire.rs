//! The bytes' way to a Hub: TCP, or a tunnel (`CONNECT`) through a proxy.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use reqwest::Url;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::hub::proxy::Proxy;
use crate::tls;

/// The longest head of a proxy's answer, in bytes.
const MAX_ANSWER: usize = 16 * 1024;

/// An open way; the WebSocket, and the Hub's own TLS, go on top of it.
pub(in crate::hub) enum Wire {
    Tcp(TcpStream),
    /// TLS to the proxy.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Opens the way to `url`'s host.
pub(super) async fn open(url: &Url, proxy: Option<&Proxy>) -> io::Result<Wire> {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or(80);
    let Some(proxy) = proxy else {
        return connect(host.trim_matches(['[', ']']), port)
            .await
            .map(Wire::Tcp);
    };
    let at = format!("the proxy {}:{}", proxy.host, proxy.port);
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("{at}: {error}"));
    let tcp = connect(&proxy.host, proxy.port).await.map_err(failed)?;
    let mut wire = if proxy.tls {
        Wire::Tls(Box::new(encrypt(&proxy.host, tcp).await.map_err(failed)?))
    } else {
        Wire::Tcp(tcp)
    };
    tunnel(&mut wire, proxy, &format!("{host}:{port}"))
        .await
        .map_err(failed)?;
    Ok(wire)
}

async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect((host, port)).await?;
    // Acknowledgements must not wait for each other.
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

async fn encrypt(host: &str, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::clone(&tls::client_config()))
        .connect(name, tcp)
        .await
}

/// Has the proxy connect us to `target`.
async fn tunnel(wire: &mut Wire, proxy: &Proxy, target: &str) -> io::Result<()> {
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(authorization) = &proxy.authorization {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(authorization.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    wire.write_all(&request).await?;
    wire.flush().await?;
    let mut answer = Vec::new();
    // Byte by byte: what follows the head is the Hub's.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= MAX_ANSWER {
            return Err(io::Error::other("its answer to CONNECT is too long"));
        }
        answer.push(wire.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&answer);
    let line = head.lines().next().unwrap_or_default();
    let status = line.split(' ').nth(1).unwrap_or_default();
    match status {
        code if line.starts_with("HTTP/1.") && code.len() == 3 && code.starts_with('2') => Ok(()),
        "407" => Err(io::Error::other(
            "it wants a login (407): write it as http://USER:PASSWORD@PROXY",
        )),
        _ => {
            let line: String = line.chars().take(100).collect();
            let message = format!("it does not connect us to {target}: {line}");
            Err(io::Error::other(message))
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
