//! The local API of a real daemon, by its socket, over TCP and through the commands.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test fails by its panic
#![allow(clippy::print_stdout)] // a skipped test says so

#[path = "support/appears.rs"]
#[allow(dead_code)]
mod appears;
#[path = "end_to_end/bench.rs"]
#[allow(dead_code)] // shared with the end-to-end tests, which use more of it
mod bench;
#[path = "many_sessions/place.rs"]
#[allow(dead_code)]
mod place;
#[path = "support/running.rs"]
mod running;

#[path = "api/access.rs"]
mod access;
#[path = "api/commands.rs"]
mod commands;
#[path = "api/document.rs"]
mod document;
#[path = "api/examples.rs"]
mod examples;
#[path = "api/reattach.rs"]
mod reattach;
#[path = "api/wire.rs"]
mod wire;
