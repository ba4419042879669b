//! What stopped a clone, and putting it into words.

use git2::ErrorCode;

use super::callbacks::{Stopped, Watch};
use super::clone::CloneRequest;
use super::error::CloneError;
use super::resolver;

/// What stopped a clone, before it is put into words.
pub(super) enum Fault {
    Git(git2::Error),
    NoRevision(Vec<String>),
    Stopped,
}

impl From<git2::Error> for Fault {
    fn from(error: git2::Error) -> Self {
        Self::Git(error)
    }
}

impl Fault {
    /// The error that says it, judged by what the callbacks saw first.
    pub(super) fn explain(self, request: &CloneRequest, watch: &Watch<'_>) -> CloneError {
        let url = request.url.to_string();
        match watch.stopped.get() {
            Stopped::Cancelled => return CloneError::Cancelled { url },
            Stopped::TimedOut => {
                let limit = request.limit;
                return CloneError::TimedOut { url, limit };
            }
            Stopped::TooLarge => {
                let most = request.extent.most;
                return CloneError::TooLarge { url, most };
            }
            Stopped::No => {}
        }
        match self {
            Self::Stopped => CloneError::Cancelled { url },
            Self::NoRevision(known) => CloneError::NoRevision {
                url,
                revision: request
                    .revision
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                known,
            },
            Self::Git(source) => explain_git(source, request),
        }
    }
}

/// libgit2 has codes for some faults and only words for others.
fn explain_git(source: git2::Error, request: &CloneRequest) -> CloneError {
    let url = request.url.to_string();
    let message = source.message().to_owned();
    match source.code() {
        _ if message.contains(resolver::REFUSED) => CloneError::NotPublic { url },
        _ if request.url.ssh().is_some() => CloneError::Ssh { url, message },
        ErrorCode::Certificate => CloneError::Certificate { url, message },
        ErrorCode::Auth if request.token.is_none() => CloneError::AuthNeeded { url },
        ErrorCode::Auth => CloneError::AuthRefused { url },
        ErrorCode::Owner => CloneError::ForeignOwner { url },
        ErrorCode::NotFound if request.url.local_path().is_some() => CloneError::NotFound { url },
        _ if message.contains("status code: 404") => CloneError::NotFound { url },
        _ if message.contains("status code: 403") => CloneError::Forbidden { url },
        _ if message.contains("redirect") => CloneError::Redirect { url },
        _ if request.url.local_path().is_none() => CloneError::Network { url, message },
        _ => CloneError::Git { url, source },
    }
}
