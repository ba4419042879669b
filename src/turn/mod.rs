//! One prompt's run of an agent, over as many attempts as it takes.
//!
//! ```text
//!  Queued ─► attempt: launch ─► follow (spool → events → journal) ─► gone
//!                ▲                                                    │
//!                └──────── another attempt ◄── policy ◄── evidence ───┤
//!                                                                     ▼
//!                                          closing events, exactly one `end`
//! ```
//!
//! Pure: `outcome` (how it ended), `policy` (what follows). Effects: `run` (one turn), `attempt`
//! (one process), `pump` (its bytes).

mod attempt;
mod context;
pub mod outcome;
pub mod policy;
mod pump;
mod run;

pub use context::{TurnCommand, TurnContext, TurnEnd, TurnFault};
pub use run::Turn;
