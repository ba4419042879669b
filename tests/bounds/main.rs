//! What becomes of a journal when the machine, the disk or the clock misbehaves.

mod corruption;
mod journal;
mod power;
mod retention;
