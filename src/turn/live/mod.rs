//! A CLI in live form, driven: one process, spoken to over its stdin, that outlives its turns.
//!
//! ```text
//!            ┌────────────── Rest (between turns) ◄─────────────┐
//!  warm, or adopted from an earlier daemon                      │ kept
//!            └──► LiveProcess ──► LiveAttempt (one turn's share of it) ──► gone
//! ```
//!
//! The process belongs to one of the two at a time, so turns cannot mix. What it says while a turn
//! runs is that turn's; what it says before its first turn is told with that one; what it says
//! after a turn belongs to the turn that is over.
//!
//! Pure: `course` (what is known of a turn, what is to be said next), `saved` (both as stored).
//! Effects: `process` (its bytes both ways), `attempt` (a turn), `obey` (what it is told), `vigil`
//! (whether it hangs), `change` and `adapt` (its settings), `ending`, `rest` (no turn), `account` (events into batches).

mod account;
mod adapt;
mod attempt;
mod change;
mod course;
mod ending;
mod obey;
mod process;
mod rest;
mod saved;
mod started;
mod vigil;

pub(super) use account::Account;
pub(super) use attempt::LiveAttempt;
pub(super) use course::Course;
pub use process::LiveProcess;
pub(super) use process::Place;
pub use rest::{Rest, RestFrom};
pub(super) use saved::Saved;
