//! Where a repository may be cloned from, as a type.
//!
//! What a person types is taken as typed: https and ssh anywhere, http on this machine only, local
//! folders. What a Hub sends is held to [`AllowList`]'s rules. What carries
//! credentials in the address or is unencrypted is refused with what to do instead.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::policy::{AllowList, private_name};
use super::ssh::SshAddress;

/// A repository's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoUrl {
    kind: Kind,
    reach: Reach,
}

/// Where the connection to an address may lead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Anywhere: a person chose the address, or the settings allow its host.
    #[default]
    Anywhere,
    /// To the public network alone.
    Public,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Remote(Url),
    Ssh(SshAddress),
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
    /// It comes from a Hub, which may not name it.
    #[error(
        "the Hub asks for the repository `{url}`, which is refused: {why}; to let Hubs name it, add it to git.allow_hosts, or give --repo"
    )]
    Refused {
        /// As sent.
        url: String,
        /// Why.
        why: &'static str,
    },
    /// Its scheme is not taken.
    #[error("`{url}` is not encrypted; use https (http is taken for this machine only)")]
    Unencrypted {
        /// As typed.
        url: String,
    },
    /// It is no address at all.
    #[error(
        "`{url}` is no repository address ({why}); write an https URL, an ssh address, a file URL or a path"
    )]
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
        match SshAddress::of_scp(text) {
            Some(address) if !cwd.join(text).exists() => Self::by_ssh(address, text),
            _ => Ok(Self::local(cwd.join(text).components().collect())),
        }
    }

    /// Reads what a Hub sent: https to a public host, or what `allowed` names.
    pub fn from_hub(text: &str, allowed: &AllowList) -> Result<Self, InvalidRepoUrl> {
        let refused = |why| InvalidRepoUrl::Refused {
            url: shown(text),
            why,
        };
        // A relative path would start where the daemon does, which no Hub knows.
        let (is_url, is_path) = (text.contains("://"), text.starts_with('/'));
        if !is_url && !is_path {
            return Err(refused("it is no https address"));
        }
        let url = Self::parse(text, Path::new("/"))?;
        match &url.kind {
            Kind::Local(path) if allowed.allows_folder(path) => Ok(url),
            Kind::Local(_) => Err(refused("it is a folder of this machine")),
            // Whose keys these are, no Hub knows.
            Kind::Ssh(_) => Err(refused("it is no https address")),
            Kind::Remote(remote) if allowed.allows(remote) => Ok(url),
            Kind::Remote(_) if !allowed.is_empty() => {
                Err(refused("git.allow_hosts names other hosts only"))
            }
            Kind::Remote(remote) if remote.scheme() != "https" => {
                Err(refused("it is no https address"))
            }
            Kind::Remote(remote) if remote.port().is_some() => {
                Err(refused("it names a port of its own"))
            }
            Kind::Remote(remote) => match private_name(remote) {
                Some(why) => Err(refused(why)),
                None => Ok(Self {
                    reach: Reach::Public,
                    ..url
                }),
            },
        }
    }

    /// The same address with that reach.
    #[must_use]
    pub fn with_reach(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// Where the connection may lead.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// The folder, where the repository lies on this machine.
    pub fn local_path(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Local(path) => Some(path),
            Kind::Remote(_) | Kind::Ssh(_) => None,
        }
    }

    /// The URL, where it is of an HTTP server.
    pub fn remote(&self) -> Option<&Url> {
        match &self.kind {
            Kind::Remote(url) => Some(url),
            Kind::Ssh(_) | Kind::Local(_) => None,
        }
    }

    /// Where git-lfs itself looks for its contents.
    pub fn lfs_endpoint(&self) -> String {
        match &self.kind {
            Kind::Remote(url) => {
                let url = url.as_str().trim_end_matches('/');
                format!("{}.git/info/lfs", url.strip_suffix(".git").unwrap_or(url))
            }
            Kind::Ssh(address) => address.to_string(),
            Kind::Local(path) => format!("file://{}", path.display()),
        }
    }

    /// How addresses begin that are on its own server.
    pub fn lfs_server(&self) -> String {
        match &self.kind {
            Kind::Remote(url) => format!("{}/", url.origin().ascii_serialization()),
            Kind::Ssh(address) => format!("https://{}/", address.host()),
            Kind::Local(_) => self.lfs_endpoint(),
        }
    }

    /// The address, where it is reached by ssh.
    pub(super) fn ssh(&self) -> Option<&SshAddress> {
        match &self.kind {
            Kind::Ssh(address) => Some(address),
            Kind::Remote(_) | Kind::Local(_) => None,
        }
    }

    /// The name of the folder that git would clone it into.
    pub fn folder_name(&self) -> String {
        let text = self.to_string();
        let last = text.trim_end_matches('/').rsplit(['/', ':']).next();
        let name = last.unwrap_or_default();
        let name = name.strip_suffix(".git").unwrap_or(name);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let name: String = name.chars().filter(|c| is_plain(*c)).collect();
        match name.trim_start_matches('.') {
            "" => "repo".to_owned(),
            name => name.to_owned(),
        }
    }

    fn local(path: PathBuf) -> Self {
        Self {
            kind: Kind::Local(path),
            reach: Reach::Anywhere,
        }
    }

    fn by_ssh(
        address: Result<SshAddress, &'static str>,
        typed: &str,
    ) -> Result<Self, InvalidRepoUrl> {
        let address = address.map_err(|why| malformed(typed, why))?;
        Ok(Self {
            kind: Kind::Ssh(address),
            reach: Reach::Anywhere,
        })
    }

    fn of_server(url: Url) -> Self {
        Self {
            kind: Kind::Remote(url),
            reach: Reach::Anywhere,
        }
    }

    fn parse_url(text: &str) -> Result<Self, InvalidRepoUrl> {
        let url = Url::parse(text).map_err(|error| malformed(text, &error.to_string()))?;
        match url.scheme() {
            "ssh" if url.password().is_none() => Self::by_ssh(SshAddress::of_url(&url), text),
            _ if !url.username().is_empty() || url.password().is_some() => {
                Err(InvalidRepoUrl::Credentials)
            }
            "file" => url
                .to_file_path()
                .map(Self::local)
                .map_err(|()| malformed(text, "a file URL names a path of this machine")),
            "https" => Ok(Self::of_server(url)),
            "http" if is_loopback(&url) => Ok(Self::of_server(url)),
            "http" | "git" => Err(InvalidRepoUrl::Unencrypted {
                url: text.to_owned(),
            }),
            scheme => Err(malformed(text, &format!("`{scheme}` is not supported"))),
        }
    }
}

impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Remote(url) => url.fmt(f),
            Kind::Ssh(address) => address.fmt(f),
            Kind::Local(path) => path.display().fmt(f),
        }
    }
}

/// An address as it may be shown: without what may be a password, and not longer than a line.
fn shown(text: &str) -> String {
    let plain = match text.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}/{path}")
        }
        None => text.to_owned(),
    };
    let short: String = plain.chars().take(200).collect();
    short.escape_debug().to_string()
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
            "ssh://git@example.com/a/b.git",
            "git@example.com:a/b.git",
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
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn a_hub_may_name_public_hosts_over_https_alone() {
        let none = AllowList::default();
        let taken = RepoUrl::from_hub("https://github.com/a/b.git", &none).unwrap();
        assert_eq!(taken.reach(), Reach::Public);
        for text in [
            "file:///srv/r",
            "/srv/r",
            "r",
            "../r",
            "",
            "ext::sh -c id",
            "git@github.com:a/b",
            "ssh://git@github.com/a/b",
            "git://github.com/a/b",
            "http://github.com/a/b",
            "http://127.0.0.1/r",
            "https://user:pass@github.com/a/b",
            "https://token@github.com/a/b",
            "https://127.0.0.1/r",
            "https://169.254.169.254/latest/meta-data",
            "https://[fd00:ec2::254]/r",
            "https://github.com:22/a/b",
            "https://localhost/r",
            "https://git/r",
            "--upload-pack=x",
            "https://github.com/a\nb",
        ] {
            let error = RepoUrl::from_hub(text, &none).unwrap_err().to_string();
            assert!(
                !error.contains("pass@") && !error.contains("token@"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_the_settings_allow_a_hub_may_name_and_nothing_else() {
        let allowed = ["127.0.0.1:3000".to_owned(), "/".to_owned()];
        let allowed = AllowList::parse(&allowed).unwrap();
        let taken = RepoUrl::from_hub("http://127.0.0.1:3000/r", &allowed).unwrap();
        assert_eq!(taken.reach(), Reach::Anywhere);
        assert!(RepoUrl::from_hub("file:///tmp", &allowed).is_ok());
        let refused = RepoUrl::from_hub("https://github.com/a/b", &allowed).unwrap_err();
        assert!(refused.to_string().contains("git.allow_hosts"), "{refused}");
    }

    #[test]
    fn a_folder_is_named_after_the_repository() {
        for (text, name) in [
            ("https://example.com/a/b.git", "b"),
            ("https://example.com/a/b/", "b"),
            ("/srv/r", "r"),
            ("https://example.com/", "example.com"),
            ("https://example.com/..%2f", "2f"),
            ("/", "repo"),
            ("/srv/.git", "repo"),
            ("git@example.com:b.git", "b"),
            ("ssh://example.com/a/b", "b"),
        ] {
            assert_eq!(parse(text).unwrap().folder_name(), name, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_cloned_says_what_can() {
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
