//! Normalized events as the Pi-shaped events that Hub viewers know.
//!
//! Guarantees, whatever the order of events that comes in:
//! * what is opened is closed: messages, tool executions, tasks, model turns, runs;
//! * at most one message is open, whoever speaks, and none while a tool call begins or ends; no two
//!   messages share an id or, within a turn, a timestamp (viewers drop repeats);
//! * no event but `turn_start` has a top-level `timestamp`: viewers drop a second event with the
//!   same one, so streamed pieces would get lost;
//! * state frames are a function of the event stream from a turn's first event on: mapped again,
//!   they have the same ids and bytes. Deltas are joined as they come, so theirs may differ;
//! * frames, and what is remembered between events, are bounded.
//!
//! It sends nothing and knows no clock: the Hub link decides when joined deltas are due
//! ([`Mapper::flush`]). Which event becomes what is in `docs/hub.md`.

mod diff;
mod fields;
mod frame;
mod mapper;
mod message;
mod pending;
mod run;
mod sink;
mod subagent;
mod text;
mod tools;

pub use frame::{Class, Frame, MAX_DATA};
pub(super) use frame::{cut_strings, raw};
pub use mapper::Mapper;
pub use message::{model, vendor};

#[cfg(test)]
mod tests;
