//! What is tried when a Hub refuses the key: the key as it is now where it came from, then the key
//! in the URL too; each once, before the refusal counts.

use secrecy::SecretString;

use crate::config::KeyInUrl;
use crate::hub::credentials::{Credentials, Key};

/// How we show the key.
#[derive(Debug)]
pub(in crate::hub) struct Access {
    mode: KeyInUrl,
    key: Key,
    /// A Hub has let us in that way.
    settled: bool,
    renewed: bool,
}

impl Access {
    pub(in crate::hub) fn new(mode: KeyInUrl) -> Self {
        Self {
            mode,
            key: match mode {
                KeyInUrl::Always => Key::InUrl,
                KeyInUrl::Auto | KeyInUrl::Never => Key::NotInUrl,
            },
            settled: false,
            renewed: false,
        }
    }

    /// Whether the next connection has the key in its URL.
    pub(in crate::hub) fn key(&self) -> Key {
        self.key
    }

    /// The Hub let us in.
    pub(in crate::hub) fn joined(&mut self) {
        self.settled = true;
        self.renewed = false;
    }

    /// The Hub refused `used`; whether there is another way to try at once.
    pub(in crate::hub) fn refused(
        &mut self,
        credentials: &Credentials,
        used: Option<&SecretString>,
    ) -> bool {
        if !self.renewed && credentials.renew(used) {
            tracing::info!("the Hub refuses the key; its source holds another one now");
            self.renewed = true;
            return true;
        }
        self.renewed = false;
        if self.mode != KeyInUrl::Auto || self.settled || used.is_none() {
            return false;
        }
        let next = match self.key {
            Key::NotInUrl => Key::InUrl,
            Key::InUrl => Key::NotInUrl,
        };
        self.key = next;
        if next == Key::InUrl {
            tracing::warn!("the Hub refuses the key in header and frame; trying it in the URL");
        }
        next == Key::InUrl
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials::new(Some("k".into()), None).unwrap()
    }

    #[test]
    fn the_url_is_the_last_way_and_is_tried_once() {
        let (own, mut access) = (credentials(), Access::new(KeyInUrl::Auto));
        let key = own.key();
        assert_eq!(access.key(), Key::NotInUrl);
        assert!(access.refused(&own, key.as_ref()));
        assert_eq!(access.key(), Key::InUrl);
        assert!(!access.refused(&own, key.as_ref()));
        assert_eq!(access.key(), Key::NotInUrl, "from the start the next time");
    }

    #[test]
    fn a_way_that_worked_stays_and_a_choice_is_kept() {
        let (own, mut access) = (credentials(), Access::new(KeyInUrl::Auto));
        let key = own.key();
        assert!(access.refused(&own, key.as_ref()));
        access.joined();
        assert!(!access.refused(&own, key.as_ref()));
        assert_eq!(access.key(), Key::InUrl);
        for (mode, way) in [
            (KeyInUrl::Never, Key::NotInUrl),
            (KeyInUrl::Always, Key::InUrl),
        ] {
            let mut access = Access::new(mode);
            assert!(!access.refused(&own, key.as_ref()));
            assert_eq!(access.key(), way);
        }
    }

    #[test]
    fn another_key_is_tried_at_once_but_not_for_ever() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let count = AtomicU32::new(0);
        let next = move || Ok(format!("k{}", count.fetch_add(1, Ordering::Relaxed)).into());
        let own = credentials().renewable(Box::new(next));
        let mut access = Access::new(KeyInUrl::Never);
        assert!(access.refused(&own, own.key().as_ref()));
        assert!(!access.refused(&own, own.key().as_ref()));
        access.joined();
        assert!(access.refused(&own, own.key().as_ref()));
    }
}
