//! The Agent Client Protocol (version 1): JSON-RPC over stdio, as `opencode acp` and
//! `gemini --acp` speak it.
//!
//! Opened by `initialize` and a session, which is begun or gone on with. A turn is one request,
//! `session/prompt`; its answer is the only terminal record, and what happens meanwhile comes as
//! notifications. The protocol knows no message into a running turn. What differs between agents
//! is a [`Vendor`].
//!
//! The prompt carries our message's id in `_meta`, where the protocol leaves room for it: so a
//! replay knows it, and messages that the CLI does not name have names that never come twice. That
//! the prompt was taken up is told by the first that the CLI says of the turn.

mod consent;
mod receiving;
mod sending;
mod vendor;
mod wire;
mod work;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::consent::Waiting;
use self::wire::Prompted;
use self::work::Work;
use super::json::typed;
use super::json_rpc::{self, Frame, Requests};
use super::lines::notice;
use super::live::{
    Asked, Command, Dialog, Introduction, LiveSpec, Phase, Refused, Restored, Settings, Told, tell,
};
use super::{Evidence, Ignored, snapshot};
use crate::event::{Event, NoticeLevel, TurnError, Usage};
use crate::exit::Exit;
use crate::frame::Line;

pub(super) use self::vendor::{Begun, Extended, Request, Stopped, Vendor};
pub(super) use self::wire::{CallUpdate, Fault};
pub(super) use self::work::OpenCall;

const VERSION: u32 = 2;

/// The state of a dialog. All of it is in every snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(bound = "V: Serialize + DeserializeOwned")]
struct Acp<V> {
    spec: LiveSpec,
    vendor: V,
    work: Work,
    phase: Phase,
    opening: Opening,
    ours: Requests,
    session: Option<String>,
    #[serde(default)]
    introduction: Introduction,
    /// How many of the vendor's settings were sent with the opening.
    opened_with: usize,
    /// What it works with.
    #[serde(default)]
    settings: Settings,
    /// The request whose answer ends the turn.
    turn: Option<Turn>,
    /// The running turn is being interrupted.
    interrupting: bool,
    /// What comes was said before.
    in_history: bool,
    asked: Vec<Waiting>,
    owed: BTreeMap<String, Owed>,
}

/// A prompt that is not answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Turn {
    request: String,
    message: Option<String>,
    taken_up: bool,
}

/// What of the opening was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Opening {
    #[default]
    Nothing,
    /// `initialize`, which is not answered yet.
    Asked,
    /// It is answered.
    Answered,
    /// A session was asked for.
    Session,
}

/// An answer that nobody has to decide on.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Owed {
    /// Nobody is to be asked: the call may go on.
    Allow,
    /// That request is not known here, by its method.
    Unknown(String),
}

/// A dialog from the process's start on.
pub(super) fn open<V: Vendor>(spec: &LiveSpec) -> Box<dyn Dialog> {
    Box::new(Acp {
        spec: spec.clone(),
        vendor: V::default(),
        work: Work::default(),
        phase: Phase::Opening,
        opening: Opening::Nothing,
        ours: Requests::default(),
        session: None,
        introduction: Introduction::default(),
        opened_with: 0,
        settings: Settings::started_with(spec),
        turn: None,
        interrupting: false,
        in_history: false,
        asked: Vec::new(),
        owed: BTreeMap::new(),
    })
}

/// A dialog that goes on where a snapshot was taken.
pub(super) fn restore<V: Vendor>(bytes: &[u8]) -> Restored {
    Ok(Box::new(snapshot::load::<Acp<V>>(VERSION, bytes)?))
}

impl<V: Vendor> Dialog for Acp<V> {
    fn received(&mut self, line: &Line<'_>, out: &mut Vec<Told>) -> Ignored {
        json_rpc::received(self, line, out)
    }

    fn sent(&mut self, frame: &[u8], out: &mut Vec<Told>) {
        json_rpc::sent(self, frame, out);
    }

    fn due(&self) -> Vec<Vec<u8>> {
        self.frames_due()
    }

    fn frames(&self, command: &Command) -> Result<Vec<Vec<u8>>, Refused> {
        self.command(command)
    }

    fn phase(&self) -> Phase {
        self.phase
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn pending(&self) -> Vec<Asked> {
        let waits = |waiting: &&Waiting| !self.owed.contains_key(&waiting.asked.request_id);
        let asked = self.asked.iter().filter(waits);
        asked.map(|waiting| waiting.asked.clone()).collect()
    }

    fn end(&mut self, exit: Option<Exit>, stderr: &[u8], out: &mut Vec<Told>) -> Option<Evidence> {
        self.withdraw_all(out);
        let mut events = Vec::new();
        self.work.turn_over(&mut events);
        self.vendor.turn_over(&mut events);
        tell(&mut events, out);
        match self.phase {
            Phase::Working => Some(Evidence::None),
            Phase::Opening => Some(V::unopened(exit, stderr)),
            Phase::Resting | Phase::Refused => None,
        }
    }

    fn agent_session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    fn snapshot(&self) -> Vec<u8> {
        snapshot::save(VERSION, self)
    }
}

impl<V: Vendor> Acp<V> {
    /// The answer to the prompt: the turn's only terminal record.
    fn turn_over(&mut self, frame: &Frame<'_, Fault<'_>>, out: &mut Vec<Told>) {
        self.withdraw_all(out);
        let mut events = Vec::new();
        self.work.turn_over(&mut events);
        self.vendor.turn_over(&mut events);
        let prompted: Option<Prompted<'_>> = typed(frame.result);
        let evidence = match (&frame.error, &prompted) {
            (Some(fault), _) => self.failure(fault, &mut events),
            (None, Some(prompted)) => self.evidence(&prompted.stop_reason, &mut events),
            (None, None) => Evidence::None,
        };
        if !self.vendor.tells_work() {
            let (usage, meta) = prompted.map_or((None, None), |said| (said.usage, said.meta));
            let mut usage = V::usage(usage, meta, self.work.calls == 0);
            usage.cost_usd = self.work.cost();
            if usage != Usage::default() {
                events.push(Event::Usage(usage));
            }
        }
        tell(&mut events, out);
        self.turn = None;
        self.interrupting = false;
        self.phase = Phase::Resting;
        out.push(Told::TurnOver {
            evidence,
            background: false,
        });
    }

    /// The CLI says that the turn failed; it may have told of that before.
    fn failure(&self, fault: &Fault<'_>, events: &mut Vec<Event>) -> Evidence {
        if let Some(error) = self.vendor.told_failure() {
            return Evidence::Failed(error.clone());
        }
        let error = V::failed(fault);
        let text = error.message.clone();
        events.push(notice(NoticeLevel::Error, "api_error", text));
        Evidence::Failed(error)
    }

    fn evidence(&self, reason: &str, events: &mut Vec<Event>) -> Evidence {
        if reason == "cancelled" {
            return Evidence::Interrupted;
        }
        let how = if self.work.refused {
            Stopped::AtRefusal
        } else {
            Stopped::Well
        };
        let error: Option<TurnError> = V::stopped(reason, how);
        match error {
            Some(error) => Evidence::Failed(error),
            None if reason == "end_turn" && self.work.has_output => Evidence::Completed,
            None if reason == "end_turn" => {
                let text = "the CLI reports success, but the agent said and did nothing";
                let event = notice(NoticeLevel::Warning, "empty_answer", text.to_owned());
                events.push(event);
                Evidence::None
            }
            None => Evidence::None,
        }
    }

    fn withdraw_all(&mut self, out: &mut Vec<Told>) {
        for waiting in self.asked.drain(..) {
            let request_id = waiting.asked.request_id;
            self.owed.remove(&request_id);
            out.push(Told::Withdrawn { request_id });
        }
    }
}

#[cfg(test)]
mod tests;
