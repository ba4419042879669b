//! The scripted model from outside: its command, its wire, and the real Claude Code playing along.
// clippy exempts the bodies of tests by itself, but not the functions that they share
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod claude;
mod command;
mod server;
mod wire;
