//! What becomes of a session when the machine, the disk or the clock misbehaves.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test fails by its panic
#![allow(clippy::print_stdout)] // a skipped test says so

#[path = "../support/appears.rs"]
#[allow(dead_code)]
mod appears;
#[path = "../end_to_end/bench.rs"]
#[allow(dead_code)] // shared with the tests of the whole way, which use more of it
mod bench;
#[path = "../support/running.rs"]
mod running;

mod full;
mod journal;

mod corruption;
mod disk_full;
mod power;
mod retention;
mod whole_way;
