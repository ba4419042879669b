//! Which proxy stands between us and a Hub: the one that `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`
//! and `NO_PROXY` name, by the same rules as for REST calls.
//!
//! A Hub on this machine is always reached directly. A proxy's password is never shown.

use std::fmt;
use std::sync::Arc;

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

use super::address::HubAddress;

/// The proxies that the environment names.
#[derive(Clone, Default)]
pub struct Proxies(Option<Arc<Matcher>>);

/// A proxy to go through.
pub(super) struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether the proxy itself is spoken to by TLS.
    pub(super) tls: bool,
    pub(super) authorization: Option<HeaderValue>,
}

/// A proxy of a kind that is not known.
#[derive(Debug, thiserror::Error)]
#[error(
    "the proxy's scheme `{0}` is not supported for the Hub link: use an http:// or https:// proxy"
)]
pub(super) struct UnknownProxy(String);

impl Proxies {
    /// Those of our own environment.
    pub fn from_environment() -> Self {
        Self(Some(Arc::new(Matcher::from_env())))
    }

    /// One proxy for everything, but for the hosts that `except` lists as `NO_PROXY` does.
    pub fn all(proxy: &str, except: &str) -> Self {
        let matcher = Matcher::builder().all(proxy).no(except).build();
        Self(Some(Arc::new(matcher)))
    }

    /// The one on the way to `url`, which is the socket of `hub`.
    pub(super) fn to(&self, hub: &HubAddress, url: &Url) -> Result<Option<Proxy>, UnknownProxy> {
        let Some(matcher) = self.0.as_ref().filter(|_| !hub.is_loopback()) else {
            return Ok(None);
        };
        let scheme = if url.scheme() == "wss" {
            "https"
        } else {
            "http"
        };
        let host = url.host_str().unwrap_or_default();
        let target = Uri::builder().scheme(scheme).authority(host);
        let Ok(target) = target.path_and_query("/").build() else {
            return Ok(None);
        };
        let Some(found) = matcher.intercept(&target) else {
            return Ok(None);
        };
        let tls = match found.uri().scheme_str() {
            None | Some("http") => false,
            Some("https") => true,
            Some(other) => return Err(UnknownProxy(other.to_owned())),
        };
        let host = found.uri().host().unwrap_or_default();
        let port = found.uri().port_u16();
        Ok(Some(Proxy {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            tls,
            authorization: found.basic_auth().cloned(),
        }))
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A proxy's URL may hold a password.
        f.write_str("Proxies")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(proxies: &Proxies, hub: &str) -> Result<Option<Proxy>, UnknownProxy> {
        let hub = HubAddress::parse(hub).unwrap();
        proxies.to(&hub, &hub.socket(&[]))
    }

    #[test]
    fn the_rules_of_the_environment_hold_for_the_socket() {
        let proxies = Proxies::all("http://me:secret@proxy.test:3128", "inside.test,10.0.0.0/8");
        let found = to(&proxies, "https://hub.example.com").unwrap().unwrap();
        assert_eq!((found.host.as_str(), found.port), ("proxy.test", 3128));
        assert!(!found.tls);
        let authorization = found.authorization.unwrap();
        assert_eq!(authorization, "Basic bWU6c2VjcmV0");
        for direct in [
            "https://a.inside.test",
            "http://10.1.2.3",
            "http://127.0.0.1:1",
            "localhost:1",
        ] {
            assert!(to(&proxies, direct).unwrap().is_none(), "{direct}");
        }
        assert!(!format!("{proxies:?}").contains("secret"));
        assert!(to(&Proxies::default(), "https://hub").unwrap().is_none());
    }

    #[test]
    fn other_kinds_of_proxies_are_refused_in_words() {
        let proxies = Proxies::all("socks5://u:hidden@p.test:1080", "");
        let error = to(&proxies, "https://hub.test").err().unwrap().to_string();
        assert!(
            error.contains("socks5") && !error.contains("hidden"),
            "{error}"
        );
    }
}
