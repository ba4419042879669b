//! Identifiers, each its own type so that one cannot stand in for another.
//!
//! Sessions carry the Hub's own opaque id. Turns and runs are UUIDv7 (they sort by creation).
//! Event ids are derived (UUIDv5) from the run and the event's ordinal in it, so that parsing the
//! same bytes again gives the same ids and a consumer can drop what it has already seen.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A Hub session's id: opaque, 1 to 128 bytes of `[A-Za-z0-9_.:-]`, not starting with `.` or `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(String);

impl SessionId {
    /// The id as the Hub wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a string is not a session id.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a session id (1 to 128 of A-Z a-z 0-9 _ . : -, not starting with . or -)")]
pub struct InvalidSessionId(String);

impl TryFrom<String> for SessionId {
    type Error = InvalidSessionId;

    fn try_from(text: String) -> Result<Self, InvalidSessionId> {
        // The id becomes a folder name and part of URLs: nothing that could walk a path.
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"_.:-".contains(&b);
        let first = text.bytes().next();
        if text.len() <= 128
            && text.bytes().all(legal)
            && first.is_some_and(|b| b != b'.' && b != b'-')
        {
            Ok(Self(text))
        } else {
            Err(InvalidSessionId(text.chars().take(140).collect()))
        }
    }
}

impl FromStr for SessionId {
    type Err = InvalidSessionId;

    fn from_str(text: &str) -> Result<Self, InvalidSessionId> {
        Self::try_from(text.to_owned())
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text that is no UUID.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no id; write it as it is shown, as 0198f2c1-5a3e-7c44-9d0b-2f6c1e8a7b90")]
pub struct InvalidId(String);

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps an existing UUID.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID within.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let uuid = Uuid::from_str(text);
                uuid.map(Self).map_err(|_| InvalidId(text.escape_debug().to_string()))
            }
        }
    };
}

uuid_id! {
    /// One prompt's run of an agent, over all its attempts.
    TurnId
}
uuid_id! {
    /// One CLI process with its shim and its folder.
    RunId
}

impl RunId {
    /// When it was made, in milliseconds since 1970; none of one that is no UUIDv7.
    pub fn made_at(self) -> Option<u64> {
        let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
        let millis = seconds.checked_mul(1_000)?;
        millis.checked_add(u64::from(nanos / 1_000_000))
    }
}

uuid_id! {
    /// One event; the same for every parse of the same bytes.
    EventId
}

impl EventId {
    /// The id of the `ordinal`-th event (from 0) of `origin`: a run, or a turn for the events
    /// that the runner itself adds.
    pub fn derive(origin: Uuid, ordinal: u64) -> Self {
        Self(Uuid::new_v5(&origin, &ordinal.to_be_bytes()))
    }
}

/// An event's place in its session: from 1, without holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(NonZeroU64);

impl Seq {
    /// The first event of a session.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// `None` for 0.
    pub fn new(value: u64) -> Option<Self> {
        NonZeroU64::new(value).map(Self)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A byte position in a run's spool.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct SpoolOffset(u64);

impl SpoolOffset {
    /// The spool's first byte.
    pub const START: Self = Self(0);

    /// Wraps a byte position.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The byte position.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position `bytes` further on.
    #[must_use]
    pub const fn advanced(self, bytes: u64) -> Self {
        Self(self.0.saturating_add(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_cannot_walk_a_path() {
        for bad in ["", ".", "..", "../x", "a/b", "a b", "-x", "a\0", "é"] {
            assert!(bad.parse::<SessionId>().is_err(), "{bad:?} was taken");
        }
        assert!("x".repeat(129).parse::<SessionId>().is_err());
        for good in ["codesess_1", "a", "0193-ab.c:d"] {
            assert_eq!(good.parse::<SessionId>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn an_event_id_follows_from_its_origin_and_ordinal() {
        let run = Uuid::from_u128(7);
        assert_eq!(EventId::derive(run, 3), EventId::derive(run, 3));
        assert_ne!(EventId::derive(run, 3), EventId::derive(run, 4));
        assert_ne!(
            EventId::derive(run, 3),
            EventId::derive(Uuid::from_u128(8), 3)
        );
    }
}
