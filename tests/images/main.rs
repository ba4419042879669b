//! The images, in real containers: what they are made of, and a session inside one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test's failure is a panic

#[path = "../support/appears.rs"]
mod appears;

mod attack;
mod bench;
mod engine;
mod faults;
mod manifests;

mod beside;
mod container;
mod contents;
mod deployed;
#[path = "../git_server/mod.rs"]
#[allow(dead_code)] // shared with the tests of workspaces
mod git_server;
#[path = "../hub_link/hub.rs"]
#[allow(unreachable_pub)] // shared with the tests of the link
mod hand_hub;
mod pinned;
mod session;
#[path = "../git_server/tls.rs"]
mod tls;
