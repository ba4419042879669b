//! Who may talk to the Hub.
//!
//! With a key, every request shows it: `Authorization: Bearer`, `x-agentuity-auth-api-key`, the
//! query (`api_key`, `token`, `apiKey`), or a WebSocket's first frame; the official clients use
//! all of these. Keys are compared in constant time and never shown, not even by `Debug`.
//!
//! Without a key the Hub listens on loopback only. A web page in the user's browser can reach
//! loopback too, so Host and Origin must then be loopback names (DNS rebinding, cross-site).

use std::fmt;

use axum::http::{HeaderMap, header};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use crate::loopback::is_loopback;

/// A Hub's key.
#[derive(Clone)]
pub struct ApiKey(SecretString);

impl ApiKey {
    /// The key in `text`, which may end in a newline as files do; `None` when it is empty.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.into()))
    }

    /// Whether `shown` is this key.
    fn is(&self, shown: &str) -> bool {
        let key = self.0.expose_secret().as_bytes();
        bool::from(key.ct_eq(shown.as_bytes()))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

/// What a request showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// The right key, or none is needed.
    Valid,
    /// A wrong key.
    Wrong,
    /// No key at all: a WebSocket may still send it in its first frame.
    Nothing,
}

/// The Hub's rule for requests.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    key: Option<ApiKey>,
}

impl Gate {
    pub(crate) const fn new(key: Option<ApiKey>) -> Self {
        Self { key }
    }

    /// Whether callers must show a key.
    pub(crate) const fn is_keyed(&self) -> bool {
        self.key.is_some()
    }

    /// What the headers and the query of a request show.
    pub(crate) fn check(&self, headers: &HeaderMap, query: &[(String, String)]) -> Shown {
        let Some(key) = &self.key else {
            return Shown::Valid;
        };
        let bearer = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(bearer);
        let own = headers
            .get("x-agentuity-auth-api-key")
            .and_then(|value| value.to_str().ok());
        let in_query = query
            .iter()
            .filter(|(name, _)| matches!(name.as_str(), "api_key" | "token" | "apiKey"))
            .map(|(_, value)| value.as_str());
        let mut seen = Shown::Nothing;
        for shown in bearer.into_iter().chain(own).chain(in_query) {
            if key.is(shown.trim()) {
                return Shown::Valid;
            }
            seen = Shown::Wrong;
        }
        seen
    }

    /// Whether a first frame's `authorization` opens the gate.
    pub(crate) fn check_frame(&self, authorization: Option<&str>) -> bool {
        let Some(key) = &self.key else {
            return true;
        };
        authorization.is_some_and(|shown| key.is(bearer(shown).unwrap_or(shown).trim()))
    }

    /// Why a keyless Hub does not trust where this request comes from.
    pub(crate) fn check_origin(&self, headers: &HeaderMap) -> Result<(), Foreign> {
        if self.is_keyed() {
            return Ok(());
        }
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(""));
        // HTTP/1.1 demands a Host; browsers cannot forge it.
        if !text(header::HOST).is_some_and(is_loopback) {
            return Err(Foreign::Host);
        }
        match text(header::ORIGIN) {
            None => Ok(()),
            Some(origin) => origin
                .split_once("://")
                .filter(|(_, authority)| is_loopback(authority))
                .map(|_| ())
                .ok_or(Foreign::Origin),
        }
    }
}

/// What about a request is not local.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Foreign {
    #[error("the Host header does not name this machine; a Hub without a key serves only loopback")]
    Host,
    #[error("the Origin header names another site; a Hub without a key serves only loopback pages")]
    Origin,
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, key) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                let name = axum::http::HeaderName::from_static(name);
                (name, value.parse().unwrap())
            })
            .collect()
    }

    #[test]
    fn every_place_that_clients_put_a_key_opens_the_gate() {
        let gate = Gate::new(ApiKey::new("agc_k\n"));
        for shown in [
            headers(&[("authorization", "Bearer agc_k")]),
            headers(&[("authorization", "bearer agc_k")]),
            headers(&[("x-agentuity-auth-api-key", "agc_k")]),
        ] {
            assert_eq!(gate.check(&shown, &[]), Shown::Valid);
        }
        for name in ["api_key", "token", "apiKey"] {
            let query = [(name.to_owned(), "agc_k".to_owned())];
            assert_eq!(gate.check(&HeaderMap::new(), &query), Shown::Valid);
        }
        let wrong = headers(&[("authorization", "Bearer agc_")]);
        assert_eq!(gate.check(&wrong, &[]), Shown::Wrong);
        assert_eq!(gate.check(&HeaderMap::new(), &[]), Shown::Nothing);
        assert!(gate.check_frame(Some("agc_k")) && !gate.check_frame(None));
    }

    #[test]
    fn without_a_key_only_loopback_names_pass() {
        let gate = Gate::new(None);
        for host in [
            "localhost:1",
            "127.0.0.1:80",
            "[::1]:9",
            "LOCALHOST",
            "127.9.9.9",
        ] {
            assert_eq!(
                gate.check_origin(&headers(&[("host", host)])),
                Ok(()),
                "{host}"
            );
        }
        for host in [
            "evil.example:80",
            "localhost.evil.example",
            "10.0.0.1",
            "[::2]",
            "",
        ] {
            let refused = gate.check_origin(&headers(&[("host", host)]));
            assert_eq!(refused, Err(Foreign::Host), "{host}");
        }
        let cross = headers(&[("host", "localhost"), ("origin", "http://evil.example")]);
        assert_eq!(gate.check_origin(&cross), Err(Foreign::Origin));
        let opaque = headers(&[("host", "localhost"), ("origin", "null")]);
        assert_eq!(gate.check_origin(&opaque), Err(Foreign::Origin));
        let local = headers(&[("host", "localhost"), ("origin", "http://127.0.0.1:3000")]);
        assert_eq!(gate.check_origin(&local), Ok(()));
    }
}
