//! One turn over a live process: what was said to the agent, what it made of that, and what is to
//! be said next. Pure; all of it is stored with the events.
//!
//! ```text
//!  messages: unsent ──prompt or steer──► sent ──taken up──► gone
//!               ▲                          │
//!               └── a steer that the turn's end overtook ──┘
//! ```
//!
//! The turn is over when the CLI rests, has said how its turn went, nothing goes on in the
//! background, and every message was taken up.

use serde::{Deserialize, Serialize};

use crate::agent::Evidence;
use crate::agent::live::{Asked, Command, Message, Phase, Told, is_resumption};
use crate::clock::Timestamp;
use crate::event::{ErrorClass, Event, TurnError};
use crate::image::ImageNote;
use crate::turn::approval::{Answered, Answerer};

/// A turn's state.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::turn) struct Course {
    /// What is to be said and was not shown to be taken up, in order.
    messages: Vec<Spoken>,
    /// How the CLI's turn went, by its newest word on that.
    over: Option<Over>,
    /// Answers that were decided on. Each stays until it was sent.
    answers: Vec<Answered>,
    /// The kernel's clock (ticks of 10 ms) at the turn's first tool call: what the agent has
    /// started since is its tools'. What came before (its own helpers, MCP servers) serves other
    /// turns.
    since: Option<u64>,
    /// When the turn began; not known of one that an older program began.
    #[serde(default)]
    began: Option<Timestamp>,
    /// An interrupt was sent into the CLI's turn.
    interrupted: bool,
    /// What went on in the background was stopped: the turn did not come to its own end.
    #[serde(default)]
    cut: bool,
    /// Requests that came, and when.
    asked: Vec<(String, Timestamp)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Spoken {
    id: String,
    text: String,
    /// The images that go with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    images: Vec<ImageNote>,
    /// The turn begins with it.
    opens: bool,
    how: How,
}

/// How a message went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum How {
    Unsent,
    Prompt,
    Steer,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Over {
    evidence: Evidence,
    background: bool,
}

/// What is to be done now that all that was said is known.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Nothing: the CLI is to speak.
    Wait,
    /// This is to be said to it, with its images ([`Course::images`]).
    Say(Command),
    /// It cannot be spoken to.
    Hopeless,
    /// The turn is over.
    Over,
}

/// The time, twice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) wall: Timestamp,
    /// The kernel's clock, in ticks of 10 ms.
    pub(super) tick: u64,
}

/// How long before it is heard of a tool's process may have begun, in ticks of 10 ms.
const RECORD_DELAY: u64 = 20;

/// What of what was told is to be told on.
pub(super) enum News {
    /// An event.
    Event(Event),
    /// The message was taken up: its text.
    TakenUp(String),
}

impl Course {
    /// A turn that begins now, with this message.
    pub(in crate::turn) fn begin(
        id: String,
        said: (String, Vec<ImageNote>),
        now: Timestamp,
    ) -> Self {
        let mut course = Self {
            began: Some(now),
            ..Self::default()
        };
        course.add(id, said);
        for message in &mut course.messages {
            message.opens = true;
        }
        course
    }

    /// A message into the turn.
    pub(super) fn add(&mut self, id: String, (text, images): (String, Vec<ImageNote>)) {
        self.messages.push(Spoken {
            id,
            text,
            images,
            opens: false,
            how: How::Unsent,
        });
    }

    /// The kernel's clock at the turn's first tool call.
    pub(super) const fn since(&self) -> Option<u64> {
        self.since
    }

    /// When the turn began, where that is known.
    pub(super) const fn began(&self) -> Option<Timestamp> {
        self.began
    }

    /// Takes the next of what was told; `phase` is where the dialog is now.
    pub(super) fn told(&mut self, told: Told, phase: Phase, now: Now) -> Option<News> {
        match told {
            Told::Event(event) => {
                self.saw(&event, now);
                return Some(News::Event(event));
            }
            Told::Ready => {}
            Told::TakenUp { id } => return self.taken_up(id.as_deref()).map(News::TakenUp),
            Told::TurnOver {
                evidence,
                background,
            } => self.turn_over(evidence, background),
            Told::Answered {
                request_id,
                decision,
            } => {
                // One that nobody here decided on: an earlier daemon has, and its word was lost.
                if !self.forget(&request_id) {
                    return Some(News::Event(response(
                        &request_id,
                        decision,
                        Answerer::Runner,
                    )));
                }
            }
            Told::Withdrawn { request_id } => {
                let decided = self.forget(&request_id);
                let by = Answerer::Runner;
                let event = response(&request_id, "cancel", by);
                return (!decided).then_some(News::Event(event));
            }
            Told::Setting { setting, refused } => {
                tracing::info!(?setting, ?refused, "the agent's word on a setting");
            }
            Told::Failed { what, why } => self.failed(&what, why, phase),
        }
        None
    }

    /// Keeps what the time limit of a request and the search for a call's processes begin with.
    fn saw(&mut self, event: &Event, now: Now) {
        match event {
            Event::PermissionRequest { request_id, .. } => {
                self.asked.push((request_id.clone(), now.wall));
            }
            Event::ToolStart { .. } => {
                self.since
                    .get_or_insert(now.tick.saturating_sub(RECORD_DELAY));
            }
            _ => {}
        }
    }

    /// The CLI did not do what it was asked for: the turn's end, where it was the prompt.
    fn failed(&mut self, what: &str, why: String, phase: Phase) {
        tracing::info!(%what, %why, "the agent did not do what it was asked for");
        self.interrupted = false;
        let began = self
            .messages
            .iter()
            .any(|message| message.how == How::Prompt);
        let error = TurnError::new(ErrorClass::InvalidRequest, why);
        let evidence = match phase {
            Phase::Resting if began && self.over.is_none() => Evidence::Failed(error),
            Phase::Refused if is_resumption(what) => Evidence::ConversationMissing(error),
            Phase::Refused => Evidence::Failed(error),
            _ => return,
        };
        self.turn_over(evidence, false);
    }

    fn turn_over(&mut self, evidence: Evidence, background: bool) {
        self.interrupted = false;
        self.over = Some(Over {
            evidence,
            background,
        });
        // A turn's prompt was heard, said again or not; a message that came too late was not.
        self.messages.retain(|message| message.how != How::Prompt);
    }

    fn taken_up(&mut self, id: Option<&str>) -> Option<String> {
        let is_it = |message: &Spoken| match id {
            Some(id) => message.id == id,
            None => message.how != How::Unsent,
        };
        let at = self.messages.iter().position(is_it)?;
        // A round of its own began with it.
        if self.over.as_ref().is_some_and(|over| !over.background) {
            self.over = None;
        }
        Some(self.messages.remove(at).text)
    }

    /// What went out after the state was stored: frames that the log has, and where the dialog is
    /// with them.
    pub(super) fn recover<'a>(
        &mut self,
        frames: impl Iterator<Item = &'a [u8]>,
        phase: Phase,
        can_steer: bool,
    ) {
        for frame in frames {
            for message in &mut self.messages {
                if memchr::memmem::find(frame, message.id.as_bytes()).is_some() {
                    let steered = can_steer && !message.opens;
                    message.how = if steered { How::Steer } else { How::Prompt };
                }
            }
        }
        // A protocol that knows no ids of messages: the turn runs, so its prompt was said.
        let is_silent = self
            .messages
            .iter()
            .all(|message| message.how == How::Unsent);
        if phase == Phase::Working
            && self.over.is_none()
            && is_silent
            && let Some(first) = self.messages.first_mut()
            && first.opens
        {
            first.how = How::Prompt;
        }
    }

    /// What is to be said next, while the turn is wanted.
    pub(super) fn next(&mut self, phase: Phase, pending: &[Asked], can_steer: bool) -> Step {
        if let Some(answer) = self.due_answer(pending) {
            return Step::Say(answer);
        }
        match phase {
            Phase::Opening => Step::Wait,
            Phase::Refused => Step::Hopeless,
            Phase::Working => self.while_working(can_steer),
            Phase::Resting => self.while_resting(),
        }
    }

    /// What is to be said next to end it.
    pub(super) fn stopping(&mut self, phase: Phase, pending: &[Asked]) -> Step {
        if let Some(answer) = self.due_answer(pending) {
            return Step::Say(answer);
        }
        match phase {
            Phase::Refused => Step::Hopeless,
            Phase::Working if !self.interrupted => {
                self.interrupted = true;
                Step::Say(Command::Interrupt)
            }
            Phase::Working => Step::Wait,
            // Commands that the turn has left in the background.
            Phase::Resting if self.in_background() && !self.cut => {
                self.cut = true;
                Step::Say(Command::Interrupt)
            }
            Phase::Resting if self.in_background() => Step::Wait,
            Phase::Opening | Phase::Resting => Step::Over,
        }
    }

    fn due_answer(&self, pending: &[Asked]) -> Option<Command> {
        let asked = |answer: &&Answered| {
            let mut pending = pending.iter();
            pending.any(|asked| asked.request_id == answer.request_id)
        };
        let answer = self.answers.iter().find(asked)?;
        Some(Command::Answer {
            request_id: answer.request_id.clone(),
            answer: answer.answer.clone(),
        })
    }

    fn while_working(&mut self, can_steer: bool) -> Step {
        let is_unsent = |message: &&mut Spoken| message.how == How::Unsent;
        let Some(message) = self.messages.iter_mut().find(is_unsent) else {
            return Step::Wait;
        };
        if can_steer {
            message.how = How::Steer;
            return Step::Say(Command::Steer(message.message()));
        }
        if self.interrupted {
            return Step::Wait;
        }
        self.interrupted = true;
        Step::Say(Command::Interrupt)
    }

    fn while_resting(&mut self) -> Step {
        // Whatever was sent and not taken up by now, the CLI has dropped: it rests.
        let sent_prompt = |message: &Spoken| message.how == How::Prompt;
        if self.messages.iter().any(sent_prompt) && self.over.is_none() {
            return Step::Wait;
        }
        if let Some(message) = self.messages.first_mut() {
            message.how = How::Prompt;
            let prompt = message.message();
            self.over = None;
            return Step::Say(Command::Prompt(prompt));
        }
        match &self.over {
            Some(Over {
                background: true, ..
            })
            | None => Step::Wait,
            Some(_) => Step::Over,
        }
    }

    /// A message that could not be said now is to be said later.
    pub(super) fn unsaid(&mut self, command: &Command) {
        let (Command::Prompt(said) | Command::Steer(said)) = command else {
            self.interrupted = false;
            self.cut = false;
            return;
        };
        for message in &mut self.messages {
            if message.id == said.id {
                message.how = How::Unsent;
            }
        }
    }

    /// Notes an answer that is to be sent; `false` where there is one.
    pub(super) fn decide(&mut self, answer: Answered) -> bool {
        if self.is_decided(&answer.request_id) {
            return false;
        }
        self.answers.push(answer);
        true
    }

    /// Whether a request has its answer.
    pub(super) fn is_decided(&self, request_id: &str) -> bool {
        let mut answers = self.answers.iter();
        answers.any(|answer| answer.request_id == request_id)
    }

    /// When a request came.
    pub(super) fn asked_at(&self, request_id: &str) -> Option<Timestamp> {
        let mut asked = self.asked.iter();
        asked.find(|(id, _)| id == request_id).map(|(_, at)| *at)
    }

    fn forget(&mut self, request_id: &str) -> bool {
        self.asked.retain(|(id, _)| id != request_id);
        let before = self.answers.len();
        self.answers
            .retain(|answer| answer.request_id != request_id);
        self.answers.len() < before
    }

    /// Whether the agent has answered and background work goes on.
    pub(super) fn in_background(&self) -> bool {
        self.over.as_ref().is_some_and(|over| over.background)
    }

    /// How the turn went, by the CLI's own word.
    pub(super) fn evidence(&self) -> Option<Evidence> {
        let said = self.over.as_ref().map(|over| over.evidence.clone())?;
        let is_cut = self.cut && said == Evidence::Completed;
        Some(if is_cut { Evidence::Interrupted } else { said })
    }

    /// Whether the turn begins with that message.
    pub(super) fn begins_with(&self, id: &str) -> bool {
        let mut messages = self.messages.iter();
        messages.any(|message| message.id == id && message.opens)
    }

    /// The images that go with what is to be said.
    pub(super) fn images(&self, command: &Command) -> &[ImageNote] {
        let (Command::Prompt(said) | Command::Steer(said)) = command else {
            return &[];
        };
        let mut messages = self.messages.iter();
        let spoken = messages.find(|message| message.id == said.id);
        spoken.map_or(&[], |message| &message.images)
    }

    /// Texts that the agent was not shown to have taken up.
    pub(super) fn open_texts(&self) -> impl Iterator<Item = &str> {
        self.messages.iter().map(|message| message.text.as_str())
    }
}

impl Spoken {
    fn message(&self) -> Message {
        Message {
            id: self.id.clone(),
            text: self.text.clone(),
            images: Vec::new(),
        }
    }
}

/// The event of an answer.
pub(super) fn response(request_id: &str, decision: &str, by: Answerer) -> Event {
    Event::PermissionResponse {
        request_id: request_id.to_owned(),
        decision: decision.to_owned(),
        by: by.name().to_owned(),
    }
}

#[cfg(test)]
mod tests;
