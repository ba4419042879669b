//! agent-runner: supervises AI coding agent CLIs and leads their Coder Hub session.
//!
//! Data flows one way: CLI bytes → spool → frames → events → journal → Hub. Each module may use
//! only modules of a lower tier (`tests/architecture.rs` holds the table); the tiers up to the
//! adapters and state machines do no I/O, know no runtime and never panic on any input.

// tier 0: ids, clock, private files, images, how a process ends; first what every module may name
#[macro_use]
mod crash_point;
pub mod clock;
pub mod exit;
pub mod files;
pub mod ids;
pub mod image;
mod loopback;
// tier 1: settings, the event vocabulary, framing, masking
pub mod config;
pub mod event;
pub mod frame;
pub mod redact;
// tier 2: adapters and pure state machines (and the Hub link, tier 5, beside its protocol)
pub mod agent;
pub mod hub;
pub mod turn;
// tier 3: what is durable, and the kernel
pub mod journal;
pub mod private_socket;
#[allow(unsafe_code)]
pub mod process;
pub mod spool;
// tier 4: processes and folders of a run, and the agent CLIs themselves
pub mod init;
pub mod install;
pub mod sandbox;
pub mod shim;
pub mod workspace;
// tier 6: sessions and servers
pub mod local_hub;
pub mod scripted_model;
pub mod session;
// tier 8 to 11: the API, the composition root, what looks at its surroundings, and the commands
pub mod api;
pub mod cli;
pub mod daemon;
pub mod doctor;
pub mod tasks;
mod tls;
