//! Why a workspace could not be made: what, where, and what to do next.

use std::path::PathBuf;
use std::time::Duration;

/// A clone that did not come about; nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloneError {
    /// There is no repository.
    #[error("there is no git repository at {url}; check the address")]
    NotFound {
        /// Where.
        url: String,
    },
    /// The server wants credentials and there are none.
    #[error("{url} does not exist or needs credentials; give a token by --git-token-file")]
    AuthNeeded {
        /// Where.
        url: String,
    },
    /// The server does not take the token.
    #[error("{url} refused the token; check that it is valid and may read this repository")]
    AuthRefused {
        /// Where.
        url: String,
    },
    /// The server knows who asks and says no, or serves nobody.
    #[error("{url} may not be read; check --git-token-file and what its token may do")]
    Forbidden {
        /// Where.
        url: String,
    },
    /// The repository has no such branch, tag or commit.
    #[error("{url} has no branch, tag or commit `{revision}`{}", hint(.known))]
    NoRevision {
        /// Where.
        url: String,
        /// What was asked for.
        revision: String,
        /// Some of the branches that there are.
        known: Vec<String>,
    },
    /// The server sends elsewhere, where a token must not follow.
    #[error("{url} redirects to another host; give the address that it redirects to")]
    Redirect {
        /// Where.
        url: String,
    },
    /// The host's name leads to this machine or this network.
    #[error(
        "{url} does not lead to the public network, and a Hub or a submodule named it; to allow it, add the host to git.allow_hosts"
    )]
    NotPublic {
        /// Where.
        url: String,
    },
    /// A submodule cannot be cloned.
    #[error(
        "the submodule {name} of {url} cannot be cloned: {why}; leave it out with git.submodules = false, or mend it"
    )]
    Submodule {
        /// Of this repository.
        url: String,
        /// Its path.
        name: String,
        /// Why.
        why: String,
    },
    /// TLS does not trust the server.
    #[error(
        "{url} has a certificate that is not trusted ({message}); for a CA of your own set SSL_CERT_FILE"
    )]
    Certificate {
        /// Where.
        url: String,
        /// libgit2's words.
        message: String,
    },
    /// The server cannot be reached or breaks off.
    #[error(
        "cannot fetch from {url}: {message}; check the network and the address, then try again"
    )]
    Network {
        /// Where.
        url: String,
        /// libgit2's words.
        message: String,
    },
    /// ssh does not get there.
    #[error("cannot fetch from {url} by ssh: {message}")]
    Ssh {
        /// Where.
        url: String,
        /// ssh's words.
        message: String,
    },
    /// The local repository belongs to another user.
    #[error(
        "{url} belongs to another user, and git does not trust it; clone it as its owner, or give it to this user"
    )]
    ForeignOwner {
        /// Where.
        url: String,
    },
    /// The workspace folder holds something else.
    #[error("{} is not empty and no clone of {url}; choose another --workspace-dir", .path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// What should be in it.
        url: String,
    },
    /// The workspace folder cannot be made.
    #[error("cannot make the workspace {}: {source}", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The caller asked to stop.
    #[error("the clone of {url} was cancelled")]
    Cancelled {
        /// Where.
        url: String,
    },
    /// It took too long.
    #[error("the clone of {url} took longer than {} s; give it more time, or a shallower source", .limit.as_secs())]
    TimedOut {
        /// Where.
        url: String,
        /// What it had.
        limit: Duration,
    },
    /// It is larger than the settings allow.
    #[error("{url} is larger than {} MiB; where that is meant, raise git.max_size", .most >> 20)]
    TooLarge {
        /// Where.
        url: String,
        /// Bytes.
        most: u64,
    },
    /// Anything else that libgit2 reports.
    #[error("cannot clone {url}: {source}")]
    Git {
        /// Where.
        url: String,
        /// libgit2's error.
        source: git2::Error,
    },
}

fn hint(known: &[String]) -> String {
    if known.is_empty() {
        String::from("; it is empty")
    } else {
        format!("; it has {}", known.join(", "))
    }
}
