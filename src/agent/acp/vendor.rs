//! What differs between agents that speak the Agent Client Protocol.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::wire::{CallUpdate, Fault};
use super::work::OpenCall;
use crate::agent::Evidence;
use crate::agent::live::{LiveSpec, Setting};
use crate::event::{Event, TurnError, Usage};
use crate::exit::Exit;

/// A request about a session, without the session's id.
pub(in crate::agent) type Request = (&'static str, Value);

/// A call's name in the CLI, and its normalized input.
pub(in crate::agent) struct Begun {
    /// The CLI's own name for the tool.
    pub(in crate::agent) native: String,
    /// The normalized name.
    pub(in crate::agent) name: String,
    /// The normalized input.
    pub(in crate::agent) input: Value,
}

/// What came of a notification of the vendor's own.
pub(in crate::agent) struct Extended {
    /// For the case that it gave no event.
    pub(in crate::agent) reason: &'static str,
    /// A call was not consented to; the CLI may stop there.
    pub(in crate::agent) refused: bool,
}

impl From<&'static str> for Extended {
    fn from(reason: &'static str) -> Self {
        Self {
            reason,
            refused: false,
        }
    }
}

/// How a turn's answer is to be judged that says nothing of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::agent) enum Stopped {
    /// The model ended its turn, and nothing says otherwise.
    Well,
    /// The last that happened is a call that nobody consented to: the CLI stopped there.
    AtRefusal,
}

/// An agent's own part of the protocol. Its state is in every snapshot.
pub(in crate::agent) trait Vendor:
    Default + Clone + Debug + Serialize + DeserializeOwned + Send + 'static
{
    /// The request that goes on with a conversation.
    const RESUME: &'static str;
    /// Whether what was said before is told again behind the answer to that request, up to a list
    /// of commands.
    const HISTORY_FOLLOWS: bool;

    /// Whether updates of a running command have its output so far.
    const STREAMS_OUTPUT: bool;

    /// Whether it says of a call that was not consented to that it is over.
    const TELLS_DENIED: bool;

    /// What is to be set once there is a session.
    fn settings(spec: &LiveSpec) -> Vec<Request>;

    /// The request for a change; none where it takes a new process.
    fn change(setting: &Setting) -> Option<Request>;

    /// What a request changes, the other way round.
    fn changed_by(method: &str, params: &Value) -> Option<Setting>;

    /// Whether a piece of text is the CLI's and not the model's.
    fn is_noise(_text: &str) -> bool {
        false
    }

    /// A piece of reasoning without what the CLI puts around it, and whether it begins a thought of
    /// its own.
    fn thought(text: &str) -> (&str, bool) {
        (text, false)
    }

    /// A call, as far as it is known when it begins. `native` is what it was announced as.
    fn begun(&self, native: Option<&str>, call: &CallUpdate<'_>) -> Begun;

    /// A call is over: appends what became of it, its end among it. Whether it was refused.
    fn ended(&mut self, open: &OpenCall, call: &CallUpdate<'_>, out: &mut Vec<Event>) -> bool;

    /// A notification that is not of the protocol, about the session `main`; none for one that is
    /// not known.
    fn extended(
        &mut self,
        _main: &str,
        _method: &str,
        _params: Option<&RawValue>,
        _out: &mut Vec<Event>,
    ) -> Option<Extended> {
        None
    }

    /// Whether such notifications tell the work: then the protocol's own updates say nothing more.
    fn tells_work(&self) -> bool {
        false
    }

    /// The open call of that id, where they do.
    fn call(&self, _id: &str) -> Option<&OpenCall> {
        None
    }

    /// The error of the turn, where they have told of one.
    fn told_failure(&self) -> Option<&TurnError> {
        None
    }

    /// A turn begins.
    fn turn_begins(&mut self) {}

    /// It is over: what is open will not end any more.
    fn turn_over(&mut self, _out: &mut Vec<Event>) {}

    /// Why a turn failed.
    fn failed(fault: &Fault<'_>) -> TurnError;

    /// What stderr says of a process that was gone before there was a session.
    fn unopened(exit: Option<Exit>, stderr: &[u8]) -> Evidence;

    /// Why a turn stopped that was not ended by the model, by the protocol's word for it; none for
    /// a word that is not known.
    fn stopped(reason: &str, how: Stopped) -> Option<TurnError>;

    /// The tokens of a turn of one request, or of all its requests where the CLI tells those.
    fn usage(usage: Option<&RawValue>, meta: Option<&RawValue>, single: bool) -> Usage;
}
