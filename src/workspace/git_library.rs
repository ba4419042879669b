//! libgit2's global options, set once before its first use.

use std::path::Path;
use std::sync::OnceLock;

use git2::{ConfigLevel, opts};

/// A server that accepts no connection for so long is down.
const CONNECT_TIMEOUT_MS: i32 = 30_000;

/// A server that says nothing for so long, not even that it is counting, has gone.
const SILENCE_TIMEOUT_MS: i32 = 60_000;

static PREPARED: OnceLock<Result<(), String>> = OnceLock::new();

/// Shuts the machine's git configuration out, bounds waiting, and trusts `ca_file` besides
/// OpenSSL's own roots. Process-wide: the first call decides.
///
/// [`clone`](super::clone()) calls it; a program with threads should do so before it starts them,
/// since git2 looks for OpenSSL's roots at its first use and sets `SSL_CERT_FILE` and
/// `SSL_CERT_DIR` in this process to what it finds.
pub fn prepare_git(ca_file: Option<&Path>) -> Result<(), git2::Error> {
    PREPARED
        .get_or_init(|| set_options(ca_file).map_err(|error| error.message().to_owned()))
        .clone()
        .map_err(|message| git2::Error::from_str(&message))
}

fn set_options(ca_file: Option<&Path>) -> Result<(), git2::Error> {
    // A machine's configuration could name programs to run, rewrite addresses or turn TLS off.
    for level in [ConfigLevel::System, ConfigLevel::Global, ConfigLevel::XDG] {
        // SAFETY: `PREPARED` makes this the only caller, once, before any repository is opened or
        // any server asked: all of that goes through `clone`, which comes here first.
        unsafe { opts::set_search_path(level, "") }?;
    }
    // SAFETY: as above.
    unsafe { opts::set_server_connect_timeout_in_milliseconds(CONNECT_TIMEOUT_MS) }?;
    // SAFETY: as above.
    unsafe { opts::set_server_timeout_in_milliseconds(SILENCE_TIMEOUT_MS) }?;
    if let Some(file) = ca_file {
        // SAFETY: as above.
        unsafe { opts::set_ssl_cert_file(file) }?;
    }
    Ok(())
}
