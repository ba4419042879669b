//! The whole way on real parts: this program, the real Claude Code, the scripted model, the
//! embedded Hub, the official client. A part that is not installed skips its tests, except in
//! continuous integration.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test fails by its panic
#![allow(clippy::print_stdout)] // a skipped test says so

#[path = "../conformance/agents.rs"]
#[allow(dead_code)] // shared with the conformance suite, which uses more of it
mod agents;
#[path = "../git_server/mod.rs"]
#[allow(dead_code)] // shared with the tests of clones, which use more of it
mod git_server;
#[path = "../support/git.rs"]
mod own_git;

#[path = "../support/appears.rs"]
mod appears;
mod bench;
mod conversation;
#[path = "../hub_link/hub.rs"]
#[allow(unreachable_pub)] // shared with the tests of the link
mod hand_hub;
#[path = "../support/in_time.rs"]
mod in_time;
mod landlock;
mod other_user;
mod participants;
#[path = "../support/running.rs"]
mod running;
#[path = "../support/terminal.rs"]
mod terminal;
#[path = "../support/viewer.rs"]
mod viewer;

mod answers;
mod attach;
mod authors;
mod away;
mod bad_input;
mod bytes;
mod commands;
mod cut_off;
mod elsewhere;
mod ends;
mod fences;
mod gate;
mod ground;
mod hub_tools;
mod official_lead;
mod official_tui;
mod over_ssh;
mod prompts;
mod pushes;
mod secrets;
mod session;
mod side_by_side;
mod takeover;
mod tokens;
mod unheard;
mod waking;
