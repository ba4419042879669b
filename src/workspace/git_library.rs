//! libgit2's global options, set once before its first use.

use std::sync::OnceLock;

use git2::{ConfigLevel, opts, transport};

use super::{http, ssh};

static PREPARED: OnceLock<Result<(), String>> = OnceLock::new();

/// Shuts the machine's git configuration out, has HTTP spoken by [`http`](super::http), and ssh by
/// [`ssh`](super::ssh).
/// Process-wide. Whatever opens a repository calls it first.
pub(super) fn prepare_git() -> Result<(), git2::Error> {
    PREPARED
        .get_or_init(|| set_options().map_err(|error| error.message().to_owned()))
        .clone()
        .map_err(|message| git2::Error::from_str(&message))
}

fn set_options() -> Result<(), git2::Error> {
    // A machine's configuration could name programs to run, rewrite addresses or turn TLS off.
    for level in [ConfigLevel::System, ConfigLevel::Global, ConfigLevel::XDG] {
        // SAFETY: `PREPARED` makes this the only caller, once, before any repository is opened or
        // any server asked: all of that goes through `clone`, which comes here first.
        unsafe { opts::set_search_path(level, "") }?;
    }
    for scheme in ["http", "https"] {
        // SAFETY: as above; no transport is made before.
        unsafe { transport::register(scheme, http::transport) }?;
    }
    // SAFETY: as above.
    unsafe { transport::register("ssh", ssh::transport) }?;
    Ok(())
}
