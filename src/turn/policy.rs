//! What follows when an attempt is over: the turn's end, or another attempt. Pure.

use crate::agent::Evidence;
use crate::turn::outcome::Stop;

/// Attempts of one turn that a restart or a pause may add to; steering does not count.
const RESUMES: u32 = 3;

/// What the agent is told when its turn goes on after an interruption that was not its own.
const CONTINUE: &str = "Your previous turn was cut off before it was done. Look at the state of \
                        the work (a command that was running may or may not have finished), then \
                        go on where it stopped.";

/// How an attempt ended, as far as the next step depends on it.
#[derive(Debug)]
pub struct Ended<'a> {
    /// What the CLI's records say.
    pub evidence: &'a Evidence,
    /// Why we stopped it, if we did.
    pub cause: Option<Stop>,
    /// The steering message that it was stopped for.
    pub steer: Option<String>,
    /// The turn's own prompt.
    pub prompt: &'a str,
    /// Whether the CLI had a session of its own that took the prompt.
    pub prompt_seen: bool,
    /// Whether the process was left by an earlier daemon that stopped in the middle of the turn.
    pub left_behind: bool,
    /// Whether the CLI said that it does not have the conversation that it was to go on with.
    pub conversation_missing: bool,
    /// Earlier resumes of this turn.
    pub resumes: u32,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Close the turn.
    End,
    /// Leave it open: this daemon is going, the next one goes on with it.
    Pause,
    /// Start the CLI again with this prompt, in the same conversation.
    Again {
        /// What the agent is told.
        prompt: String,
        /// Whether this is one of the bounded resumes.
        is_resume: bool,
    },
}

/// Decides.
pub fn next(ended: &Ended<'_>) -> Next {
    let settled = matches!(ended.evidence, Evidence::Completed | Evidence::Failed(_));
    match ended.cause {
        // A turn that finished while it was being steered still has to hear the message.
        Some(Stop::Steer) => {
            let message = ended.steer.clone().unwrap_or_default();
            let prompt = if ended.prompt_seen {
                message
            } else {
                format!("{}\n\n{message}", ended.prompt)
            };
            Next::Again {
                prompt,
                is_resume: false,
            }
        }
        _ if settled => Next::End,
        None if ended.conversation_missing && ended.resumes < RESUMES => Next::Again {
            prompt: ended.prompt.to_owned(),
            is_resume: true,
        },
        Some(Stop::Pause) => Next::Pause,
        None if ended.left_behind && ended.resumes < RESUMES => {
            let prompt = if ended.prompt_seen {
                CONTINUE
            } else {
                ended.prompt
            };
            Next::Again {
                prompt: prompt.to_owned(),
                is_resume: true,
            }
        }
        Some(_) | None => Next::End,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(evidence: &Evidence) -> Ended<'_> {
        Ended {
            evidence,
            cause: None,
            steer: None,
            prompt: "task",
            prompt_seen: true,
            left_behind: false,
            conversation_missing: false,
            resumes: 0,
        }
    }

    #[test]
    fn a_steered_turn_goes_on_with_the_message_even_when_it_had_just_finished() {
        for evidence in [Evidence::Interrupted, Evidence::Completed, Evidence::None] {
            let steered = Ended {
                cause: Some(Stop::Steer),
                steer: Some("use tabs".to_owned()),
                ..ended(&evidence)
            };
            let again = Next::Again {
                prompt: "use tabs".to_owned(),
                is_resume: false,
            };
            assert_eq!(next(&steered), again);
        }
    }

    #[test]
    fn a_prompt_that_the_agent_never_saw_is_sent_with_the_steering_message() {
        let steered = Ended {
            cause: Some(Stop::Steer),
            steer: Some("use tabs".to_owned()),
            prompt_seen: false,
            ..ended(&Evidence::None)
        };
        let again = Next::Again {
            prompt: "task\n\nuse tabs".to_owned(),
            is_resume: false,
        };
        assert_eq!(next(&steered), again);
    }

    #[test]
    fn a_paused_turn_stays_open_unless_it_had_just_finished() {
        let paused = |evidence| {
            next(&Ended {
                cause: Some(Stop::Pause),
                ..ended(evidence)
            })
        };
        assert_eq!(paused(&Evidence::Interrupted), Next::Pause);
        assert_eq!(paused(&Evidence::Completed), Next::End);
    }

    #[test]
    fn a_lost_conversation_gets_the_same_prompt_in_a_fresh_one() {
        let lost = Ended {
            conversation_missing: true,
            ..ended(&Evidence::None)
        };
        let again = Next::Again {
            prompt: "task".to_owned(),
            is_resume: true,
        };
        assert_eq!(next(&lost), again);
    }

    #[test]
    fn a_turn_that_a_stopped_daemon_left_goes_on_at_most_three_times() {
        let evidence = Evidence::None;
        for resumes in 0..5 {
            let left = Ended {
                left_behind: true,
                resumes,
                ..ended(&evidence)
            };
            assert_eq!(matches!(next(&left), Next::Again { .. }), resumes < 3);
        }
        assert_eq!(next(&ended(&evidence)), Next::End);
    }
}
