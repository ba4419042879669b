//! A CLI in live form: one process for many turns, spoken to over its stdin.
//!
//! A [`Dialog`] is a pure state machine, as an exec-form adapter is. Its state follows from two
//! things alone: the CLI's lines, and the frames that were sent to it, in the order in which they
//! happened. So the spool and the log of the input are enough to come to the same state again, and
//! a dialog that another client recorded can be replayed.
//!
//! Nothing is remembered that was only meant to be sent. [`Dialog::frames`] says how a command is
//! put and [`Dialog::due`] what the protocol itself wants said next; both change nothing, and
//! [`Dialog::sent`] takes what really went out. Whoever dies between the two loses no answer and
//! gives none twice: what is due is due again after a restart, until it is in the log.

mod introduction;
mod reader;
pub mod recording;
mod settings;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Evidence, Ignored, LaunchError, LaunchPlan, RestoreError, TurnSpec};
use crate::event::Event;
use crate::exit::Exit;
use crate::frame::Line;
use crate::image::Image;

pub(super) use introduction::Introduction;
pub use reader::{Heard, LiveReader};
pub use settings::{Setting, Settings};

/// What is asked of a live CLI at its start, and known of the conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveSpec {
    /// The folder that it works in.
    pub cwd: Option<String>,
    /// The model, whether an argument or the protocol says it.
    pub model: Option<String>,
    /// The conversation to go on with, by the CLI's own id; where the protocol says it.
    pub resume: Option<String>,
    /// Who serves the model; where the protocol says it.
    pub provider: Option<String>,
    /// How hard the model thinks, whether an argument or the protocol says it.
    pub effort: Option<String>,
    /// Text that is added to the CLI's own system prompt; where the protocol says it.
    pub system_prompt: Option<String>,
    /// MCP servers in the CLI's own form; where the protocol says them.
    pub mcp_servers: Option<Value>,
    /// Tools by the CLI's own names that need no consent where all others do.
    pub allowed_tools: Vec<String>,
    /// Whether every tool call waits for consent. Else none does.
    pub asks: bool,
}

/// What the runner wants of a live CLI.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Begins a turn. Only where the CLI rests.
    Prompt(Message),
    /// A message into the running turn, in the CLI's own way.
    Steer(Message),
    /// Ends the running turn, and leaves no process of its tools behind.
    Interrupt,
    /// Answers a request that waits ([`Dialog::pending`]).
    Answer {
        /// The request's id, as its event says it.
        request_id: String,
        /// The answer.
        answer: Answer,
    },
    /// Something else from here on; the CLI's answer to it is [`Told::Setting`].
    Set(Setting),
}

/// A message of the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Ours: the CLI says it again when it has taken the message up. A UUID.
    pub id: String,
    /// What the user says.
    pub text: String,
    /// The images that go with it.
    pub images: Vec<Image>,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The call may go on.
    Allow {
        /// With another input than it asked for; for a question, its answers are in there.
        input: Option<Value>,
    },
    /// The call may not go on; the agent is told why.
    Deny {
        /// Why.
        message: String,
    },
    /// Nor may the turn.
    Stop,
}

/// A command that cannot be given now. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The CLI has not said yet that it is ready.
    #[error("the agent is not ready yet")]
    NotReady,
    /// A turn is running.
    #[error("the agent is at work; steer it, or wait for the end of its turn")]
    Busy,
    /// No turn is running.
    #[error("the agent rests; there is nothing to steer or to interrupt")]
    Resting,
    /// No such request waits: it was answered, or the CLI has withdrawn it.
    #[error("no such request waits for an answer")]
    NotAsked,
    /// The CLI cannot do this while it runs.
    #[error("this agent cannot change that while it runs")]
    NotLive,
}

/// Where a dialog is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The protocol is being opened.
    #[default]
    Opening,
    /// A prompt may be given.
    Resting,
    /// A turn runs.
    Working,
    /// The CLI refused to be spoken to; the process is of no use.
    Refused,
}

/// A request of the CLI that waits for an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// By which it is answered.
    pub request_id: String,
    /// The call that waits.
    pub call_id: Option<String>,
    /// The tool's normalized name.
    pub tool: String,
    /// The normalized input.
    pub input: Value,
}

impl Asked {
    /// The event that tells of it. Whoever answers says yes or no: what else a CLI offers (always,
    /// for this session) would go round the rules.
    pub(crate) fn event(&self) -> Event {
        Event::PermissionRequest {
            request_id: self.request_id.clone(),
            call_id: self.call_id.clone(),
            tool: self.tool.clone(),
            input: self.input.clone(),
            options: vec!["allow".to_owned(), "deny".to_owned()],
        }
    }
}

/// What a line or a frame came to, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// An event of the running turn, or of the one before it where the CLI rests (background
    /// work).
    Event(Event),
    /// Prompts are taken from here on.
    Ready,
    /// The CLI has taken up a message: from here on the agent knows it.
    TakenUp {
        /// The message's id; none where the sender gave none.
        id: Option<String>,
    },
    /// The turn is over. With `background`, work goes on that may wake the agent again: what then
    /// comes still belongs to this turn, and ends in another `TurnOver`.
    TurnOver {
        /// How it went.
        evidence: Evidence,
        /// Whether work goes on.
        background: bool,
    },
    /// A request was answered: the answer has been sent.
    Answered {
        /// The request.
        request_id: String,
        /// `allow`, `deny` or `cancel`, as in the event.
        decision: &'static str,
    },
    /// The CLI no longer waits for an answer that it was not given.
    Withdrawn {
        /// The request.
        request_id: String,
    },
    /// The CLI's answer to a change of its settings.
    Setting {
        /// The change.
        setting: Setting,
        /// Why it is not made, in the CLI's words; none: it is in effect, as [`LiveKind::sets`]
        /// has it.
        refused: Option<String>,
    },
    /// The CLI did not do what it was asked for.
    Failed {
        /// What it was.
        what: String,
        /// Why not, in its words.
        why: String,
    },
}

/// A live CLI's side of the talk, turned into events, and ours, turned into frames.
pub trait Dialog: Send {
    /// Takes the CLI's next line; appends what it tells to `out`.
    fn received(&mut self, line: &Line<'_>, out: &mut Vec<Told>) -> Ignored;

    /// Takes a frame that was sent to the CLI, by us or by whoever recorded the dialog.
    fn sent(&mut self, frame: &[u8], out: &mut Vec<Told>);

    /// The frames that the protocol wants sent now, in order, and that need nobody's decision:
    /// those that open it, refusals of what is not understood. Each is due until it was sent.
    fn due(&self) -> Vec<Vec<u8>>;

    /// The frames, each a line without its end, that carry a command out.
    fn frames(&self, command: &Command) -> Result<Vec<Vec<u8>>, Refused>;

    /// Where the dialog is.
    fn phase(&self) -> Phase;

    /// What the CLI works with, by its own word.
    fn settings(&self) -> &Settings;

    /// The requests that wait for somebody's answer, the oldest first.
    fn pending(&self) -> Vec<Asked>;

    /// The process is gone. How the running turn went, if one was running; what was open in it is
    /// closed.
    fn end(&mut self, exit: Option<Exit>, stderr: &[u8], out: &mut Vec<Told>) -> Option<Evidence>;

    /// The CLI's own session id, once known.
    fn agent_session(&self) -> Option<&str>;

    /// What is needed to go on from here in another process, as JSON with a version in it.
    fn snapshot(&self) -> Vec<u8>;
}

/// A dialog that goes on, or why it cannot.
pub type Restored = Result<Box<dyn Dialog>, RestoreError>;

/// How a live CLI is started, and what is said to it then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivePlan {
    /// The process. Its stdin is the talk, and no prompt.
    pub launch: LaunchPlan,
    /// What the dialog says, since no argument does.
    pub spec: LiveSpec,
}

/// From when on a change counts that comes in the middle of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Since {
    /// From the next process on: the CLI cannot change it while it runs.
    NextProcess,
    /// From the next turn on.
    NextTurn,
    /// From the turn's next request to the model or its next call on.
    Now,
}

/// What a live CLI can change, and from when on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sets {
    /// The model.
    pub model: Since,
    /// How hard it thinks.
    pub effort: Since,
    /// That calls wait for consent. That they no longer do needs nothing of the CLI.
    pub consent: Since,
}

/// What of an agent's tool calls can be made to wait for consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Each of them.
    All,
    /// All but these, which the CLI lets pass whatever it is told.
    AllBut(&'static str),
}

/// The live form of an agent.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // facts about a CLI, each on its own
pub struct LiveKind {
    /// How it is started; with `asks`, every tool call that can be held waits for consent.
    pub plan: fn(spec: &TurnSpec, asks: bool) -> Result<LivePlan, LaunchError>,
    /// Whether a message can be said into the running turn. Where not, whoever drives the dialog
    /// interrupts the turn and goes on with the message.
    pub can_steer: bool,
    /// What can be changed without a new process.
    pub sets: Sets,
    /// Whether whoever permits a call can give it another input.
    pub can_change_input: bool,
    /// Which calls wait for consent when all shall.
    pub holds: Holds,
    /// Whether it tells at least all that the exec form tells: `--mode auto` takes it then.
    pub richer_than_exec: bool,
    /// A dialog from the process's start on.
    pub open: fn(&LiveSpec) -> Box<dyn Dialog>,
    /// A dialog that goes on where a snapshot was taken.
    pub restore: fn(&[u8]) -> Restored,
}

impl Sets {
    /// From when on that counts.
    pub const fn since(&self, setting: &Setting) -> Since {
        match setting {
            Setting::Model(_) => self.model,
            Setting::Effort(_) => self.effort,
            Setting::Consent(_) => self.consent,
        }
    }
}

/// The tools by which agents ask their user something, by their normalized names.
const QUESTIONS: &[&str] = &[
    "AskUserQuestion",
    "ask_user",
    "question",
    "request_user_input",
];

impl Asked {
    /// Whether it asks for an answer in words, not for consent.
    pub fn is_question(&self) -> bool {
        QUESTIONS.contains(&self.tool.as_str())
    }
}

/// Whether what failed ([`Told::Failed`]) was to go on with a conversation: it is lost then.
pub fn is_resumption(what: &str) -> bool {
    matches!(what, "thread/resume" | "session/resume" | "session/load")
}

impl Answer {
    /// As events word it.
    pub const fn decision(&self) -> &'static str {
        match self {
            Self::Allow { .. } => "allow",
            Self::Deny { .. } => "deny",
            Self::Stop => "cancel",
        }
    }
}

/// Events of an exec-form state machine that a dialog is built on.
pub(super) fn tell(events: &mut Vec<Event>, out: &mut Vec<Told>) {
    out.extend(events.drain(..).map(Told::Event));
}
