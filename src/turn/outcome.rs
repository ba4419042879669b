//! How a turn ended, judged from what the CLI said, how its process ended and why we ended it.
//!
//! The rule: a turn is `completed` only when the CLI's own terminal record says so. Exit 0 without
//! it is `incomplete`, a death without it `crashed`, and with nothing known of the process (a
//! replay) `unknown`. A turn that we stopped is named after why, unless it had completed before
//! the signal reached it. Pure: the same facts give the same events.

use crate::agent::{Evidence, Exit};
use crate::event::{CrashCause, ErrorClass, Event, Outcome, TurnError};

/// Why the CLI was stopped by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The user asked for it.
    Cancel,
    /// The turn's time was up.
    Timeout,
    /// A message is to be heard at once: the conversation goes on in another turn.
    Steer,
    /// The daemon leaves, or the session is paused: the turn goes on later.
    Pause,
    /// It stayed after its terminal record.
    Linger,
    /// It gave no sign of life for too long.
    Hang,
}

/// What is known of the CLI's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// It ended like this.
    Ended(Exit),
    /// It is gone and nobody saw how: its shim or the machine died.
    Lost,
    /// It did not die of SIGKILL.
    Unkillable,
    /// Nothing: a recording without exit status.
    Unknown,
}

/// What there is to say about an attempt that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The turn is over.
    Ended {
        /// How.
        outcome: Outcome,
        /// Why it did not complete.
        error: Option<TurnError>,
    },
    /// The attempt died. The turn may be resumed.
    Crashed {
        /// Of what.
        cause: CrashCause,
        /// As far as is known.
        exit: Exit,
        /// What a person is told.
        message: String,
    },
    /// The turn is neither over nor dead: it goes on when its session does.
    Paused,
}

impl Verdict {
    /// Judges an attempt.
    pub fn new(evidence: Evidence, process: Process, stop: Option<Stop>) -> Self {
        if evidence == Evidence::Completed {
            return Self::ended(Outcome::Completed, None);
        }
        if process == Process::Unkillable {
            let message = "the agent's process did not end, even by SIGKILL; a restart of the \
                machine may be needed";
            return Self::ended(Outcome::Unkillable, Some(internal(message)));
        }
        match stop {
            Some(Stop::Cancel | Stop::Steer) => return Self::ended(Outcome::Cancelled, None),
            Some(Stop::Timeout) => return Self::ended(Outcome::TimedOut, None),
            Some(Stop::Pause) => return Self::Paused,
            Some(Stop::Linger | Stop::Hang) | None => {}
        }
        match evidence {
            Evidence::Failed(error) | Evidence::ConversationMissing(error) => {
                Self::ended(Outcome::Failed, Some(error))
            }
            Evidence::Interrupted => Self::ended(Outcome::Cancelled, None),
            Evidence::None | Evidence::Completed => Self::without_evidence(process, stop),
        }
    }

    fn ended(outcome: Outcome, error: Option<TurnError>) -> Self {
        Self::Ended { outcome, error }
    }

    fn without_evidence(process: Process, stop: Option<Stop>) -> Self {
        let exit = match process {
            Process::Ended(exit) => exit,
            Process::Unknown => {
                let message = "the output has no terminal record, and how the agent's process \
                    ended is not known";
                return Self::ended(Outcome::Unknown, Some(unknown(message)));
            }
            Process::Lost | Process::Unkillable => Exit::default(),
        };
        if stop == Some(Stop::Linger) || exit.code == Some(0) {
            let message = "the agent's process ended without saying that the work is done";
            return Self::ended(Outcome::Incomplete, Some(unknown(message)));
        }
        let (cause, how) = match exit {
            _ if stop == Some(Stop::Hang) => (CrashCause::Hang, "gave no sign of life".to_owned()),
            Exit { oom: true, .. } => (CrashCause::Oom, "ran out of memory".to_owned()),
            Exit {
                signal: Some(signal),
                ..
            } => (CrashCause::Signal, format!("was killed by signal {signal}")),
            Exit {
                code: Some(code), ..
            } => (
                CrashCause::Exit,
                format!("exited with code {code} in the middle of its work"),
            ),
            _ => (
                CrashCause::Lost,
                "is gone, and nobody saw it end".to_owned(),
            ),
        };
        Self::Crashed {
            cause,
            exit,
            message: format!("the agent's process {how}"),
        }
    }

    /// The closing events: one `agent_crashed` for a dead attempt, and one `end` unless the turn
    /// goes on. `output` is the last of what the process wrote, `will_resume` the decision on a
    /// dead attempt, `duration_ms` the turn's.
    pub fn into_events(
        self,
        output: &str,
        will_resume: bool,
        duration_ms: Option<u64>,
    ) -> Vec<Event> {
        match self {
            Self::Paused => Vec::new(),
            Self::Ended { outcome, error } => vec![Event::End {
                outcome,
                error,
                duration_ms,
            }],
            Self::Crashed {
                cause,
                exit,
                message,
            } => {
                let mut events = vec![Event::AgentCrashed {
                    message: message.clone(),
                    cause,
                    exit_code: exit.code,
                    signal: exit.signal,
                    output: output.to_owned(),
                    will_resume,
                }];
                if !will_resume {
                    events.push(Event::End {
                        outcome: Outcome::Crashed,
                        error: Some(unknown(&message)),
                        duration_ms,
                    });
                }
                events
            }
        }
    }
}

fn unknown(message: &str) -> TurnError {
    TurnError::new(ErrorClass::Unknown, message)
}

fn internal(message: &str) -> TurnError {
    TurnError::new(ErrorClass::Internal, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: Option<i32>, signal: Option<i32>) -> Process {
        Process::Ended(Exit {
            code,
            signal,
            oom: false,
        })
    }

    fn failed() -> Evidence {
        Evidence::Failed(TurnError::new(ErrorClass::Auth, "no key"))
    }

    fn outcome(evidence: Evidence, process: Process, stop: Option<Stop>) -> Option<Outcome> {
        match Verdict::new(evidence, process, stop) {
            Verdict::Ended { outcome, .. } => Some(outcome),
            Verdict::Crashed { .. } => Some(Outcome::Crashed),
            Verdict::Paused => None,
        }
    }

    #[test]
    fn only_evidence_completes_a_turn() {
        let zero = ended(Some(0), None);
        assert_eq!(
            outcome(Evidence::Completed, zero, None),
            Some(Outcome::Completed)
        );
        assert_eq!(
            outcome(Evidence::None, zero, None),
            Some(Outcome::Incomplete)
        );
        assert_eq!(
            outcome(Evidence::None, Process::Unknown, None),
            Some(Outcome::Unknown)
        );
        assert_eq!(outcome(failed(), zero, None), Some(Outcome::Failed));
        assert_eq!(
            outcome(Evidence::Interrupted, zero, None),
            Some(Outcome::Cancelled)
        );
    }

    #[test]
    fn a_death_without_evidence_is_a_crash_with_its_cause() {
        let cause = |process, stop| match Verdict::new(Evidence::None, process, stop) {
            Verdict::Crashed { cause, .. } => cause,
            verdict => panic!("{verdict:?}"),
        };
        assert_eq!(cause(ended(Some(1), None), None), CrashCause::Exit);
        assert_eq!(cause(ended(None, Some(9)), None), CrashCause::Signal);
        assert_eq!(cause(Process::Lost, None), CrashCause::Lost);
        assert_eq!(
            cause(ended(None, Some(9)), Some(Stop::Hang)),
            CrashCause::Hang
        );
        let oom = Process::Ended(Exit {
            oom: true,
            signal: Some(9),
            code: None,
        });
        assert_eq!(cause(oom, None), CrashCause::Oom);
    }

    #[test]
    fn a_turn_that_we_stopped_is_named_after_why_unless_it_had_completed() {
        let killed = ended(None, Some(2));
        for (stop, expected) in [
            (Stop::Cancel, Some(Outcome::Cancelled)),
            (Stop::Steer, Some(Outcome::Cancelled)),
            (Stop::Timeout, Some(Outcome::TimedOut)),
            (Stop::Pause, None),
        ] {
            for evidence in [Evidence::None, Evidence::Interrupted, failed()] {
                assert_eq!(outcome(evidence, killed, Some(stop)), expected, "{stop:?}");
            }
            let completed = outcome(Evidence::Completed, killed, Some(stop));
            assert_eq!(completed, Some(Outcome::Completed), "{stop:?}");
        }
        assert_eq!(
            outcome(Evidence::None, killed, Some(Stop::Linger)),
            Some(Outcome::Incomplete)
        );
        let stuck = outcome(Evidence::None, Process::Unkillable, Some(Stop::Cancel));
        assert_eq!(stuck, Some(Outcome::Unkillable));
    }

    #[test]
    fn there_is_one_end_and_a_crash_only_before_it() {
        let crash = || Verdict::new(Evidence::None, Process::Lost, None);
        let kinds = |events: Vec<Event>| {
            let kind = |event: &Event| matches!(event, Event::End { .. });
            events.iter().map(kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds(crash().into_events("", false, None)), [false, true]);
        assert_eq!(kinds(crash().into_events("", true, None)), [false]);
        let done = Verdict::new(Evidence::Completed, Process::Unknown, None);
        assert_eq!(kinds(done.into_events("", false, None)), [true]);
        assert!(Verdict::Paused.into_events("", false, None).is_empty());
    }
}
