//! What becomes of the agent's requests between the Hub, the session's people and the time limit.
//!
//! ```text
//!  request ─► gate on, Hub silent so far ──BLOCK──► denied
//!     │              │      └──time limit──► the default
//!     │             ACK ──► nobody else is needed: permitted
//!     │              ▼
//!     └──gate off──► people are asked (CONFIRM, consent, questions) ─► their answer
//! ```
//!
//! Pure. The Hub may also block with the gate off: a request that waits is denied. What it said of
//! a call counts whether it comes before the request or after it; where the call is over and no
//! request came, it was not held.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::dialogue::{Dialogue, Outcome};
use crate::agent::live::{Answer, Asked};
use crate::config::{Gate, GateConfig, GateDefault};
use crate::hub::link::UiRequest;
use crate::hub::{Actions, Confirm};
use crate::turn::approval::{Answered, Answerer, Matter, Waiting};

/// Calls about which the Hub's word is remembered until the request comes.
const REMEMBERED: usize = 256;

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Do {
    /// A request is answered.
    Answer(Answered),
    /// People are asked.
    Ask(UiRequest),
    /// People need not answer this request any more.
    TakeBack(String),
    /// The Hub would have held a call that this form of the agent did not hold.
    Unheld(Word),
    /// What the Hub said in answer to this frame is carried out.
    Settled(String),
}

/// What the Hub said of a call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Word {
    /// The frame that it answered.
    pub(super) frame: String,
    /// The call.
    pub(super) call: String,
    pub(super) actions: Actions,
}

impl Word {
    /// Whether it wants the call held.
    pub(super) fn holds(&self) -> bool {
        self.actions.block.is_some() || !self.actions.confirm.is_empty()
    }

    fn settled(self) -> Do {
        Do::Settled(self.frame)
    }
}

/// The requests that wait, and what was said.
#[derive(Debug)]
pub(super) struct Consent {
    gate: GateConfig,
    requests: Vec<Request>,
    /// What the Hub said of calls whose request has not come.
    words: VecDeque<Word>,
}

#[derive(Debug)]
struct Request {
    asked: Asked,
    /// The settings want a person's answer.
    person: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The Hub's word is waited for.
    Hub(Instant),
    /// People are asked.
    People(Dialogue),
    /// An answer is on its way.
    Answered,
}

impl Consent {
    pub(super) fn new(gate: GateConfig) -> Self {
        Self {
            gate,
            requests: Vec::new(),
            words: VecDeque::new(),
        }
    }

    /// The requests that wait now. `person` tells which of them need a person's answer.
    pub(super) fn waiting(
        &mut self,
        waiting: &[Waiting],
        person: impl Fn(&Asked) -> bool,
        now: Instant,
        out: &mut Vec<Do>,
    ) {
        let is_there = |id: &str| waiting.iter().any(|w| w.asked.request_id == id);
        self.requests.retain(|request| {
            let there = is_there(&request.asked.request_id);
            if let (false, Stage::People(dialogue)) = (there, &request.stage) {
                out.extend(dialogue.request().map(|asked| Do::TakeBack(asked.id)));
            }
            there
        });
        for Waiting { asked, matters, .. } in waiting {
            let known = |request: &Request| request.asked.request_id == asked.request_id;
            if self.requests.iter().any(known) {
                continue;
            }
            let mut request = Request {
                asked: asked.clone(),
                person: person(asked),
                stage: Stage::Answered,
            };
            if !matters.is_empty() {
                // The Hub wants it, and has said its word.
                let confirm = matters.iter().map(confirm).collect();
                let actions = Actions {
                    confirm,
                    ..Actions::default()
                };
                request.decided(actions, Answerer::Hub, out);
                self.requests.push(request);
                continue;
            }
            match (self.word_of(asked), self.gate.gate) {
                (Some(word), _) => {
                    request.decided(word.actions, Answerer::Hub, out);
                    out.push(Do::Settled(word.frame));
                }
                (None, Gate::Ask) => request.stage = Stage::Hub(now + self.gate.timeout),
                (None, Gate::Off) => request.decided(Actions::default(), Answerer::Runner, out),
            }
            self.requests.push(request);
        }
    }

    fn word_of(&mut self, asked: &Asked) -> Option<Word> {
        let call = asked.call_id.as_deref()?;
        let at = self.words.iter().position(|word| word.call == call)?;
        self.words.remove(at)
    }

    /// Whether what it says in answer to this frame waits for the request of its call.
    pub(super) fn keeps(&self, frame: &str) -> bool {
        self.words.iter().any(|word| word.frame == frame)
    }

    /// A call is over: what was said of it, and waits for its request still, was not heeded.
    pub(super) fn over(&mut self, call: &str, out: &mut Vec<Do>) {
        let at = self.words.iter().position(|word| word.call == call);
        let Some(word) = at.and_then(|at| self.words.remove(at)) else {
            return;
        };
        out.push(if word.holds() {
            Do::Unheld(word)
        } else {
            word.settled()
        });
    }

    /// The turn is over, and with it what was said of its calls.
    pub(super) fn turn_over(&mut self, out: &mut Vec<Do>) {
        out.extend(self.words.drain(..).map(Word::settled));
    }

    /// The Hub's word about a call.
    pub(super) fn hub_said(&mut self, word: Word, out: &mut Vec<Do>) {
        let of_call =
            |request: &&mut Request| request.asked.call_id.as_deref() == Some(word.call.as_str());
        let Some(request) = self.requests.iter_mut().find(of_call) else {
            if self.words.len() >= REMEMBERED {
                out.extend(self.words.pop_front().map(Word::settled));
            }
            self.words.push_back(word);
            return;
        };
        let Word { frame, actions, .. } = word;
        match request.stage {
            Stage::Answered => {}
            Stage::Hub(_) => request.decided(actions, Answerer::Hub, out),
            // A plain acknowledgement changes nothing for people who are asked already.
            Stage::People(_) if actions.block.is_none() => {}
            Stage::People(_) => {
                request.take_back(out);
                request.decided(actions, Answerer::Hub, out);
            }
        }
        out.push(Do::Settled(frame));
    }

    /// A person's answer; whether it was one to a request.
    pub(super) fn people_said(
        &mut self,
        id: &str,
        result: &serde_json::Value,
        out: &mut Vec<Do>,
    ) -> bool {
        for request in &mut self.requests {
            let Stage::People(dialogue) = &mut request.stage else {
                continue;
            };
            match dialogue.answer(id, result) {
                None => {}
                Some(Outcome::Open) => {
                    out.extend(dialogue.request().map(Do::Ask));
                    return true;
                }
                Some(Outcome::Done(answer)) => {
                    request.answer(answer, Answerer::Controller, out);
                    return true;
                }
            }
        }
        false
    }

    /// All that people are asked now, for somebody who has just come.
    pub(super) fn open(&self) -> impl Iterator<Item = UiRequest> {
        self.requests
            .iter()
            .filter_map(|request| match &request.stage {
                Stage::People(dialogue) => dialogue.request(),
                Stage::Hub(_) | Stage::Answered => None,
            })
    }

    /// When the Hub's time is up for the first of the requests.
    pub(super) fn due(&self) -> Option<Instant> {
        let until = |request: &Request| match request.stage {
            Stage::Hub(until) => Some(until),
            Stage::People(_) | Stage::Answered => None,
        };
        self.requests.iter().filter_map(until).min()
    }

    /// The time has come.
    pub(super) fn look(&mut self, now: Instant, out: &mut Vec<Do>) {
        let (default, timeout) = (self.gate.default, self.gate.timeout);
        for request in &mut self.requests {
            if !matches!(request.stage, Stage::Hub(until) if until <= now) {
                continue;
            }
            match default {
                GateDefault::Allow => request.decided(Actions::default(), Answerer::Timeout, out),
                GateDefault::Deny => request.answer(denied(late(timeout)), Answerer::Timeout, out),
            }
        }
    }
}

impl Request {
    /// The Hub has spoken, or need not.
    fn decided(&mut self, actions: Actions, by: Answerer, out: &mut Vec<Do>) {
        if let Some(reason) = actions.block {
            self.answer(denied(reason), by, out);
            return;
        }
        let dialogue = Dialogue::about(&self.asked, actions.confirm, self.person);
        match dialogue.request() {
            Some(request) => {
                out.push(Do::Ask(request));
                self.stage = Stage::People(dialogue);
            }
            None => self.answer(Answer::Allow { input: None }, by, out),
        }
    }

    fn answer(&mut self, answer: Answer, by: Answerer, out: &mut Vec<Do>) {
        self.stage = Stage::Answered;
        out.push(Do::Answer(Answered {
            request_id: self.asked.request_id.clone(),
            answer,
            by,
        }));
    }

    fn take_back(&self, out: &mut Vec<Do>) {
        if let Stage::People(dialogue) = &self.stage {
            out.extend(dialogue.request().map(|asked| Do::TakeBack(asked.id)));
        }
    }
}

fn confirm(matter: &Matter) -> Confirm {
    let Matter {
        title,
        message,
        deny_reason,
    } = matter.clone();
    Confirm {
        title,
        message,
        deny_reason,
    }
}

fn denied(message: String) -> Answer {
    Answer::Deny { message }
}

fn late(timeout: Duration) -> String {
    format!(
        "The Hub has not permitted this within {} s. Go on without it.",
        timeout.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::{Clock, Timestamp};

    const GATE: GateConfig = GateConfig {
        gate: Gate::Ask,
        timeout: Duration::from_secs(30),
        default: GateDefault::Deny,
    };
    const OFF: GateConfig = GateConfig {
        gate: Gate::Off,
        ..GATE
    };

    fn waiting(call: &str) -> Vec<Waiting> {
        vec![Waiting {
            asked: Asked {
                request_id: format!("r-{call}"),
                call_id: Some(call.to_owned()),
                tool: "shell".to_owned(),
                input: json!({"command": "ls"}),
            },
            since: Timestamp::from_millis(1),
            until: None,
            matters: Vec::new(),
        }]
    }

    fn answers(out: &mut Vec<Do>) -> Vec<(&'static str, Answerer)> {
        let answer = |what| match what {
            Do::Answer(answered) => Some((answered.answer.decision(), answered.by)),
            _ => None,
        };
        out.drain(..).filter_map(answer).collect()
    }

    fn word(call: &str, actions: Actions) -> Word {
        Word {
            frame: format!("f-{call}"),
            call: call.to_owned(),
            actions,
        }
    }

    fn fine(call: &str) -> Word {
        word(call, Actions::default())
    }

    fn block(call: &str) -> Word {
        let block = Some("no".to_owned());
        let actions = Actions {
            block,
            ..Actions::default()
        };
        word(call, actions)
    }

    #[test]
    fn a_held_call_waits_for_the_hub_whichever_comes_first() {
        let (mut out, now) = (Vec::new(), Clock.now());
        let mut consent = Consent::new(GATE);
        consent.waiting(&waiting("a"), |_| false, now, &mut out);
        assert!(out.is_empty(), "nothing without the Hub's word");
        consent.hub_said(fine("a"), &mut out);
        assert_eq!(answers(&mut out), [("allow", Answerer::Hub)]);
        consent.hub_said(block("a"), &mut out);
        assert!(answers(&mut out).is_empty(), "answered once");
        consent.hub_said(block("b"), &mut out);
        assert!(
            out.is_empty() && consent.keeps("f-b"),
            "its request has not come"
        );
        consent.waiting(&waiting("b"), |_| false, now, &mut out);
        assert_eq!(answers(&mut out), [("deny", Answerer::Hub)]);
    }

    #[test]
    fn a_hub_that_says_nothing_in_time_leaves_the_default() {
        for (default, expected) in [
            (GateDefault::Deny, ("deny", Answerer::Timeout)),
            (GateDefault::Allow, ("allow", Answerer::Timeout)),
        ] {
            let (mut out, now) = (Vec::new(), Clock.now());
            let mut consent = Consent::new(GateConfig { default, ..GATE });
            consent.waiting(&waiting("a"), |_| false, now, &mut out);
            assert_eq!(consent.due(), Some(now + GATE.timeout));
            consent.look(now, &mut out);
            assert!(out.is_empty());
            consent.look(now + GATE.timeout, &mut out);
            assert_eq!(answers(&mut out), [expected]);
            assert_eq!(consent.due(), None);
        }
    }

    #[test]
    fn people_are_asked_where_they_are_needed_and_told_when_it_is_over() {
        let (mut out, now) = (Vec::new(), Clock.now());
        let mut consent = Consent::new(OFF);
        consent.waiting(&waiting("a"), |_| true, now, &mut out);
        assert!(matches!(&out[..], [Do::Ask(request)] if request.id == "r-a/0"));
        assert_eq!(consent.open().count(), 1, "for whoever comes later");
        out.clear();
        assert!(!consent.people_said("other/0", &json!(true), &mut out));
        assert!(consent.people_said("r-a/0", &json!(false), &mut out));
        assert_eq!(answers(&mut out), [("deny", Answerer::Controller)]);
        consent.waiting(&[], |_| true, now, &mut out);
        assert!(out.is_empty());
        consent.waiting(&waiting("b"), |_| true, now, &mut out);
        out.clear();
        consent.waiting(&[], |_| true, now, &mut out);
        assert_eq!(
            out,
            [Do::TakeBack("r-b/0".to_owned())],
            "answered elsewhere"
        );
    }

    #[test]
    fn what_the_hub_wants_confirmed_beside_is_asked_in_its_words_with_the_gate_on_or_off() {
        for gate in [OFF, GATE] {
            let (mut out, now) = (Vec::new(), Clock.now());
            let mut consent = Consent::new(gate);
            let mut beside = waiting("a");
            beside[0].matters.push(Matter {
                title: "Sure?".to_owned(),
                message: "m".to_owned(),
                deny_reason: None,
            });
            consent.waiting(&beside, |_| false, now, &mut out);
            assert!(
                matches!(&out[..], [Do::Ask(request)] if request.params["title"] == "Sure?"),
                "{out:?}"
            );
            out.clear();
            assert!(consent.people_said("r-a/0", &json!(true), &mut out));
            assert_eq!(answers(&mut out), [("allow", Answerer::Controller)]);
        }
    }

    #[test]
    fn the_hubs_consent_is_no_persons_and_its_refusal_goes_before_theirs() {
        let (mut out, now) = (Vec::new(), Clock.now());
        let mut consent = Consent::new(GATE);
        consent.waiting(&waiting("a"), |_| true, now, &mut out);
        consent.hub_said(fine("a"), &mut out);
        assert!(matches!(&out[..], [Do::Ask(_), Do::Settled(_)]));
        out.clear();
        consent.hub_said(block("a"), &mut out);
        assert_eq!(out.first(), Some(&Do::TakeBack("r-a/0".to_owned())));
        assert_eq!(answers(&mut out), [("deny", Answerer::Hub)]);
    }

    #[test]
    fn a_word_about_a_call_that_was_never_held_is_told() {
        let (mut out, now) = (Vec::new(), Clock.now());
        let mut consent = Consent::new(OFF);
        consent.hub_said(fine("a"), &mut out);
        consent.hub_said(block("b"), &mut out);
        consent.hub_said(block("c"), &mut out);
        assert!(out.is_empty());
        consent.over("a", &mut out);
        assert_eq!(out, [Do::Settled("f-a".to_owned())]);
        out.clear();
        consent.over("b", &mut out);
        assert_eq!(out, [Do::Unheld(block("b"))]);
        out.clear();
        consent.over("b", &mut out);
        assert!(out.is_empty(), "once");
        consent.turn_over(&mut out);
        assert_eq!(out, [Do::Settled("f-c".to_owned())]);
        consent.waiting(&waiting("c"), |_| false, now, &mut out);
        assert!(matches!(out.last(), Some(Do::Answer(_))), "of another turn");
    }
}
