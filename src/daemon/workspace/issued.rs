//! Tokens that were issued to a session, kept so that the next daemon masks them from its first line
//! on: the agent may print one before anybody who could say it again has answered.
//!
//! The file holds none of them in plain. It is sealed (ChaCha20-Poly1305) with a key that follows from
//! the Hub's, which is in no file of ours: whoever can open it could ask the Hub for the token itself.
//! At a Hub without keys that is anyone. A file that does not open, since the Hub's key is another one
//! now, is begun anew.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use ring::{hmac, rand};
use secrecy::{ExposeSecret as _, SecretString};

use crate::files;
use crate::hub::Credentials;
use crate::ids::SessionId;

/// As many as a session masks: those before have long expired.
const MOST: usize = 256;

/// The tokens of a session.
pub(in crate::daemon) struct Issued {
    path: PathBuf,
    session: SessionId,
    hub: Credentials,
    known: Mutex<Vec<SecretString>>,
}

impl Issued {
    /// Those that an earlier daemon has kept, and a place for more.
    pub(in crate::daemon) fn open(
        state_dir: &Path,
        session: &SessionId,
        hub: &Credentials,
    ) -> Self {
        let issued = Self {
            path: file(state_dir, session),
            session: session.clone(),
            hub: hub.clone(),
            known: Mutex::default(),
        };
        let known = issued.read();
        Self {
            known: Mutex::new(known),
            ..issued
        }
    }

    /// All of them, the oldest first.
    pub(in crate::daemon) fn tokens(&self) -> Vec<SecretString> {
        self.known().clone()
    }

    /// Keeps one, before it is used; durable when this returns. Where it cannot be kept it is
    /// masked as long as this daemon lives.
    pub(in crate::daemon) fn keep(&self, token: &SecretString) {
        let mut known = self.known();
        let is_it = |known: &SecretString| known.expose_secret() == token.expose_secret();
        if known.iter().any(is_it) {
            return;
        }
        known.push(token.clone());
        let surplus = known.len().saturating_sub(MOST);
        known.drain(..surplus);
        if let Err(error) = self.write(&known) {
            let file = self.path.display();
            tracing::warn!(%file, %error, "a token would not be known to the next daemon");
        }
    }

    /// Forgets them.
    pub(in crate::daemon) fn forget(state_dir: &Path, session: &SessionId) -> io::Result<()> {
        match std::fs::remove_file(file(state_dir, session)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Vec<SecretString>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Vec<SecretString> {
        let sealed = match std::fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            read => read,
        };
        let opened = sealed
            .map_err(|error| error.to_string())
            .and_then(|sealed| {
                let opened = self.opened(sealed);
                opened.ok_or_else(|| "it was sealed with another key of the Hub".to_owned())
            });
        opened.unwrap_or_else(|why| {
            let file = self.path.display();
            tracing::warn!(%file, why, "tokens of before are masked once the Hub has said them");
            Vec::new()
        })
    }

    fn opened(&self, mut sealed: Vec<u8>) -> Option<Vec<SecretString>> {
        let mut text = sealed.split_off(sealed.len().min(NONCE_LEN));
        let nonce = Nonce::try_assume_unique_for_key(&sealed).ok()?;
        let text = self
            .key()?
            .open_in_place(nonce, self.aad(), &mut text)
            .ok()?;
        let tokens: Vec<String> = serde_json::from_slice(text).ok()?;
        Some(tokens.into_iter().map(SecretString::from).collect())
    }

    fn write(&self, tokens: &[SecretString]) -> io::Result<()> {
        let plain: Vec<&str> = tokens.iter().map(SecretString::expose_secret).collect();
        let mut text = serde_json::to_vec(&plain)?;
        let sealing = |_| io::Error::other("the tokens cannot be sealed");
        let random = rand::generate::<[u8; NONCE_LEN]>(&rand::SystemRandom::new());
        let nonce = random.map_err(sealing)?.expose();
        let key = self.key().ok_or_else(|| sealing(Unspecified))?;
        let unique = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(unique, self.aad(), &mut text)
            .map_err(sealing)?;
        if let Some(folder) = self.path.parent() {
            files::create_private_dir(folder)?;
        }
        files::replace_durably(&self.path, &[&nonce[..], &text].concat())
    }

    /// The same for the same key of the Hub.
    fn key(&self) -> Option<LessSafeKey> {
        let hub = self.hub.key();
        let hub = hub.as_ref().map_or("", |key| key.expose_secret());
        let key = hmac::Key::new(hmac::HMAC_SHA256, hub.as_bytes());
        let key = hmac::sign(&key, b"agent-runner: tokens issued to sessions");
        let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_ref()).ok()?;
        Some(LessSafeKey::new(key))
    }

    /// One session's file is none of another's.
    fn aad(&self) -> Aad<&[u8]> {
        Aad::from(self.session.as_str().as_bytes())
    }
}

fn file(state_dir: &Path, session: &SessionId) -> PathBuf {
    state_dir.join("sessions").join(format!("{session}.tokens"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(key: &str) -> Credentials {
        Credentials::new(Some(SecretString::from(key)), None).unwrap()
    }

    fn words(issued: &Issued) -> Vec<String> {
        let tokens = issued.tokens();
        let plain = tokens.iter().map(|token| token.expose_secret().to_owned());
        plain.collect()
    }

    #[test]
    fn tokens_are_kept_in_a_file_that_says_none_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let session: SessionId = "s1".parse().unwrap();
        let issued = Issued::open(dir.path(), &session, &hub("key"));
        for token in ["t-one-needle", "t-two-needle", "t-one-needle"] {
            issued.keep(&SecretString::from(token));
        }
        let bytes = std::fs::read(dir.path().join("sessions/s1.tokens")).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"needle"));
        let next = Issued::open(dir.path(), &session, &hub("key"));
        assert_eq!(words(&next), ["t-one-needle", "t-two-needle"]);
        assert!(words(&Issued::open(dir.path(), &session, &hub("other"))).is_empty());
        for _ in 0..2 {
            Issued::forget(dir.path(), &session).unwrap();
        }
        assert!(words(&Issued::open(dir.path(), &session, &hub("key"))).is_empty());
    }

    #[test]
    fn a_file_of_nonsense_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let session: SessionId = "s1".parse().unwrap();
        for nonsense in [&b""[..], b"short", &[7; 200]] {
            files::create_private_dir(&dir.path().join("sessions")).unwrap();
            std::fs::write(dir.path().join("sessions/s1.tokens"), nonsense).unwrap();
            let issued = Issued::open(dir.path(), &session, &hub("key"));
            assert!(words(&issued).is_empty());
            issued.keep(&SecretString::from("t-one"));
            let next = Issued::open(dir.path(), &session, &hub("key"));
            assert_eq!(words(&next), ["t-one"]);
        }
    }
}
