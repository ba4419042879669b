//! The syscall module: identities, signals, trees, and what a process does to itself before `exec`.
//!
//! The only module with `unsafe`. Every function is a thin, safe wrapper that returns the kernel's
//! error; policy (when to kill, how long to wait) belongs to the shim.

mod as_user;
mod cgroup;
mod ended;
mod environment;
mod exec;
mod fd;
mod fork;
mod give;
mod identity;
mod mark;
mod memory;
mod name;
mod pidfd;
mod reach;
mod signals;
mod tree;
mod usage;
mod user;

pub use as_user::as_user;
pub use cgroup::{OomWatch, RunGroup};
pub use ended::{Children, Zombie, ended_child};
pub use environment::Environment;
pub use exec::{limit_resources, replace_image};
pub use fd::{close_inherited, close_on_exec_from, duplicate};
pub use fork::{Fork, end_now, fork, fork_into, fork_into_group};
pub use give::{give, give_alone, give_content_of, hand_over};
pub use identity::{Identity, Stat, State, host_name, is_there, pid_world};
pub use mark::{RunMark, orphans};
pub use memory::{release_program_pages, return_large_buffers};
pub use name::{SHIM_NAME, is_named, set_own_name};
pub use pidfd::PidFd;
pub use reach::{Reach, can_restrict_files, restrict_files};
pub use signals::{
    block_all_and_watch, block_and_watch, is_ignored, reset_all, signal_everyone, signal_group,
};
pub use tree::{Member, descendants, reap, session_members, trees_of};
pub use usage::{TreeUsage, clock_ticks, tree_usage};
pub use user::{become_user, forget_capabilities};
