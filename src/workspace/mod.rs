//! Workspaces: clones that agents work in.
//!
//! Guarantees: a clone is whole or not there; no hook, filter program or configuration of the machine
//! takes part in it, and a submodule only where it is asked for; a token is given to the repository's own host by callback and
//! stands in no file, argument or variable; an address that could be dangerous is no [`RepoUrl`].
//! Git work blocks; [`clone_apart`] and [`checkpoint_apart`] do it in a process of its own.

mod apart;
mod authorship;
mod cache;
mod callbacks;
mod checkpoint;
mod clone;
mod credentials;
mod error;
mod fault;
#[allow(unsafe_code)] // libgit2's global options
mod git_library;
mod handing;
mod http;
mod policy;
mod push;
mod resolver;
mod revision;
mod source;
mod ssh;
mod staging;
mod submodules;
mod url;

pub use apart::{
    COMMAND as WORKER_COMMAND, WorkerError, checkpoint_apart, clone_apart, lfs_size_apart,
    serve as serve_worker,
};
pub use authorship::Authorship;
pub use cache::Cache;
pub use checkpoint::{
    Checkpoint, CheckpointError, CheckpointRequest, Checkpoints, Form, Listed, START,
    take as take_checkpoint,
};
pub use clone::{CloneRequest, Extent, Progress, Workspace, clone};
pub use credentials::{Ask, Credentials, TokenError, host_of};
pub use error::CloneError;
pub use handing::{HELPER, Handing, ask as ask_token};
pub use policy::{AllowList, InvalidAllowed};
pub use push::{Brought, PushError, PushRequest, Pushed, Uploaded, forget as forget_pushes, push};
pub use revision::{InvalidRevision, Revision};
pub use url::{InvalidRepoUrl, Reach, RepoUrl};
