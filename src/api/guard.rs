//! Who may talk to the API.
//!
//! On the Unix socket: the daemon's own user and root, as the kernel tells it. Over TCP: whoever
//! shows the token, on every route but `/healthz`. A web page in a browser can reach loopback
//! too, so that there Host must be a loopback name, and an Origin must be the API's own.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use super::failure::Failure;
use crate::loopback::is_loopback;

/// The one route that tells nothing and is open to everyone who can connect.
pub(super) const OPEN: &str = "/healthz";

/// Where a connection came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// By the Unix socket, from a process of this user.
    Process {
        /// Its effective user id, where the kernel told it.
        uid: Option<u32>,
    },
    /// By TCP, to this address of ours.
    Network {
        /// The listener's address.
        listener: SocketAddr,
    },
}

/// The rules.
#[derive(Debug)]
pub(super) struct Guard {
    /// The daemon's own user.
    uid: u32,
    /// What is shown over TCP.
    token: Option<SecretString>,
}

impl Guard {
    pub(super) fn new(token: Option<SecretString>) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        Self { uid, token }
    }

    /// Lets a request through, or says why not.
    pub(super) fn check(&self, peer: Peer, path: &str, headers: &HeaderMap) -> Result<(), Failure> {
        match peer {
            Peer::Process { uid: Some(uid) } if uid == self.uid || uid == 0 => Ok(()),
            Peer::Process { .. } => Err(forbidden(
                "this socket serves the daemon's own user only",
                "ask as that user, or as root",
            )),
            Peer::Network { listener } => {
                check_origin(listener.ip(), headers)?;
                if path == OPEN || self.is_shown(headers) {
                    return Ok(());
                }
                Err(Failure::new(
                    StatusCode::UNAUTHORIZED,
                    "unauthorized",
                    "the API's token is missing or wrong",
                    "send it as `Authorization: Bearer TOKEN`",
                ))
            }
        }
    }

    fn is_shown(&self, headers: &HeaderMap) -> bool {
        let shown = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().split_at_checked("Bearer ".len()))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
        match (&self.token, shown) {
            (Some(token), Some((_, shown))) => {
                bool::from(token.expose_secret().as_bytes().ct_eq(shown.trim_ascii()))
            }
            _ => false,
        }
    }
}

/// What browsers say of where a request comes from, which pages cannot forge.
fn check_origin(listener: IpAddr, headers: &HeaderMap) -> Result<(), Failure> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let host = text(header::HOST).unwrap_or("");
    if listener.is_loopback() && !is_loopback(host) {
        return Err(forbidden(
            "the Host header does not name this machine's loopback",
            "ask http://127.0.0.1:PORT or http://localhost:PORT",
        ));
    }
    match text(header::ORIGIN) {
        None => Ok(()),
        Some(origin) if origin.split_once("://").is_some_and(|(_, own)| own == host) => Ok(()),
        Some(_) => Err(forbidden(
            "the Origin header names another site",
            "pages of other sites have no access",
        )),
    }
}

pub(super) fn forbidden(message: &str, hint: &str) -> Failure {
    Failure::new(StatusCode::FORBIDDEN, "forbidden", message, hint)
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = header::HeaderName::from_static(name);
            (name, value.parse().unwrap())
        });
        pairs.collect()
    }

    fn status(result: Result<(), Failure>) -> u16 {
        result.map_or_else(
            |failure| failure.into_response().status().as_u16(),
            |()| 200,
        )
    }

    #[test]
    fn on_the_socket_only_the_own_user_and_root_are_served() {
        let mut guard = Guard::new(None);
        guard.uid = 1000;
        let from = |uid| status(guard.check(Peer::Process { uid }, "/v1/daemon", &headers(&[])));
        assert_eq!([from(Some(1000)), from(Some(0))], [200, 200]);
        assert_eq!([from(Some(1001)), from(None)], [403, 403]);
    }

    #[test]
    fn over_tcp_the_whole_token_is_wanted_and_only_it() {
        let guard = Guard::new(Some("right-token".into()));
        let listener = "127.0.0.1:1".parse().unwrap();
        let with = |value: &str| {
            let headers = headers(&[("host", "localhost:1"), ("authorization", value)]);
            status(guard.check(Peer::Network { listener }, "/v1/daemon", &headers))
        };
        assert_eq!(with("Bearer right-token"), 200);
        assert_eq!(with("bearer right-token"), 200);
        for wrong in [
            "Bearer right-toke",
            "Bearer right-token2",
            "Bearer",
            "right-token",
            "",
        ] {
            assert_eq!(with(wrong), 401, "{wrong:?}");
        }
    }

    #[test]
    fn a_page_of_another_site_has_no_access() {
        let guard = Guard::new(Some("t".into()));
        let check = |listener: &str, pairs: &[(&'static str, &str)]| {
            let peer = Peer::Network {
                listener: listener.parse().unwrap(),
            };
            status(guard.check(peer, OPEN, &headers(pairs)))
        };
        let local = "127.0.0.1:1";
        for host in ["localhost:1", "127.0.0.1:1", "[::1]:1", "127.9.9.9"] {
            assert_eq!(check(local, &[("host", host)]), 200, "{host}");
        }
        for host in ["evil.example:1", "localhost.evil.example", "10.0.0.1", ""] {
            assert_eq!(check(local, &[("host", host)]), 403, "{host}");
        }
        let cross = [("host", "localhost:1"), ("origin", "http://evil.example")];
        assert_eq!(check(local, &cross), 403);
        let own = [("host", "localhost:1"), ("origin", "http://localhost:1")];
        assert_eq!(check(local, &own), 200);
        assert_eq!(check("0.0.0.0:1", &[("host", "runner:1")]), 200);
    }
}
