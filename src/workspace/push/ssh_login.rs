//! Git LFS of a repository that is reached by ssh: its server is asked there (`git-lfs-authenticate`)
//! where it takes contents, and with which login. They go there over HTTP.

use std::collections::BTreeMap;
use std::io::{self, Read as _};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::workspace::ssh::{Call, SshAddress};

/// What asks for it on the other side.
const SERVICE: &str = "git-lfs-authenticate";
/// An address and a few headers take less.
const LARGEST: u64 = 64 * 1024;

/// Where contents are taken, and with which login.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SshLogin {
    /// The address of the API.
    pub(super) href: String,
    /// What each request to it carries.
    #[serde(default)]
    header: BTreeMap<String, String>,
}

impl SshLogin {
    /// What each request carries; none where that cannot be said in a request.
    pub(super) fn headers(&self) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.header {
            let mut value = HeaderValue::try_from(value).ok()?;
            value.set_sensitive(true);
            headers.insert(HeaderName::try_from(name).ok()?, value);
        }
        Some(headers)
    }

    /// What nobody else may read.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        // `Basic …` and `Bearer …`: each as a whole and without its first word.
        let values = self.header.values().map(String::as_str);
        values.flat_map(|value| {
            let rest = value.split_once(' ').map(|(_, rest)| rest);
            [Some(value), rest].into_iter().flatten()
        })
    }
}

/// Asks, in the worker. None where the server has no Git LFS.
pub(super) fn ask(address: &SshAddress) -> io::Result<Option<SshLogin>> {
    let mut call = Call::ask(address, SERVICE, "upload")?;
    let mut answer = Vec::new();
    match (&mut call).take(LARGEST).read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if is_missing(&error.to_string()) => return Ok(None),
        Err(error) => return Err(error),
    }
    let login = serde_json::from_slice(&answer);
    let odd = |_| io::Error::other("the server's answer is none of Git LFS");
    login.map(Some).map_err(odd)
}

/// As shells and git's own say that there is no such program.
fn is_missing(said: &str) -> bool {
    let words = ["not found", "unrecognized command", "unknown command"];
    said.contains(SERVICE) && words.iter().any(|word| said.to_lowercase().contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_git_lfs_is_told_from_one_that_says_no() {
        for said in [
            "bash: line 1: git-lfs-authenticate: command not found",
            "sh: 1: git-lfs-authenticate: not found",
            "fatal: unrecognized command 'git-lfs-authenticate '/r' upload'",
        ] {
            assert!(is_missing(said), "{said}");
        }
        assert!(!is_missing("ERROR: Repository not found."));
        assert!(!is_missing("git-lfs-authenticate: permission denied"));
    }

    #[test]
    fn a_login_is_masked_with_and_without_its_kind() {
        let login: SshLogin = serde_json::from_str(
            r#"{"href":"https://h/x","header":{"Authorization":"Basic YTpi"},"expires_in":60}"#,
        )
        .unwrap();
        let secrets: Vec<_> = login.secrets().collect();
        assert_eq!(secrets, ["Basic YTpi", "YTpi"]);
        assert!(login.headers().unwrap()["authorization"].is_sensitive());
    }
}
