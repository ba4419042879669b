//! A turn's events over a live process, put into batches: numbered on from those of the process's
//! earlier turns, each batch with the state up to which it speaks.

use super::course::Course;
use super::process::LiveProcess;
use crate::clock::Clock;
use crate::event::Event;
use crate::journal::{Batch, Change};
use crate::turn::pump::{Closing, Origin, number};
use crate::turn::seen::Seen;
use crate::turn::shorten::join_deltas;

/// What a turn has told.
pub(in crate::turn) struct Account {
    origin: Origin,
    clock: Clock,
    /// The turn up to here.
    pub(in crate::turn) seen: Seen,
    events: Vec<Event>,
    /// As the journal knows it.
    agent_session: Option<String>,
}

impl Account {
    /// A turn that goes on over the process of `origin`.
    pub(in crate::turn) fn new(origin: Origin, clock: Clock, seen: Seen) -> Self {
        Self {
            origin,
            clock,
            seen,
            events: Vec::new(),
            agent_session: None,
        }
    }

    pub(in crate::turn) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Adds an event.
    pub(in crate::turn) fn add(&mut self, event: Event) {
        self.seen.event(&event);
        self.events.push(event);
    }

    /// Whether there is something to store.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// What was added, with the state of the process and of the turn after it. With `saving`, what
    /// can be said in fewer bytes is.
    pub(in crate::turn) fn batch(
        &mut self,
        process: &mut LiveProcess,
        course: &Course,
        saving: bool,
    ) -> serde_json::Result<Batch> {
        if saving {
            join_deltas(&mut self.events);
        }
        let mut batch = Batch::new(&self.origin.session, self.origin.agent);
        for event in self.events.drain(..) {
            let ordinal = &mut process.ordinal;
            let event = number(&self.origin, self.clock, ordinal, &event)?;
            batch.events.push(event);
        }
        let told = process.agent_session();
        if told.is_some() && told != self.agent_session.as_deref() {
            self.agent_session = told.map(str::to_owned);
            batch
                .changes
                .extend(told.map(|id| Change::AgentSession { id: id.to_owned() }));
        }
        batch
            .changes
            .push(process.progress(self.origin.turn, course));
        Ok(batch)
    }

    /// What was added, of an attempt that gets no process.
    pub(in crate::turn) fn unstarted(&mut self, begin: Change) -> serde_json::Result<Batch> {
        let mut batch = Batch::new(&self.origin.session, self.origin.agent).with(begin);
        let mut ordinal = 0;
        for event in self.events.drain(..) {
            let event = number(&self.origin, self.clock, &mut ordinal, &event)?;
            batch.events.push(event);
        }
        Ok(batch)
    }

    /// The turn's last batch, to which the runner adds. `ordinal` is the run's next.
    pub(super) fn close(
        self,
        ordinal: u64,
        session: Option<String>,
    ) -> serde_json::Result<Closing> {
        let mut closing = Closing::new(self.origin, self.clock, ordinal, self.seen);
        closing.agent_session = session.or(self.agent_session);
        for event in &self.events {
            closing.push(event)?;
        }
        Ok(closing)
    }
}
