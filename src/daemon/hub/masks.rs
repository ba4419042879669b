//! One automaton for all sessions that have the same secrets.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use secrecy::{ExposeSecret as _, SecretString};

use crate::daemon::DaemonError;
use crate::redact::Redactor;

/// The redactors of a daemon's sessions. An automaton takes tens of kilobytes, and most sessions
/// have the same few keys.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Masks(Mutex<Vec<Mask>>);

#[derive(Debug)]
struct Mask {
    secrets: Vec<SecretString>,
    redactor: Weak<Redactor>,
}

impl Masks {
    /// What masks exactly these secrets.
    pub(in crate::daemon) fn of(
        &self,
        mut secrets: Vec<SecretString>,
    ) -> Result<Arc<Redactor>, DaemonError> {
        secrets.sort_by(|a, b| a.expose_secret().cmp(b.expose_secret()));
        secrets.dedup_by(|a, b| a.expose_secret() == b.expose_secret());
        let mut masks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The secrets of sessions that are gone go with them.
        masks.retain(|mask| mask.redactor.strong_count() > 0);
        let known = masks.iter().find(|mask| mask.is_of(&secrets));
        if let Some(redactor) = known.and_then(|mask| mask.redactor.upgrade()) {
            return Ok(redactor);
        }
        let made = Redactor::new(&secrets);
        let redactor = made.map_err(|error| DaemonError::Internal(error.to_string()))?;
        let redactor = Arc::new(redactor);
        masks.push(Mask {
            secrets,
            redactor: Arc::downgrade(&redactor),
        });
        Ok(redactor)
    }
}

impl Mask {
    fn is_of(&self, secrets: &[SecretString]) -> bool {
        let same = |(a, b): (&SecretString, &SecretString)| a.expose_secret() == b.expose_secret();
        self.secrets.len() == secrets.len() && self.secrets.iter().zip(secrets).all(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_with_the_same_secrets_share_and_others_do_not() {
        let masks = Masks::default();
        let of = |words: &[&str]| {
            let secrets = words.iter().map(|word| SecretString::from(*word));
            masks.of(secrets.collect()).unwrap()
        };
        let one = of(&["first-secret", "second-secret"]);
        assert!(Arc::ptr_eq(&one, &of(&["second-secret", "first-secret"])));
        let other = of(&["first-secret"]);
        assert!(!Arc::ptr_eq(&one, &other));
        drop((one, other));
        of(&[]);
        assert_eq!(masks.0.lock().unwrap().len(), 1, "secrets of nobody stay");
    }
}
