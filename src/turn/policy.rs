//! What follows when an attempt is over: the turn's end, or another attempt. Pure.
//!
//! | the attempt | what follows |
//! |---|---|
//! | completed, or failed with a reason (login, quota, request, network, …) | the turn's end |
//! | failed on a resumed conversation because of its history, before the agent did anything | a fresh conversation with a recap |
//! | the CLI does not have the conversation | a fresh conversation with a recap |
//! | died, or was lost | another attempt after a wait, up to [`ATTEMPTS`]; out of memory: one |
//! | ended by itself without saying that it is done | the turn's end, unless no daemon was there |
//! | stopped by us | as it was meant: the steering message, a pause, the end |
//!
//! What the next attempt is told follows from [`Seen`], so a prompt that the agent took up is not
//! sent again.

use std::time::Duration;

use crate::agent::Evidence;
use crate::event::{CrashCause, ErrorClass};
use crate::turn::outcome::Stop;
use crate::turn::seen::Seen;

/// Attempts of one turn that may die. Steering and pauses do not count.
pub const ATTEMPTS: u32 = 3;
/// One more try for what ran out of memory: it most likely does so again.
const OOM_ATTEMPTS: u32 = 2;
/// The wait before the second attempt; each further one is four times as long.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// How an attempt ended, as far as the next step depends on it.
#[derive(Debug)]
pub struct Ended<'a> {
    /// What the CLI's records say.
    pub evidence: &'a Evidence,
    /// What it died of, if it died.
    pub crash: Option<CrashCause>,
    /// Why we stopped it, if we did.
    pub cause: Option<Stop>,
    /// Whether the process was left by an earlier daemon that stopped in the middle of the turn.
    pub left_behind: bool,
    /// Whether it went on with an earlier conversation.
    pub resumed: bool,
    /// Whether it showed anything of the agent's.
    pub showed: bool,
    /// The turn before this end.
    pub seen: &'a Seen,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Close the turn.
    End,
    /// Leave it open: this daemon is going, the next one goes on with it.
    Pause,
    /// Start the CLI again.
    Again(Why),
}

/// Why there is another attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Why {
    /// A message is to be heard at once.
    Steer,
    /// It was interrupted, not by the agent's own doing.
    CutOff,
    /// It died; try again after this time.
    Crash(Duration),
    /// Its conversation cannot be gone on with, for this reason.
    Lost(String),
}

/// Decides.
pub fn next(ended: &Ended<'_>) -> Next {
    match (ended.cause, ended.evidence) {
        // A turn that finished while it was being steered still has to hear the message.
        (Some(Stop::Steer), _) => Next::Again(Why::Steer),
        (Some(Stop::Cancel | Stop::Timeout), _)
        | (Some(Stop::Pause), Evidence::Failed(_))
        | (_, Evidence::Completed) => Next::End,
        (Some(Stop::Pause), _) => Next::Pause,
        // Whatever the CLI said as it was ended.
        (Some(Stop::Hang), _) if ended.crash.is_some() => after_cut(ended),
        (_, Evidence::ConversationMissing(_)) if ended.resumed => Next::Again(Why::Lost(
            "the agent's CLI no longer has the conversation".to_owned(),
        )),
        (_, Evidence::Failed(error)) if ended.resumed && !ended.showed => match error.class {
            ErrorClass::ContextOverflow => lost("is too long to go on with", &error.message),
            ErrorClass::InvalidRequest => lost("is refused by the model", &error.message),
            _ => Next::End,
        },
        (_, Evidence::Failed(_) | Evidence::ConversationMissing(_)) => Next::End,
        (_, Evidence::Interrupted | Evidence::None) => after_cut(ended),
    }
}

fn lost(how: &str, message: &str) -> Next {
    Next::Again(Why::Lost(format!(
        "the agent's conversation {how}: {message}"
    )))
}

fn after_cut(ended: &Ended<'_>) -> Next {
    match ended.crash {
        Some(cause) => after_crash(cause, ended.seen),
        None if ended.left_behind => Next::Again(Why::CutOff),
        None => Next::End,
    }
}

fn after_crash(cause: CrashCause, seen: &Seen) -> Next {
    let out_of_memory = cause == CrashCause::Oom && seen.ooms() + 1 >= OOM_ATTEMPTS;
    if out_of_memory || seen.crashes() + 1 >= ATTEMPTS {
        return Next::End;
    }
    Next::Again(Why::Crash(FIRST_WAIT * 4_u32.pow(seen.crashes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, TurnError};

    fn failed(class: ErrorClass) -> Evidence {
        Evidence::Failed(TurnError::new(class, "no"))
    }

    fn after(crashes: &[CrashCause]) -> Seen {
        let mut seen = Seen::default();
        for cause in crashes {
            seen.event(&Event::AgentCrashed {
                message: String::new(),
                cause: *cause,
                exit_code: None,
                signal: None,
                output: String::new(),
                will_resume: true,
            });
        }
        seen
    }

    fn ended<'a>(evidence: &'a Evidence, seen: &'a Seen) -> Ended<'a> {
        Ended {
            evidence,
            crash: None,
            cause: None,
            left_behind: false,
            resumed: false,
            showed: true,
            seen,
        }
    }

    #[test]
    fn a_steered_turn_goes_on_even_when_it_had_just_finished() {
        let seen = Seen::default();
        for evidence in [Evidence::Interrupted, Evidence::Completed, Evidence::None] {
            let steered = Ended {
                cause: Some(Stop::Steer),
                ..ended(&evidence, &seen)
            };
            assert_eq!(next(&steered), Next::Again(Why::Steer));
        }
    }

    #[test]
    fn a_paused_turn_stays_open_unless_it_had_just_finished() {
        let seen = Seen::default();
        let paused = |evidence| {
            next(&Ended {
                cause: Some(Stop::Pause),
                ..ended(evidence, &seen)
            })
        };
        assert_eq!(paused(&Evidence::Interrupted), Next::Pause);
        assert_eq!(paused(&Evidence::None), Next::Pause);
        assert_eq!(paused(&Evidence::Completed), Next::End);
        assert_eq!(paused(&failed(ErrorClass::Auth)), Next::End);
    }

    #[test]
    fn a_hang_is_followed_by_another_attempt_unless_the_cli_had_said_why() {
        let seen = Seen::default();
        for (evidence, crash, again) in [
            (Evidence::None, Some(CrashCause::Hang), true),
            (Evidence::Interrupted, Some(CrashCause::Hang), true),
            // what it said as it was ended, which is no reason
            (failed(ErrorClass::Unknown), Some(CrashCause::Hang), true),
            (failed(ErrorClass::Quota), None, false),
            (failed(ErrorClass::Auth), None, false),
            (Evidence::Completed, None, false),
        ] {
            let next = next(&Ended {
                cause: Some(Stop::Hang),
                crash,
                ..ended(&evidence, &seen)
            });
            let is_again = matches!(next, Next::Again(Why::Crash(_)));
            assert_eq!(is_again, again, "{evidence:?}: {next:?}");
        }
    }

    #[test]
    fn a_dead_attempt_is_followed_by_two_more_with_growing_waits() {
        let mut crashes = Vec::new();
        for wait in [2, 8] {
            let seen = after(&crashes);
            let died = Ended {
                crash: Some(CrashCause::Signal),
                ..ended(&Evidence::None, &seen)
            };
            let again = Next::Again(Why::Crash(Duration::from_secs(wait)));
            assert_eq!(next(&died), again);
            crashes.push(CrashCause::Signal);
        }
        let seen = after(&crashes);
        let died = Ended {
            crash: Some(CrashCause::Signal),
            ..ended(&Evidence::None, &seen)
        };
        assert_eq!(next(&died), Next::End);
    }

    #[test]
    fn what_ran_out_of_memory_is_tried_once_more() {
        let evidence = Evidence::None;
        for (before, again) in [
            (vec![], true),
            (vec![CrashCause::Signal], true),
            (vec![CrashCause::Oom], false),
        ] {
            let seen = after(&before);
            let died = Ended {
                crash: Some(CrashCause::Oom),
                ..ended(&evidence, &seen)
            };
            let next = next(&died);
            assert_eq!(
                matches!(next, Next::Again(Why::Crash(_))),
                again,
                "{next:?}"
            );
        }
    }

    #[test]
    fn what_the_cli_says_is_wrong_ends_the_turn() {
        let seen = Seen::default();
        for class in [
            ErrorClass::Auth,
            ErrorClass::Quota,
            ErrorClass::RateLimit,
            ErrorClass::InvalidRequest,
            ErrorClass::ContextOverflow,
            ErrorClass::Network,
        ] {
            let evidence = failed(class);
            assert_eq!(next(&ended(&evidence, &seen)), Next::End, "{class:?}");
            let worked = Ended {
                resumed: true,
                ..ended(&evidence, &seen)
            };
            assert_eq!(next(&worked), Next::End, "{class:?}");
        }
        assert_eq!(next(&ended(&Evidence::None, &seen)), Next::End);
        assert_eq!(next(&ended(&Evidence::Interrupted, &seen)), Next::End);
    }

    #[test]
    fn only_a_history_that_cannot_be_gone_on_with_is_left_behind() {
        let seen = Seen::default();
        for (class, poisoned) in [
            (ErrorClass::ContextOverflow, true),
            (ErrorClass::InvalidRequest, true),
            (ErrorClass::RateLimit, false),
            (ErrorClass::ModelUnavailable, false),
            (ErrorClass::Network, false),
            (ErrorClass::Auth, false),
        ] {
            let evidence = failed(class);
            let refused = Ended {
                resumed: true,
                showed: false,
                ..ended(&evidence, &seen)
            };
            let lost = matches!(next(&refused), Next::Again(Why::Lost(_)));
            assert_eq!(lost, poisoned, "{class:?}");
        }
        let error = TurnError::new(ErrorClass::InvalidRequest, "no conversation");
        let missing = Evidence::ConversationMissing(error);
        let resumed = Ended {
            resumed: true,
            ..ended(&missing, &seen)
        };
        assert!(matches!(next(&resumed), Next::Again(Why::Lost(_))));
        assert_eq!(next(&ended(&missing, &seen)), Next::End);
    }

    #[test]
    fn a_turn_that_a_stopped_daemon_left_goes_on() {
        let seen = after(&[CrashCause::Signal, CrashCause::Signal]);
        for evidence in [Evidence::None, Evidence::Interrupted] {
            let left = Ended {
                left_behind: true,
                ..ended(&evidence, &seen)
            };
            assert_eq!(next(&left), Next::Again(Why::CutOff));
        }
        let left = Ended {
            left_behind: true,
            ..ended(&Evidence::Completed, &seen)
        };
        assert_eq!(next(&left), Next::End);
    }
}
