//! Requests of the agent that wait for somebody's answer: calls that need consent, and questions.
//!
//! [`Approval`] says what becomes of a request before anybody is asked, [`Asides`] holds those that
//! are not the agent's; the rest is data about those that wait.

mod aside;
mod places;
mod question;
mod ruling;
mod script;

use serde::{Deserialize, Serialize};

use crate::agent::live::{Answer, Asked};
use crate::clock::Timestamp;

pub use aside::{Asides, Matter};
pub use question::{Choice, Question, answered, questions};
pub use ruling::{Approval, Ruling};

/// A request that waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// What is asked.
    pub asked: Asked,
    /// Since when.
    pub since: Timestamp,
    /// When it is denied for want of an answer; none: it waits as long as the turn.
    pub until: Option<Timestamp>,
    /// What people are asked in the words of somebody else than the agent; empty: it is the
    /// agent's own.
    pub matters: Vec<Matter>,
}

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answerer {
    /// A person at this machine, over the local API.
    Local,
    /// A controller of the Hub session.
    Controller,
    /// The Hub itself.
    Hub,
    /// A rule of the configuration.
    Policy,
    /// Nobody did in time.
    Timeout,
    /// The runner: the turn was cancelled, or nobody is left to ask.
    Runner,
}

/// An answer on its way to the request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// Which request.
    pub request_id: String,
    /// What is said to it.
    pub answer: Answer,
    /// By whom.
    pub by: Answerer,
}

/// An answer that counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// It was answered before, withdrawn, or never asked.
    #[error("no request `{0}` waits for an answer; it may have been answered or withdrawn")]
    NotWaiting(String),
    /// The CLI would take the answer and do what it had asked for all the same.
    #[error("{0} cannot be given another input than it asked for; permit or deny it as it is")]
    FixedInput(&'static str),
    /// The daemon is going.
    #[error("the session is stopping; the request is asked again when the daemon is back")]
    Stopping,
    /// The answer would not be durable.
    #[error("the answer cannot be stored: {0}")]
    NotStored(String),
}

impl Answerer {
    /// As the event words it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Controller => "controller",
            Self::Hub => "hub",
            Self::Policy => "policy",
            Self::Timeout => "timeout",
            Self::Runner => "runner",
        }
    }
}
