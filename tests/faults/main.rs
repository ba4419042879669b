//! kill -9 of daemon, shim and CLI, at every crash point and at random moments: what the fake agent
//! wrote is at the Hub, whole, in order and once, and its turn is finished.
//!
//! ```text
//! FAULTS_SEED=N     the random moments; printed by every run
//! FAULTS_ROUNDS=N   rounds at random moments
//! FAULTS_BLOWS=N    kills in each of them
//! FAULTS_HITS=N     passes of each crash point that are tried
//! FAULTS_POINTS=P   only points with this in their name
//! ```
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test fails by its panic
#![allow(clippy::print_stdout)] // figures and seeds

#[path = "../support/ended.rs"]
mod ended;
mod hub;
mod judge;
mod ledger;
mod leftovers;
#[path = "../support/payload.rs"]
mod payload;
mod place;
mod points;
mod rounds;
mod scenario;

mod crash_points;
mod random;
