//! `agent-runner init` on real processes: the matrix that small inits are held to (exit codes,
//! signals, zombies, groups, subreaper), restarts, the end of a container, and what a killed shim
//! leaves.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test's failure is a panic

#[path = "../support/ended.rs"]
mod ended;
mod harness;

mod cgroup_v2;
mod codes;
mod memory;
mod orphans;
mod pid_one;
mod restarts;
mod signals;
mod stop;
mod zombies;
