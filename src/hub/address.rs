//! Where a Hub is: one address, from any form that people write, and the URLs made from it.
//!
//! An address never shows its query: it may hold a key.

use std::fmt;

use reqwest::Url;

const SOCKET_PATH: &str = "/api/ws";

/// A Hub's address.
#[derive(Clone, PartialEq, Eq)]
pub struct HubAddress {
    /// `ws` or `wss`, path up to and with `/api/ws`.
    socket: Url,
}

/// Why a text is no Hub address.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{shown}` is not a Hub address: {why} (write for instance https://hub.example.com or \
     ws://127.0.0.1:4545/api/ws)"
)]
pub struct InvalidAddress {
    shown: String,
    why: String,
}

impl HubAddress {
    /// Reads `http(s)://…` and `ws(s)://…`, with or without `/api/ws` and a trailing slash. Without
    /// a scheme it is `ws://`, as for the official terminal client.
    pub fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let shown = text.split(['?', '#']).next().unwrap_or_default().trim();
        let fail = |why: &str| InvalidAddress {
            // What stands before an `@` may be a password.
            shown: shown.rsplit('@').next().unwrap_or_default().to_owned(),
            why: why.to_owned(),
        };
        let mut full = text.trim().to_owned();
        if !full.contains("://") {
            full.insert_str(0, "ws://");
        }
        let mut url = Url::parse(&full).map_err(|e| fail(&e.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(fail("credentials do not belong in it"));
        }
        let scheme = match url.scheme() {
            "http" | "ws" => "ws",
            "https" | "wss" => "wss",
            other => {
                return Err(fail(&format!(
                    "its scheme `{other}` is not http, https, ws or wss"
                )));
            }
        };
        // http and ws are alike to the URL rules, so the change is always legal.
        if url.host().is_none() || url.set_scheme(scheme).is_err() {
            return Err(fail("it names no host"));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        if !path.contains(SOCKET_PATH) {
            url.set_path(&format!("{path}{SOCKET_PATH}"));
        } else {
            url.set_path(&path);
        }
        url.set_fragment(None);
        Ok(Self { socket: url })
    }

    /// The WebSocket's URL with `params`; empty values are left out.
    pub(super) fn socket(&self, params: &[(&str, &str)]) -> Url {
        let mut url = self.socket.clone();
        {
            let mut query = url.query_pairs_mut();
            for (name, value) in params.iter().filter(|(_, value)| !value.is_empty()) {
                query.append_pair(name, value);
            }
        }
        if url.query() == Some("") {
            url.set_query(None);
        }
        url
    }

    /// The URL of a REST resource: `segments` below `/api`.
    pub(super) fn rest(&self, segments: &[&str]) -> Url {
        let mut url = self.socket.clone();
        let scheme = if url.scheme() == "wss" {
            "https"
        } else {
            "http"
        };
        let base = url.path().split(SOCKET_PATH).next().unwrap_or_default();
        let base = format!("{base}/api");
        url.set_path(&base);
        url.set_query(None);
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(segments);
        }
        // Url::set_scheme refuses nothing between these schemes.
        if url.set_scheme(scheme).is_err() {
            tracing::debug!(scheme, "scheme not changed");
        }
        url
    }
}

impl fmt::Display for HubAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.socket.clone();
        shown.set_query(None);
        f.write_str(shown.as_str())
    }
}

impl fmt::Debug for HubAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HubAddress({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_gives_the_same_urls() {
        for form in [
            "http://hub:80",
            "http://hub/",
            "ws://hub/api/ws",
            "http://hub/api/ws/",
            "hub",
        ] {
            let hub = HubAddress::parse(form).unwrap();
            assert_eq!(hub.to_string(), "ws://hub/api/ws", "{form}");
            assert_eq!(
                hub.rest(&["hub", "session", "a/b"]).as_str(),
                "http://hub/api/hub/session/a%2Fb"
            );
        }
        let hub = HubAddress::parse("https://h.example/base/").unwrap();
        assert_eq!(
            hub.socket(&[("sessionId", "s 1"), ("task", "")]).as_str(),
            "wss://h.example/base/api/ws?sessionId=s+1"
        );
        assert_eq!(
            hub.rest(&["hub"]).as_str(),
            "https://h.example/base/api/hub"
        );
    }

    #[test]
    fn no_key_shows_in_an_address_or_in_its_error() {
        let hub = HubAddress::parse("ws://h/api/ws?token=KEY1").unwrap();
        assert!(!format!("{hub} {hub:?}").contains("KEY1"));
        for bad in [
            "ftp://h?k=KEY1",
            "http://u:KEY1@h",
            "http://?KEY1",
            "ws://KEY1@",
        ] {
            let error = HubAddress::parse(bad).unwrap_err().to_string();
            assert!(!error.contains("KEY1"), "{error}");
        }
    }
}
