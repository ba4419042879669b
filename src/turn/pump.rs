//! One attempt's bytes on their way to the journal: read, numbered, put into batches.
//!
//! The pump is pure but for the clock's stamps. What it gives is one batch per chunk: the events
//! together with the spool offset up to which they speak, so that neither is ever stored without
//! the other. The offset is always a line's start.

use crate::agent::{Evidence, OutputReader};
use crate::clock::Clock;
use crate::event::Event;
use crate::exit::Exit;
use crate::ids::{EventId, RunId, SessionId, SpoolOffset, TurnId};
use crate::journal::{Batch, Change, NewEvent};
use crate::turn::activity::Doing;
use crate::turn::seen::Seen;
use crate::turn::shorten::join_deltas;

/// Whose bytes these are.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) session: SessionId,
    pub(super) agent: &'static str,
    pub(super) turn: TurnId,
    pub(super) attempt: u32,
    pub(super) run: RunId,
}

/// Turns one run's bytes into batches of events.
pub(super) struct Pump {
    origin: Origin,
    clock: Clock,
    reader: OutputReader,
    offset: SpoolOffset,
    ordinal: u64,
    agent_session: Option<String>,
    events: Vec<Event>,
    seen: Seen,
    saving: bool,
    /// The model that was asked for.
    model: Option<String>,
}

impl Pump {
    /// Reads on with `reader` from `offset`, a line's start; `ordinal` events of the run came
    /// before, and `seen` is what was seen of the turn by then.
    pub(super) fn new(
        origin: Origin,
        clock: Clock,
        reader: OutputReader,
        offset: SpoolOffset,
        ordinal: u64,
        seen: Seen,
    ) -> Self {
        let agent_session = reader.adapter().agent_session().map(str::to_owned);
        Self {
            origin,
            clock,
            reader,
            offset,
            ordinal,
            agent_session,
            events: Vec::new(),
            seen,
            saving: false,
            model: None,
        }
    }

    /// Whether room is short, so that what can be said in fewer bytes is. What was not stored yet
    /// was told to nobody: its ids may change.
    pub(super) fn save(&mut self, saving: bool) {
        self.saving = saving;
    }

    /// Whether the terminal record was seen and nothing is open any more: the message that comes now
    /// is for a turn of its own.
    pub(super) fn finished(&self) -> bool {
        self.reader.adapter().finished()
    }

    /// What the agent is doing.
    pub(super) fn doing(&self) -> Doing {
        let adapter = self.reader.adapter();
        if adapter.finished() {
            Doing::Finished
        } else if adapter.in_background() {
            Doing::Background
        } else {
            self.seen.activity().doing()
        }
    }

    /// Whether a prompt with that id is part of the turn already.
    pub(super) fn has_prompt(&self, id: &str) -> bool {
        self.seen.has_prompt(id)
    }

    /// Up to where the spool's events were given.
    pub(super) fn offset(&self) -> SpoolOffset {
        self.offset
    }

    /// Whose bytes these are.
    pub(super) const fn run(&self) -> RunId {
        self.origin.run
    }

    /// Whose turn it is.
    pub(super) const fn turn(&self) -> TurnId {
        self.origin.turn
    }

    /// The same, of an agent that was asked to run that model.
    #[must_use]
    pub(super) fn with_model(self, model: Option<String>) -> Self {
        Self { model, ..self }
    }

    /// Takes the next bytes of the spool.
    pub(super) fn feed(&mut self, chunk: &[u8]) -> serde_json::Result<Option<Batch>> {
        let Self {
            reader,
            events,
            offset,
            model: asked,
            ..
        } = self;
        reader.push(chunk, &mut |read| {
            events.append(read.events);
            *offset = read.line.end;
        });
        for event in events.iter_mut() {
            // OpenCode never says which model it runs in this form, Pi only once that speaks.
            if let Event::Session { model, .. } = event
                && model.is_none()
            {
                model.clone_from(asked);
            }
        }
        if self.events.is_empty() {
            // Lines without events are read again after a restart, and give nothing again.
            return Ok(None);
        }
        if self.saving {
            join_deltas(&mut self.events);
        }
        let mut batch = self.drain()?;
        let told = self.reader.adapter().agent_session();
        if told.is_some() && told != self.agent_session.as_deref() {
            self.agent_session = told.map(str::to_owned);
            batch
                .changes
                .extend(told.map(|id| Change::AgentSession { id: id.to_owned() }));
        }
        batch.changes.push(Change::Progress {
            turn: self.origin.turn,
            offset: self.offset,
            ordinal_next: self.ordinal,
            adapter: self.reader.snapshot(),
        });
        Ok(Some(batch))
    }

    /// Takes the end of the process: what stands after the last newline, what the adapter has to
    /// close. `stderr` is its tail. The batch holds no progress: the attempt's closing belongs to
    /// the same transaction, and whoever adds it ends the attempt.
    pub(super) fn finish(
        self,
        exit: Option<Exit>,
        stderr: &[u8],
    ) -> serde_json::Result<(Evidence, Closing)> {
        let Self {
            origin,
            clock,
            reader,
            offset: _,
            ordinal,
            agent_session,
            mut events,
            seen,
            saving: _,
            model: _,
        } = self;
        let mut last = Vec::new();
        let evidence = reader.finish(
            exit,
            stderr,
            &mut |read| events.append(read.events),
            &mut last,
        );
        events.append(&mut last);
        let mut closing = Closing {
            agent_session,
            ..Closing::new(origin, clock, ordinal, seen)
        };
        for event in &events {
            closing.add(event)?;
        }
        Ok((evidence, closing))
    }

    /// A batch with an event of the runner's own, in the place where it happened.
    pub(super) fn own(&mut self, event: Event) -> serde_json::Result<Batch> {
        self.events.push(event);
        let mut batch = self.drain()?;
        batch.changes.push(Change::Progress {
            turn: self.origin.turn,
            offset: self.offset,
            ordinal_next: self.ordinal,
            adapter: self.reader.snapshot(),
        });
        Ok(batch)
    }

    /// The turn is to be cancelled.
    pub(super) fn cancel(&self) -> Batch {
        let turn = self.origin.turn;
        Batch::new(&self.origin.session, self.origin.agent).with(Change::CancelTurn { turn })
    }

    fn drain(&mut self) -> serde_json::Result<Batch> {
        let mut batch = Batch::new(&self.origin.session, self.origin.agent);
        for event in self.events.drain(..) {
            self.seen.event(&event);
            batch
                .events
                .push(number(&self.origin, self.clock, &mut self.ordinal, &event)?);
        }
        Ok(batch)
    }
}

/// The last batch of an attempt, and what the runner adds until the next one begins.
pub(super) struct Closing {
    origin: Origin,
    clock: Clock,
    ordinal: u64,
    /// The CLI's own session id, if it said one.
    pub(super) agent_session: Option<String>,
    /// The turn up to here.
    pub(super) seen: Seen,
    batch: Batch,
}

impl Closing {
    /// Of an attempt that said nothing.
    pub(super) fn new(origin: Origin, clock: Clock, ordinal: u64, seen: Seen) -> Self {
        let batch = Batch::new(&origin.session, origin.agent);
        Self {
            origin,
            clock,
            ordinal,
            agent_session: None,
            seen,
            batch,
        }
    }

    /// Adds an event.
    pub(super) fn add(&mut self, event: &Event) -> serde_json::Result<()> {
        self.seen.event(event);
        self.push(event)
    }

    /// Adds an event that `seen` knows.
    pub(super) fn push(&mut self, event: &Event) -> serde_json::Result<()> {
        let event = number(&self.origin, self.clock, &mut self.ordinal, event)?;
        self.batch.events.push(event);
        Ok(())
    }

    /// The run's next event ordinal.
    pub(super) const fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// What is to be stored now; what is added later is another batch.
    pub(super) fn take(&mut self) -> Batch {
        let empty = Batch::new(&self.origin.session, self.origin.agent);
        std::mem::replace(&mut self.batch, empty)
    }
}

/// Gives an event its id: the run's, and how many came before it.
pub(super) fn number(
    origin: &Origin,
    clock: Clock,
    ordinal: &mut u64,
    event: &Event,
) -> serde_json::Result<NewEvent> {
    let id = EventId::derive(origin.run.uuid(), *ordinal);
    *ordinal += 1;
    NewEvent::encode(event, id, clock.wall(), Some((origin.turn, origin.attempt)))
}
