//! The embedded Hub as its clients meet it: the real binary, real sockets, the official client.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test fails by its panic
#![allow(clippy::print_stdout)] // a skipped test says so

#[path = "local_hub/support.rs"]
mod support;

#[path = "local_hub/access.rs"]
mod access;
#[path = "local_hub/delivery.rs"]
mod delivery;
#[path = "local_hub/hostile.rs"]
mod hostile;
#[path = "local_hub/in_process.rs"]
mod in_process;
#[path = "local_hub/leads.rs"]
mod leads;
#[path = "local_hub/official.rs"]
mod official;
