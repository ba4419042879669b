//! The scripted model from outside: its command, its wire, and the real CLIs playing along.
// clippy exempts the bodies of tests by itself, but not the functions that they share
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod claude;
mod cli;
mod codex;
mod command;
mod gemini;
mod opencode;
mod pi;
mod server;
mod wire;
