//! What goes into the journal and what comes out of it, as types.

use crate::clock::Timestamp;
use crate::config::Author;
use crate::event::{Event, Outcome};
use crate::ids::{EventId, RunId, SessionId, SpoolOffset, TurnId};
use crate::image::{Image, ImageNote};

/// One transaction's worth of events and changes, all of one session.
#[derive(Debug)]
pub struct Batch {
    /// Whose events these are.
    pub session: SessionId,
    /// The agent's name, for the events' headers.
    pub agent: String,
    /// Events, in order.
    pub events: Vec<NewEvent>,
    /// Row changes, in order, applied with the events or not at all.
    pub changes: Vec<Change>,
    /// On the disk, not only in the kernel, when the commit returns; promises always are.
    pub synced: bool,
}

impl Batch {
    /// An empty batch.
    pub fn new(session: &SessionId, agent: &str) -> Self {
        Self {
            session: session.clone(),
            agent: agent.to_owned(),
            events: Vec::new(),
            changes: Vec::new(),
            synced: false,
        }
    }

    /// Whether it must survive a power cut.
    pub(super) fn is_synced(&self) -> bool {
        self.synced || self.changes.iter().any(Change::is_promise)
    }

    /// Whether it accepts a prompt.
    pub(super) fn accepts_prompt(&self) -> bool {
        let queues = |change: &Change| matches!(change, Change::QueueTurn { .. });
        self.changes.iter().any(queues)
    }

    /// Whether it only makes room: what the Hub has acknowledged may go.
    pub(super) fn makes_room(&self) -> bool {
        let acked = |change: &Change| matches!(change, Change::Acked { .. });
        self.events.is_empty() && self.changes.iter().all(acked)
    }

    /// Adds a change.
    #[must_use]
    pub fn with(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }
}

/// An event before the journal gave it its `seq`.
#[derive(Debug)]
pub struct NewEvent {
    /// Derived from where the event came from.
    pub event_id: EventId,
    /// Wall time.
    pub at: Timestamp,
    /// Its turn, if it belongs to one.
    pub turn_id: Option<TurnId>,
    /// The attempt within the turn, from 1.
    pub attempt: Option<u32>,
    /// The event's own JSON object.
    pub json: Vec<u8>,
}

impl NewEvent {
    /// Encodes `event`, once and for all its readers.
    pub fn encode(
        event: &Event,
        event_id: EventId,
        at: Timestamp,
        turn: Option<(TurnId, u32)>,
    ) -> serde_json::Result<Self> {
        Ok(Self {
            event_id,
            at,
            turn_id: turn.map(|(id, _)| id),
            attempt: turn
                .map(|(_, attempt)| attempt)
                .filter(|attempt| *attempt > 0),
            json: serde_json::to_vec(event)?,
        })
    }
}

/// A change of rows.
#[derive(Debug)]
pub enum Change {
    /// A session is made, or led from now on with other settings. A promise.
    CreateSession {
        /// What it was made with, without secrets; opaque to the journal.
        settings: String,
        /// Now.
        at: Timestamp,
    },
    /// No daemon opens the session again. A promise.
    CloseSession {
        /// Now.
        at: Timestamp,
    },
    /// The session's events, turns and row go. The last of its batches: what comes after it begins
    /// anew.
    ForgetSession,
    /// A session is opened: it has a workspace from now on.
    OpenSession {
        /// Where its agent works.
        workspace: String,
        /// Now.
        at: Timestamp,
    },
    /// A prompt is accepted. A promise: durable when the commit returns. A `command_id` that the
    /// session has seen before makes this a no-op.
    QueueTurn {
        /// The new turn.
        turn: TurnId,
        /// Who asked: the Hub's or client's id for the prompt.
        command_id: Option<String>,
        /// What is asked.
        prompt: String,
        /// On whose behalf, where the asker said so.
        author: Option<Author>,
        /// The images that go with it.
        images: Vec<Image>,
        /// Whether this is the session's own first task.
        is_task: bool,
        /// Now.
        at: Timestamp,
    },
    /// An attempt of the turn begins; events of its own that come before its process are in this
    /// batch. A promise.
    BeginAttempt {
        /// The turn.
        turn: TurnId,
        /// From 1.
        attempt: u32,
        /// The attempt's run.
        run: RunId,
        /// How many of the run's events are in this batch: the next one's ordinal.
        ordinal_next: u64,
    },
    /// The turn's attempt is over and all that it gave is stored; the turn goes on with another
    /// one. Until that begins the turn has no run. A promise: whoever was told that the attempt
    /// is over is not told again.
    EndAttempt {
        /// The turn.
        turn: TurnId,
    },
    /// A message was taken into the running turn; its `prompt` is in this batch. A promise.
    TakePrompt {
        /// The turn.
        turn: TurnId,
        /// The images that go with the message.
        images: Vec<Image>,
    },
    /// The turn is to be cancelled, whoever is there to do it. A promise: it is not gone on with.
    CancelTurn {
        /// The turn.
        turn: TurnId,
    },
    /// The spool was parsed up to `offset`; the events that it gave are in this batch.
    Progress {
        /// The turn.
        turn: TurnId,
        /// The next byte to parse.
        offset: SpoolOffset,
        /// The run's next event ordinal.
        ordinal_next: u64,
        /// The adapter at that point.
        adapter: Vec<u8>,
    },
    /// The turn is over; its `end` is in this batch. A promise.
    EndTurn {
        /// The turn.
        turn: TurnId,
        /// Its verdict.
        outcome: Outcome,
        /// Now.
        at: Timestamp,
    },
    /// The session's long-lived process begins, or is gone. A promise: who comes next finds it.
    LiveRun {
        /// Its run.
        run: Option<RunId>,
    },
    /// The CLI's own session id.
    AgentSession {
        /// As the CLI said it.
        id: String,
    },
    /// What participants have chosen over the settings. A promise.
    Choose {
        /// Opaque to the journal.
        choices: String,
    },
    /// The next turn begins a conversation of the CLI anew. A promise.
    RenewConversation,
    /// The Hub has all events up to here; never goes back.
    Acked {
        /// Contiguous prefix.
        seq: u64,
    },
}

impl Change {
    /// Whether a turn is over with this.
    pub(super) const fn ends_turn(&self) -> bool {
        matches!(self, Self::EndTurn { .. })
    }

    /// Whether somebody was promised this, so that it must survive a power cut.
    pub(super) const fn is_promise(&self) -> bool {
        match self {
            Self::CreateSession { .. }
            | Self::CloseSession { .. }
            | Self::ForgetSession
            | Self::OpenSession { .. }
            | Self::QueueTurn { .. }
            | Self::BeginAttempt { .. }
            | Self::EndAttempt { .. }
            | Self::TakePrompt { .. }
            | Self::CancelTurn { .. }
            | Self::Choose { .. }
            | Self::RenewConversation
            | Self::LiveRun { .. }
            | Self::EndTurn { .. } => true,
            Self::Progress { .. } | Self::AgentSession { .. } | Self::Acked { .. } => false,
        }
    }
}

/// A session as stored.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // the schema explains the columns
pub struct SessionRow {
    pub id: SessionId,
    pub agent: String,
    pub agent_session_id: Option<String>,
    /// Empty until it is made.
    pub workspace: String,
    pub task_taken: bool,
    pub acked_seq: u64,
    pub created_at: Timestamp,
    pub settings: Option<String>,
    pub choices: Option<String>,
    /// No daemon opens it again.
    pub closed_at: Option<Timestamp>,
    /// Its long-lived process.
    pub live_run: Option<RunId>,
}

/// Where a turn is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TurnState {
    Queued,
    Running,
    /// Cancelled, and not yet over.
    Cancelling,
    Ended,
}

/// A turn as stored.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // the schema explains the columns
pub struct TurnRow {
    pub id: TurnId,
    pub command_id: Option<String>,
    pub prompt: String,
    pub author: Option<Author>,
    pub images: Vec<ImageNote>,
    pub state: TurnState,
    pub attempt: u32,
    pub run: Option<RunId>,
    pub offset: SpoolOffset,
    pub ordinal_next: u64,
    pub adapter: Option<Vec<u8>>,
    pub outcome: Option<Outcome>,
    pub created_at: Timestamp,
}

impl TurnRow {
    /// The event of the prompt that the turn begins with.
    pub fn prompt_event(&self) -> Event {
        Event::Prompt {
            text: self.prompt.clone(),
            prompt_id: self.command_id.clone(),
            author: self.author.as_ref().map(ToString::to_string),
            images: self.images.clone(),
        }
    }
}
