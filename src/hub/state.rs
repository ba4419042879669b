//! What to do when a connection to the Hub ends: pure, so that every close code can be tested.
//!
//! Before the first `init` a refusal is final and an absent Hub is waited for only so long. After
//! it nothing is ever final: the session goes on without the Hub and the link keeps trying. So it is
//! before it, where the session goes on without the Hub's word.

use std::time::{Duration, Instant};

use super::protocol::CloseCode;

/// The link's times. The defaults are those of the official clients where they have any.
#[derive(Debug, Clone)]
pub struct Timing {
    /// A way to the Hub, TLS and the WebSocket's own handshake.
    pub connect: Duration,
    /// From there until the Hub's `init`.
    pub init: Duration,
    /// How long an absent Hub is waited for before the first `init`.
    pub hub_wait: Duration,
    /// Between pings.
    pub ping: Duration,
    /// Silence after which a connection is dead.
    pub dead: Duration,
    /// How long an acknowledgement is waited for.
    pub ack: Duration,
    /// The first pause before a new try.
    pub backoff: Duration,
    /// The longest pause.
    pub backoff_cap: Duration,
    /// The pause when another driver leads the session.
    pub fenced: Duration,
    /// That pause before the first `init`: an old socket of ours may still be half open.
    pub takeover: Duration,
    /// The pause when the Hub refuses us after it had let us in.
    pub rejected: Duration,
    /// How long deltas are joined.
    pub join: Duration,
    /// How long an orderly end waits for events, and then for the farewell, to be acknowledged.
    pub flush: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            connect: s(15),
            init: s(30),
            hub_wait: s(60),
            ping: s(10),
            dead: s(30),
            ack: s(30),
            backoff: Duration::from_millis(500),
            backoff_cap: s(60),
            fenced: s(60),
            takeover: s(10),
            rejected: s(300),
            join: Duration::from_millis(40),
            flush: s(2),
        }
    }
}

/// Where the link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Connecting, authenticating or waiting for `init`.
    Connecting,
    /// Sending events.
    Live,
    /// Waiting before the next try.
    Backoff,
    /// Another driver leads the session: nothing is sent; tried again slowly.
    Fenced,
    /// The Hub refuses us: nothing is sent; tried again slowly.
    Rejected,
    /// Over.
    Closed,
}

/// Why the session could not be joined at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The Hub said no.
    #[error("the Hub refuses this driver: {0}; check the key, the organization and the session id")]
    Refused(String),
    /// Nobody let us in, in the time that was given.
    #[error("the Hub could not be joined within {} s: {why}; is it running at this address?", .waited.as_secs())]
    Unreachable {
        /// The last reason.
        why: String,
        /// How long it was tried.
        waited: Duration,
    },
    /// The link was closed first.
    #[error("the Hub link was closed before it had joined a session")]
    Closed,
}

/// How a connection, or the attempt at one, ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Ended {
    #[error("cannot connect: {0}")]
    Unreachable(String),
    #[error("HTTP status {0} instead of a WebSocket")]
    Http(u16),
    #[error("closed by the Hub: {code}{}{reason}", if .reason.is_empty() { "" } else { ": " })]
    Close { code: CloseCode, reason: String },
    /// A frame that says no, and the close code that came after it, if one did.
    #[error("{said}")]
    Rejected {
        said: String,
        close: Option<CloseCode>,
    },
    #[error("no init came")]
    NoInit,
    #[error("connection lost: {0}")]
    Lost(String),
    #[error("nothing was heard for too long")]
    Silent,
    #[error("the Hub sent what cannot be read: {0}")]
    Nonsense(String),
    #[error("the Hub sent a message that is too long: {0}")]
    Oversized(String),
    #[error("the journal cannot be read: {0}")]
    Source(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Transient,
    Fenced,
    Rejected,
}

impl Ended {
    /// Whether the key is what the Hub does not like.
    pub(super) fn refuses_key(&self) -> bool {
        match self {
            Self::Close { code, .. } => *code == CloseCode::AUTH_REQUIRED,
            Self::Rejected { close, .. } => {
                close.is_none_or(|code| code == CloseCode::AUTH_REQUIRED)
            }
            Self::Http(status) => *status == 401,
            _ => false,
        }
    }

    fn kind(&self) -> Kind {
        let by_code = |code: CloseCode| match code {
            code if code.is_fenced() => Kind::Fenced,
            code if code.is_terminal() => Kind::Rejected,
            _ => Kind::Transient,
        };
        match self {
            Self::Close { code, .. } => by_code(*code),
            // The frame counts, unless the code says that it is for now only or says more.
            Self::Rejected { close, .. } => match close {
                Some(code) if code.0 >= 4000 => by_code(*code),
                _ => Kind::Rejected,
            },
            Self::Http(400 | 401 | 403 | 404) => Kind::Rejected,
            _ => Kind::Transient,
        }
    }
}

/// How to go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) phase: Phase,
    pub(super) after: Duration,
}

/// Decides when to try again.
#[derive(Debug)]
pub(super) struct Reconnect {
    timing: Timing,
    jitter: u64,
    since: Instant,
    stage: Stage,
    failures: u32,
}

/// What a session's work needs the Hub for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// To begin.
    Joining,
    /// For nothing: it goes on without the Hub's word.
    Apart,
    /// For nothing any more: the Hub has let us in.
    Joined,
}

impl Reconnect {
    pub(super) fn new(timing: Timing, seed: u64, now: Instant) -> Self {
        Self {
            timing,
            jitter: seed,
            since: now,
            stage: Stage::Joining,
            failures: 0,
        }
    }

    /// An `init` came.
    pub(super) fn joined(&mut self) {
        self.stage = Stage::Joined;
    }

    /// The session goes on without waiting for that.
    pub(super) fn apart(&mut self) {
        if self.stage == Stage::Joining {
            self.stage = Stage::Apart;
        }
    }

    /// A connection ended, `lived` after its `init`.
    pub(super) fn ended(
        &mut self,
        why: &Ended,
        lived: Duration,
        now: Instant,
    ) -> Result<Next, StartError> {
        // One that is closed as soon as it opens must not reset the pause.
        if lived >= self.timing.ping {
            self.failures = 0;
        }
        let kind = why.kind();
        if self.stage == Stage::Joining {
            let waited = now.saturating_duration_since(self.since);
            if kind == Kind::Rejected {
                return Err(StartError::Refused(why.to_string()));
            }
            if waited >= self.timing.hub_wait {
                let why = why.to_string();
                return Err(StartError::Unreachable { why, waited });
            }
        }
        let (phase, after) = match kind {
            Kind::Transient => (Phase::Backoff, self.backoff()),
            Kind::Fenced if self.stage == Stage::Joined => (Phase::Fenced, self.timing.fenced),
            Kind::Fenced => (Phase::Fenced, self.timing.takeover),
            Kind::Rejected => (Phase::Rejected, self.timing.rejected),
        };
        let after = if self.stage == Stage::Joining {
            // The last try is at the deadline, not after it.
            let left = self.since + self.timing.hub_wait;
            after.min(left.saturating_duration_since(now))
        } else {
            after
        };
        Ok(Next { phase, after })
    }

    /// Full jitter: anything up to the pause that doubles with each failure.
    fn backoff(&mut self) -> Duration {
        let factor = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let most = self
            .timing
            .backoff
            .saturating_mul(factor)
            .min(self.timing.backoff_cap);
        let part = self.random();
        most.mul_f64(part).max(self.timing.backoff / 10)
    }

    /// Uniform in 0..1 (splitmix64).
    fn random(&mut self) -> f64 {
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.jitter;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bits = u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(u32::MAX);
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a starting point for times that the tests make up
mod tests {
    use super::*;

    fn close(code: u16) -> Ended {
        Ended::Close {
            code: CloseCode(code),
            reason: String::new(),
        }
    }

    fn after(joined: bool, why: &Ended) -> Result<Phase, StartError> {
        let now = Instant::now();
        let mut machine = Reconnect::new(Timing::default(), 1, now);
        if joined {
            machine.joined();
        }
        machine
            .ended(why, Duration::ZERO, now)
            .map(|next| next.phase)
    }

    #[test]
    fn a_refusal_before_the_first_init_is_final() {
        for code in [4400, 4401, 4403, 4404, 4500, 4000, 4999] {
            assert!(matches!(
                after(false, &close(code)),
                Err(StartError::Refused(_))
            ));
            assert_eq!(after(true, &close(code)), Ok(Phase::Rejected));
        }
        for status in [400, 401, 403, 404] {
            assert!(after(false, &Ended::Http(status)).is_err(), "{status}");
        }
        let said = |close: Option<u16>| Ended::Rejected {
            said: "session_expired".into(),
            close: close.map(CloseCode),
        };
        for code in [None, Some(1000), Some(4403)] {
            assert!(after(false, &said(code)).is_err(), "{code:?}");
        }
        for code in [4408, 4429] {
            assert_eq!(after(false, &said(Some(code))), Ok(Phase::Backoff));
        }
    }

    #[test]
    fn nothing_is_final_where_the_session_goes_on_without_the_hub() {
        let now = Instant::now();
        let timing = Timing {
            hub_wait: Duration::ZERO,
            ..Timing::default()
        };
        let mut machine = Reconnect::new(timing.clone(), 1, now);
        machine.apart();
        let mut next = |why: &Ended| machine.ended(why, Duration::ZERO, now).unwrap();
        assert_eq!(next(&Ended::Http(401)).phase, Phase::Rejected);
        assert_eq!(next(&Ended::NoInit).phase, Phase::Backoff);
        // It may be our own old socket.
        let (fenced, takeover) = (next(&close(4409)), timing.takeover);
        assert_eq!((fenced.phase, fenced.after), (Phase::Fenced, takeover));
        machine.joined();
        machine.apart();
        let fenced = machine.ended(&close(4409), Duration::ZERO, now).unwrap();
        assert_eq!(fenced.after, timing.fenced);
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        for joined in [false, true] {
            for code in [1000, 1001, 1006, 1011, 1012, 4408, 4429] {
                assert_eq!(after(joined, &close(code)), Ok(Phase::Backoff), "{code}");
            }
            for code in [4409, 4410] {
                assert_eq!(after(joined, &close(code)), Ok(Phase::Fenced), "{code}");
            }
            for why in [Ended::NoInit, Ended::Silent, Ended::Http(503)] {
                assert_eq!(after(joined, &why), Ok(Phase::Backoff));
            }
        }
    }

    #[test]
    fn an_absent_hub_is_waited_for_as_long_as_asked_and_then_for_ever() {
        let start = Instant::now();
        let mut machine = Reconnect::new(Timing::default(), 1, start);
        let gone = Ended::Unreachable("refused".into());
        let mut now = start;
        let mut tries = 0;
        let error = loop {
            tries += 1;
            match machine.ended(&gone, Duration::ZERO, now) {
                Ok(next) => now += next.after,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StartError::Unreachable { waited, .. } if waited.as_secs() == 60));
        assert!(tries > 4, "{tries}");
        machine.joined();
        for _ in 0..10_000 {
            now += machine.ended(&gone, Duration::ZERO, now).unwrap().after;
        }
    }

    #[test]
    fn a_thousand_clients_come_back_at_a_thousand_times() {
        const BINS: usize = 20;
        let (now, timing) = (Instant::now(), Timing::default());
        let mut bins = [0u32; BINS];
        for seed in 0..1_000 {
            let mut machine = Reconnect::new(timing.clone(), seed, now);
            machine.joined();
            for _ in 0..10 {
                let next = machine.ended(&Ended::Silent, Duration::ZERO, now).unwrap();
                if machine.failures == 10 {
                    let part = next.after.as_secs_f64() / timing.backoff_cap.as_secs_f64();
                    let bin = (0..BINS)
                        .rfind(|bin| part * 20.0 >= f64::from(u32::try_from(*bin).unwrap()));
                    bins[bin.unwrap()] += 1;
                }
            }
        }
        let expected = 1_000.0 / 20.0;
        let chi: f64 = bins
            .iter()
            .map(|n| (f64::from(*n) - expected).powi(2) / expected)
            .sum();
        // The 0.999 quantile of 19 degrees of freedom.
        assert!(chi < 43.8, "{chi}: {bins:?}");
    }

    #[test]
    fn pauses_double_up_to_their_cap_with_full_jitter() {
        let now = Instant::now();
        let timing = Timing::default();
        let mut longest = [Duration::ZERO; 12];
        for seed in 0..500 {
            let mut machine = Reconnect::new(timing.clone(), seed, now);
            machine.joined();
            for (n, longest) in longest.iter_mut().enumerate() {
                let after = machine
                    .ended(&Ended::Silent, Duration::ZERO, now)
                    .unwrap()
                    .after;
                let most =
                    (timing.backoff * 2u32.pow(u32::try_from(n).unwrap())).min(timing.backoff_cap);
                assert!(after <= most && after >= timing.backoff / 10);
                *longest = after.max(*longest);
            }
            // A connection that held resets them.
            let after = machine
                .ended(&Ended::Silent, timing.ping, now)
                .unwrap()
                .after;
            assert!(after <= timing.backoff);
        }
        assert!(longest[11] > timing.backoff_cap.mul_f64(0.95));
    }
}
