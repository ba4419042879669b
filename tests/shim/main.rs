//! The process layer on real processes: shim, spool, status record, control socket, kill ladder.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test's failure is a panic

#[path = "../support/appears.rs"]
mod appears;
mod harness;

mod control;
mod ends;
mod environment;
mod groups;
mod lifetime;
mod output;
mod stdin;
mod trees;
