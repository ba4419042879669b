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
//! Pure: `approval` (what waits for an answer), `choices` (what participants have chosen),
//! `briefing` (what the Hub says of a run), `outcome` (how it ended), `seen` (what the agent has shown), `activity` (what it is doing),
//! `silence` (whether it hangs), `policy` (what follows), `recap` (a lost conversation told again),
//! `shorten` (the same events in fewer bytes). Effects: `run` (one turn), `attempt` (one process),
//! `pump` (its bytes), `storing` (its batches on their way to the journal), `spool_room` (what they take), `provision` (the files that it finds),
//! `conversation` (which of the CLI's own), `history` (what is on the disk of earlier work), `stored`
//! (what the CLI itself stored), `checkpoint` (what a turn did to the workspace), `report` (what it was
//! to leave there), `publish` (its commits, pushed).

pub mod activity;
pub mod approval;
mod attempt;
pub mod briefing;
mod call;
mod checkpoint;
pub mod choices;
mod context;
mod conversation;
mod forgotten;
mod history;
mod live;
pub mod outcome;
pub mod policy;
mod provision;
mod publish;
mod pump;
pub mod recap;
pub mod report;
mod run;
pub mod seen;
mod shorten;
mod shown;
pub mod silence;
mod spool_room;
mod stored;
mod storing;

pub use checkpoint::CHECKPOINT_FAILED;
pub use context::{NotSet, SetAnswer, Steering, TurnCommand, TurnContext, TurnEnd, TurnFault};
pub use live::{LiveProcess, Rest, RestFrom};
pub use publish::Publishing;
pub use run::Turn;
pub use shown::{Showing, Shown};
