//! One daemon, many sessions: in the background, side by side, each by itself, over every end of
//! the daemon.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test fails by its panic
#![allow(clippy::print_stdout)] // a skipped test says so

#[path = "support/appears.rs"]
#[allow(dead_code)]
mod appears;
#[path = "end_to_end/bench.rs"]
#[allow(dead_code)] // shared with the end-to-end tests, which use more of it
mod bench;
#[path = "support/running.rs"]
mod running;

#[path = "many_sessions/background.rs"]
mod background;
#[path = "many_sessions/ended.rs"]
mod ended;
#[path = "many_sessions/ends.rs"]
mod ends;
#[path = "many_sessions/idle.rs"]
mod idle;
#[path = "many_sessions/kept.rs"]
mod kept;
#[path = "many_sessions/place.rs"]
mod place;
