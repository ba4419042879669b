//! Who we are to a Hub, said in every way that Hubs are known to read.
//!
//! A key is never shown: not by `Debug`, not in errors, not in logged URLs.

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};

use super::protocol::AuthFrame;

/// Keys of this form are the Hub's own, with a header of their own.
const HUB_KEY_PREFIX: &str = "agc_";
const HUB_KEY_HEADER: HeaderName = HeaderName::from_static("x-agentuity-auth-api-key");
const ORG_HEADER: HeaderName = HeaderName::from_static("x-agentuity-orgid");

/// A key and an organization, each of which may be missing (an open Hub on loopback needs none).
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    key: Option<SecretString>,
    org: Option<String>,
}

/// A key or organization that cannot be sent. It does not repeat what it refuses.
#[derive(Debug, thiserror::Error)]
#[error("the Hub {0} is not usable: it must be printable ASCII without line breaks")]
pub struct InvalidCredentials(&'static str);

impl Credentials {
    /// Checks that both can stand in a header.
    pub fn new(key: Option<SecretString>, org: Option<String>) -> Result<Self, InvalidCredentials> {
        let key = key.filter(|k| !k.expose_secret().is_empty());
        let org = org.filter(|o| !o.is_empty());
        let printable = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        if key.as_ref().is_some_and(|k| !printable(k.expose_secret())) {
            return Err(InvalidCredentials("key"));
        }
        if org.as_ref().is_some_and(|o| !printable(o)) {
            return Err(InvalidCredentials("organization"));
        }
        Ok(Self { key, org })
    }

    /// The headers of REST calls: `Authorization: Bearer`, and the organization.
    pub(super) fn rest_headers(&self) -> HeaderMap {
        self.headers(false)
    }

    /// The headers of the WebSocket: a Hub key goes into its own header instead.
    pub(super) fn socket_headers(&self) -> HeaderMap {
        let hub_key = self.key().is_some_and(|k| k.starts_with(HUB_KEY_PREFIX));
        self.headers(hub_key)
    }

    fn headers(&self, own_header: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let secret = |text: &str| {
            let mut value = HeaderValue::from_str(text).ok()?;
            value.set_sensitive(true);
            Some(value)
        };
        if let Some(key) = self.key() {
            let (name, value) = if own_header {
                (HUB_KEY_HEADER, secret(key))
            } else {
                (AUTHORIZATION, secret(&format!("Bearer {key}")))
            };
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        if let Some(value) = self.org().and_then(|o| HeaderValue::from_str(o).ok()) {
            headers.insert(ORG_HEADER, value);
        }
        headers
    }

    /// The WebSocket's first frame; `None` when there is nothing to say.
    pub(super) fn first_frame(&self) -> Option<AuthFrame> {
        (self.key.is_some() || self.org.is_some()).then(|| AuthFrame {
            authorization: self.key().map(str::to_owned),
            org_id: self.org.clone(),
        })
    }

    /// The key, for the query of the WebSocket's URL. Never to be logged.
    pub(super) fn key(&self) -> Option<&str> {
        self.key.as_ref().map(SecretString::expose_secret)
    }

    pub(super) fn org(&self) -> Option<&str> {
        self.org.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(key: &str) -> Credentials {
        Credentials::new(Some(key.into()), Some("org_1".into())).unwrap()
    }

    #[test]
    fn the_header_follows_from_the_keys_form() {
        let plain = credentials("sk_1").socket_headers();
        assert_eq!(plain[AUTHORIZATION], "Bearer sk_1");
        assert_eq!(plain[ORG_HEADER], "org_1");
        let hub = credentials("agc_1").socket_headers();
        assert_eq!(hub[HUB_KEY_HEADER], "agc_1");
        assert!(!hub.contains_key(AUTHORIZATION));
        let rest = credentials("agc_1").rest_headers();
        assert_eq!(rest[AUTHORIZATION], "Bearer agc_1");
    }

    #[test]
    fn a_key_is_never_shown() {
        let own = credentials("agc_SECRET");
        let shown = format!("{own:?} {:?}", own.socket_headers());
        assert!(!shown.contains("SECRET"), "{shown}");
        let bad = Credentials::new(Some("a\nSECRET".into()), None).unwrap_err();
        assert!(!bad.to_string().contains("SECRET"));
    }
}
