//! Who we are to a Hub, said in every way that Hubs are known to read.
//!
//! A key is never shown: not by `Debug`, not in errors, not in logged URLs. Clones are one and the
//! same: a key that is renewed is renewed for all of them.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};

use super::protocol::AuthFrame;

/// Keys of this form are the Hub's own, with a header of their own.
const HUB_KEY_PREFIX: &str = "agc_";
const HUB_KEY_HEADER: HeaderName = HeaderName::from_static("x-agentuity-auth-api-key");
const ORG_HEADER: HeaderName = HeaderName::from_static("x-agentuity-orgid");

/// Reads the key again where it came from.
pub type Reread = Box<dyn Fn() -> Result<SecretString, String> + Send + Sync>;

/// A key and an organization, each of which may be missing (an open Hub on loopback needs none).
#[derive(Clone, Default)]
pub struct Credentials(Arc<Shared>);

#[derive(Default)]
struct Shared {
    key: RwLock<Option<SecretString>>,
    org: Option<String>,
    reread: Option<Reread>,
}

/// Whether one connection has the key in its URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    InUrl,
    NotInUrl,
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
        if key.as_ref().is_some_and(|k| !printable(k.expose_secret())) {
            return Err(InvalidCredentials("key"));
        }
        if org.as_ref().is_some_and(|o| !printable(o)) {
            return Err(InvalidCredentials("organization"));
        }
        Ok(Self(Arc::new(Shared {
            key: RwLock::new(key),
            org,
            reread: None,
        })))
    }

    /// These, with a key that can be read again when the Hub refuses it.
    #[must_use]
    pub fn renewable(self, reread: Reread) -> Self {
        Self(Arc::new(Shared {
            key: RwLock::new(self.key()),
            org: self.0.org.clone(),
            reread: Some(reread),
        }))
    }

    /// Reads the key again; whether there is another one now than `refused`. Reads a small file.
    pub(super) fn renew(&self, refused: Option<&SecretString>) -> bool {
        let differs = |key: &SecretString| {
            refused.is_none_or(|refused| refused.expose_secret() != key.expose_secret())
        };
        if self.key().as_ref().is_some_and(differs) {
            // Another session's link has done it.
            return true;
        }
        let read = match &self.0.reread {
            Some(reread) => reread(),
            None => return false,
        };
        match read {
            Ok(key) if differs(&key) && printable(key.expose_secret()) => {
                *self.0.key.write().unwrap_or_else(PoisonError::into_inner) = Some(key);
                true
            }
            Ok(_) => false,
            Err(why) => {
                tracing::warn!(why, "the Hub's key cannot be read again");
                false
            }
        }
    }

    /// The headers of REST calls: `Authorization: Bearer`, and the organization.
    pub(super) fn rest_headers(&self) -> HeaderMap {
        self.headers(false)
    }

    /// The headers of the WebSocket: a Hub key goes into its own header instead.
    pub(super) fn socket_headers(&self) -> HeaderMap {
        let hub_key = |key: &SecretString| key.expose_secret().starts_with(HUB_KEY_PREFIX);
        self.headers(self.key().as_ref().is_some_and(hub_key))
    }

    fn headers(&self, own_header: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let secret = |text: &str| {
            let mut value = HeaderValue::from_str(text).ok()?;
            value.set_sensitive(true);
            Some(value)
        };
        if let Some(key) = self.key() {
            let key = key.expose_secret();
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
        let key = self.key();
        (key.is_some() || self.0.org.is_some()).then(|| AuthFrame {
            authorization: key.map(|key| key.expose_secret().to_owned()),
            org_id: self.0.org.clone(),
        })
    }

    /// The key as it is now.
    pub fn key(&self) -> Option<SecretString> {
        let key = self.0.key.read().unwrap_or_else(PoisonError::into_inner);
        key.clone()
    }

    pub(super) fn org(&self) -> Option<&str> {
        self.0.org.as_deref()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("key", &self.key().is_some())
            .field("org", &self.0.org)
            .finish_non_exhaustive()
    }
}

fn printable(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

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

    #[test]
    fn a_refused_key_is_read_again_and_is_then_everyones() {
        let file = Arc::new(Mutex::new("old".to_owned()));
        let source = Arc::clone(&file);
        let reread = move || Ok(SecretString::from(source.lock().unwrap().clone()));
        let own = credentials("old").renewable(Box::new(reread));
        let other = own.clone();
        let old = own.key();
        assert!(!own.renew(old.as_ref()), "the file holds the same");
        *file.lock().unwrap() = "new".to_owned();
        assert!(own.renew(old.as_ref()));
        assert_eq!(other.rest_headers()[AUTHORIZATION], "Bearer new");
        assert!(other.renew(old.as_ref()), "it is another one already");
        assert!(!other.renew(other.key().as_ref()));
        assert!(!credentials("x").renew(credentials("x").key().as_ref()));
    }
}
