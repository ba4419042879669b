//! How a turn ended, judged from what the CLI said, how its process ended and why we ended it.
//!
//! The rule: a turn is `completed` only when the CLI's own terminal record says so. Exit 0 without
//! it is `incomplete` (but not in live form, where a process serves many turns), a death without it `crashed`, and with nothing known of the process (a
//! replay) `unknown`. A turn that we stopped is named after why, unless it had completed before
//! the signal reached it. Pure: the same facts give the same events.

use crate::agent::Evidence;
use crate::event::{CrashCause, ErrorClass, Event, Outcome, TurnError};
use crate::exit::Exit;

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
    /// It ended like this, by itself or by someone else's doing.
    Ended(Exit),
    /// It ended like this in the middle of a turn, by itself or by someone else's doing, and was to
    /// serve more of them, or does not end a turn like that: whatever its code, it was cut off.
    /// Codex 0.169.0 in live form and Gemini CLI 0.61.0 exit with 0 at a SIGTERM.
    Left(Exit),
    /// It ended like this after the runner had told it to.
    Stopped(Exit),
    /// It ended like this, and whose doing it was is not on record.
    Recorded(Exit),
    /// It is gone and nobody saw how: its shim or the machine died.
    Lost,
    /// It did not die of SIGKILL.
    Unkillable,
    /// It goes on: one process serves many turns.
    GoesOn,
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
            // What we did to it is no failure of its own; what it had said before is.
            Some(Stop::Hang) if !says_why(&evidence) => {
                return Self::without_evidence(process, stop);
            }
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
            Process::Ended(exit)
            | Process::Left(exit)
            | Process::Stopped(exit)
            | Process::Recorded(exit) => exit,
            Process::GoesOn => {
                let message = "the agent ended its turn without saying that the work is done";
                return Self::ended(Outcome::Incomplete, Some(unknown(message)));
            }
            Process::Unknown => {
                let message = "the output has no terminal record, and how the agent's process \
                    ended is not known";
                return Self::ended(Outcome::Unknown, Some(unknown(message)));
            }
            Process::Lost | Process::Unkillable => Exit::default(),
        };
        let may_leave = !matches!(process, Process::Left(_)) && stop != Some(Stop::Hang);
        if stop == Some(Stop::Linger) || (exit.code == Some(0) && may_leave) {
            let message = "the agent's process ended without saying that the work is done";
            return Self::ended(Outcome::Incomplete, Some(unknown(message)));
        }
        let (cause, how) = match exit {
            _ if stop == Some(Stop::Hang) => (CrashCause::Hang, "gave no sign of life".to_owned()),
            Exit { oom: true, .. } => (CrashCause::Oom, "ran out of memory".to_owned()),
            Exit {
                signal: Some(signal),
                ..
            } => (CrashCause::Signal, killed(signal, process)),
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

    /// The same, with what is known of why it hung.
    #[must_use]
    pub fn explained(self, hang: Option<&str>) -> Self {
        match (self, hang) {
            (
                Self::Crashed {
                    cause: CrashCause::Hang,
                    exit,
                    ..
                },
                Some(how),
            ) => Self::Crashed {
                cause: CrashCause::Hang,
                exit,
                message: format!("the agent's process {how}"),
            },
            (verdict, _) => verdict,
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

/// Whether the CLI itself has said what is wrong, in a way that is known.
fn says_why(evidence: &Evidence) -> bool {
    match evidence {
        Evidence::Failed(error) => error.class != ErrorClass::Unknown,
        Evidence::ConversationMissing(_) => true,
        Evidence::Completed | Evidence::Interrupted | Evidence::None => false,
    }
}

/// Of a signal's death: what it was and, as far as the kernel tells, whose doing.
fn killed(signal: i32, process: Process) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => "",
    };
    let whose = match (process, signal) {
        (Process::Recorded(_), _) => "",
        (Process::Stopped(_), _) => ", which the runner had sent",
        // These a process earns by what it does; whoever else may send them hardly ever does.
        (_, 4 | 6 | 7 | 8 | 11 | 13 | 24 | 25 | 31) => ", a fault of its own",
        _ => ", sent by someone else, neither the runner nor the kernel for want of memory",
    };
    let name = if name.is_empty() {
        String::new()
    } else {
        format!(" ({name})")
    };
    format!("was killed by signal {signal}{name}{whose}")
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
    fn a_process_that_was_to_serve_on_has_crashed_whatever_its_code() {
        for code in [0, 1] {
            let exit = Exit {
                code: Some(code),
                ..Exit::default()
            };
            let verdict = Verdict::new(Evidence::None, Process::Left(exit), None);
            let message =
                format!("the agent's process exited with code {code} in the middle of its work");
            let crashed = Verdict::Crashed {
                cause: CrashCause::Exit,
                exit,
                message,
            };
            assert_eq!(verdict, crashed);
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
    fn a_signals_death_says_whose_doing_it_was() {
        let message = |process| match Verdict::new(Evidence::None, process, None) {
            Verdict::Crashed { message, .. } => message,
            verdict => panic!("{verdict:?}"),
        };
        let killed = |signal| ended(None, Some(signal));
        assert!(message(killed(9)).contains("signal 9 (SIGKILL), sent by someone else"));
        assert!(message(killed(11)).contains("signal 11 (SIGSEGV), a fault of its own"));
        assert!(message(killed(40)).contains("by signal 40, sent by"));
        let Process::Ended(exit) = killed(15) else {
            panic!()
        };
        assert!(message(Process::Stopped(exit)).contains("which the runner had sent"));
    }

    #[test]
    fn a_hang_is_a_crash_whatever_its_stop_made_the_cli_say_unless_it_said_why_before() {
        let hung = |evidence, process| outcome(evidence, process, Some(Stop::Hang));
        let unknown = TurnError::new(ErrorClass::Unknown, "aborted");
        for evidence in [
            Evidence::None,
            Evidence::Interrupted,
            Evidence::Failed(unknown),
        ] {
            for process in [ended(None, Some(2)), ended(Some(0), None)] {
                let outcome = hung(evidence.clone(), process);
                assert_eq!(outcome, Some(Outcome::Crashed), "{evidence:?} {process:?}");
            }
        }
        let killed = ended(None, Some(2));
        assert_eq!(hung(failed(), killed), Some(Outcome::Failed));
        assert_eq!(hung(Evidence::Completed, killed), Some(Outcome::Completed));
        let verdict = Verdict::new(Evidence::None, killed, Some(Stop::Hang));
        let Verdict::Crashed { message, .. } = verdict.explained(Some("is silent")) else {
            panic!()
        };
        assert_eq!(message, "the agent's process is silent");
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
