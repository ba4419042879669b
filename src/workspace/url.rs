//! Where a repository may be cloned from, as a type.
//!
//! https anywhere, http on this machine only, and local folders. What carries credentials in the
//! address, needs ssh or is unencrypted is refused with what to do instead.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use url::{Host, Url};

/// A repository's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoUrl(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Remote(Url),
    Local(PathBuf),
}

/// Why an address is not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidRepoUrl {
    /// It holds a user name or password; it is not shown, as it is a secret.
    #[error(
        "the repository's URL holds credentials, which would end up in logs; write the URL without them and give the token by --git-token-file"
    )]
    Credentials,
    /// It would need ssh.
    #[error("`{url}` needs ssh, which is not built in; use {instead} with --git-token-file")]
    Ssh {
        /// As typed.
        url: String,
        /// The https form, as far as it can be told.
        instead: String,
    },
    /// Its scheme is not taken.
    #[error("`{url}` is not encrypted; use https (http is taken for this machine only)")]
    Unencrypted {
        /// As typed.
        url: String,
    },
    /// It is no address at all.
    #[error("`{url}` is no repository address ({why}); write an https URL, a file URL or a path")]
    Malformed {
        /// As typed.
        url: String,
        /// What is wrong with it.
        why: String,
    },
}

impl RepoUrl {
    /// Reads what a person typed; a relative path starts at `cwd`.
    pub fn parse(text: &str, cwd: &Path) -> Result<Self, InvalidRepoUrl> {
        if text.is_empty() || text.starts_with('-') || text.contains(char::is_control) {
            return Err(malformed(
                text,
                "it is empty, begins with - or holds control characters",
            ));
        }
        if text.contains("://") {
            return Self::parse_url(text);
        }
        match scp_form(text) {
            Some((host, path)) if !cwd.join(text).exists() => Err(InvalidRepoUrl::Ssh {
                url: text.to_owned(),
                instead: format!("https://{host}/{path}"),
            }),
            _ => Ok(Self(Kind::Local(cwd.join(text).components().collect()))),
        }
    }

    /// The folder, where the repository lies on this machine.
    pub fn local_path(&self) -> Option<&Path> {
        match &self.0 {
            Kind::Local(path) => Some(path),
            Kind::Remote(_) => None,
        }
    }

    fn parse_url(text: &str) -> Result<Self, InvalidRepoUrl> {
        let url = Url::parse(text).map_err(|error| malformed(text, &error.to_string()))?;
        let instead = || format!("https://{}{}", url.host_str().unwrap_or("HOST"), url.path());
        match url.scheme() {
            "ssh" | "git+ssh" | "ssh+git" => Err(InvalidRepoUrl::Ssh {
                url: format!("{}://…", url.scheme()),
                instead: instead(),
            }),
            _ if !url.username().is_empty() || url.password().is_some() => {
                Err(InvalidRepoUrl::Credentials)
            }
            "file" => url
                .to_file_path()
                .map(|path| Self(Kind::Local(path)))
                .map_err(|()| malformed(text, "a file URL names a path of this machine")),
            "https" => Ok(Self(Kind::Remote(url))),
            "http" if is_loopback(&url) => Ok(Self(Kind::Remote(url))),
            "http" | "git" => Err(InvalidRepoUrl::Unencrypted {
                url: text.to_owned(),
            }),
            scheme => Err(malformed(text, &format!("`{scheme}` is not supported"))),
        }
    }
}

impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Remote(url) => url.fmt(f),
            Kind::Local(path) => path.display().fmt(f),
        }
    }
}

/// `user@host:path`, as git reads it: a colon before the first slash.
fn scp_form(text: &str) -> Option<(&str, &str)> {
    let (before, path) = text.split_once(':')?;
    let host = before.rsplit('@').next()?;
    (!before.contains('/') && !host.is_empty()).then_some((host, path))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

fn malformed(url: &str, why: &str) -> InvalidRepoUrl {
    InvalidRepoUrl::Malformed {
        url: url.escape_debug().to_string(),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RepoUrl, InvalidRepoUrl> {
        RepoUrl::parse(text, Path::new("/base"))
    }

    #[test]
    fn addresses_that_are_safe_are_taken_as_typed() {
        for text in [
            "https://example.com/a/b.git",
            "http://127.0.0.1:8080/r",
            "http://[::1]/r",
            "http://localhost/r",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        for (text, path) in [
            ("/srv/r", "/srv/r"),
            ("./r", "/base/r"),
            ("r.git", "/base/r.git"),
            ("file:///srv/r", "/srv/r"),
        ] {
            assert_eq!(parse(text).unwrap().local_path(), Some(Path::new(path)));
        }
    }

    #[test]
    fn credentials_are_refused_and_never_shown() {
        for text in [
            "https://u:secret@example.com/r",
            "https://secret@example.com/r",
            "http://u:secret@localhost/r",
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error, InvalidRepoUrl::Credentials);
            assert!(error.to_string().contains("--git-token-file"));
        }
        let error = parse("ssh://git:secret@example.com/a/b")
            .unwrap_err()
            .to_string();
        assert!(
            !error.contains("secret") && error.contains("https://example.com/a/b"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_cloned_says_what_can() {
        let ssh = parse("git@example.com:a/b.git").unwrap_err().to_string();
        assert!(ssh.contains("use https://example.com/a/b.git"), "{ssh}");
        for text in [
            "http://example.com/r",
            "git://example.com/r",
            "http://10.0.0.1/r",
        ] {
            assert!(
                matches!(parse(text), Err(InvalidRepoUrl::Unencrypted { .. })),
                "{text}"
            );
        }
        for text in [
            "",
            "--upload-pack=x",
            "ext::sh://x",
            "ftp://x/r",
            "https://",
            "a\nb",
            "file://host/r",
        ] {
            assert!(
                matches!(parse(text), Err(InvalidRepoUrl::Malformed { .. })),
                "{text}"
            );
        }
    }
}
