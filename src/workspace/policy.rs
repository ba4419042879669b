//! Which addresses a Hub may name: those that a stranger could send.
//!
//! https to a public host, without credentials, and nothing else, unless the settings allow it. Where
//! they allow anything, they allow only that. Where a name leads is seen when it is connected to
//! ([`resolver`](super::resolver)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// What the settings let a Hub name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowList(Vec<Allowed>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Allowed {
    /// This host, on this port; without one on the scheme's own.
    Host(String, Option<u16>),
    /// Every host below this name.
    Below(String),
    /// Repositories in this folder.
    Folder(PathBuf),
}

/// An entry that allows nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "git.allow_hosts: `{0}` is no host (github.com, git.corp.example:8443, *.corp.example) and no absolute path of a folder"
)]
pub struct InvalidAllowed(String);

impl AllowList {
    /// Reads the entries of the settings.
    pub fn parse(entries: &[String]) -> Result<Self, InvalidAllowed> {
        let read = |text: &String| {
            Allowed::parse(text).ok_or_else(|| InvalidAllowed(text.escape_debug().to_string()))
        };
        entries.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether nothing is named: then every public host is allowed.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn allows(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else {
            return false;
        };
        let port = url.port();
        self.0.iter().any(|allowed| match allowed {
            Allowed::Host(name, at) => name == host && *at == port,
            Allowed::Below(name) => {
                port.is_none()
                    && host
                        .strip_suffix(name)
                        .is_some_and(|rest| rest.ends_with('.'))
            }
            Allowed::Folder(_) => false,
        })
    }

    /// Whether a repository of this machine may be cloned: the path as it really is, without links.
    pub(super) fn allows_folder(&self, path: &Path) -> bool {
        let Ok(real) = path.canonicalize() else {
            return false;
        };
        self.0.iter().any(|allowed| match allowed {
            Allowed::Folder(folder) => folder
                .canonicalize()
                .is_ok_and(|folder| real.starts_with(folder)),
            Allowed::Host(..) | Allowed::Below(_) => false,
        })
    }
}

impl Allowed {
    fn parse(text: &str) -> Option<Self> {
        if text.starts_with('/') {
            return Some(Self::Folder(PathBuf::from(text)));
        }
        if text.contains(['/', '@', '?', '#', '\\']) || text.contains(char::is_whitespace) {
            return None;
        }
        let (below, name) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        // In the form that addresses are compared in: lower case, punycode, numbers as addresses.
        let url = Url::parse(&format!("https://{name}/")).ok()?;
        let host = url
            .host_str()
            .filter(|host| !host.contains('*'))?
            .to_owned();
        match (below, url.port()) {
            (true, None) if matches!(url.host(), Some(Host::Domain(_))) => Some(Self::Below(host)),
            (true, _) => None,
            (false, port) => Some(Self::Host(host, port)),
        }
    }
}

/// Why a host is none of the public network's, as far as its name shows it.
pub(super) fn private_name(url: &Url) -> Option<&'static str> {
    const PRIVATE: &[&str] = &[
        "localhost",
        "local",
        "internal",
        "intranet",
        "lan",
        "home",
        "corp",
        "home.arpa",
    ];
    match url.host() {
        Some(Host::Ipv4(address)) if !is_public(IpAddr::V4(address)) => {
            Some("the address is not of the public network")
        }
        Some(Host::Ipv6(address)) if !is_public(IpAddr::V6(address)) => {
            Some("the address is not of the public network")
        }
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            let is_below = |suffix: &&str| {
                name.strip_suffix(suffix)
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            };
            (!name.contains('.') || PRIVATE.iter().any(is_below))
                .then_some("the name is not of the public network")
        }
        Some(_) => None,
        None => Some("it names no host"),
    }
}

/// Whether an address is of the public network.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local() // metadata services are here
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b)) // carriers' own
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19));
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    let [first, second, third, ..] = parts;
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        // IPv4 in other forms: mapped, translated, tunnelled
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        _ if first == 0x2002 => v4(second, third),
        // only 2000::/3 is given out; in it, documentation, benchmarks and Teredo
        _ => first & 0xe000 == 0x2000 && !(first == 0x2001 && (second == 0xdb8 || second < 0x200)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn list(entries: &[&str]) -> AllowList {
        let entries: Vec<String> = entries.iter().map(|&entry| entry.to_owned()).collect();
        AllowList::parse(&entries).unwrap()
    }

    #[test]
    fn addresses_of_this_machine_and_network_are_not_public() {
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.100.100.200",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.0.192",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:a9fe:a9fe",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "::127.0.0.1",
            "2001::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "140.82.121.4",
            "1.1.1.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "172.32.0.1",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn names_and_numbers_that_stand_for_this_network_are_seen_through() {
        for text in [
            "https://localhost/r",
            "https://LOCALHOST./r",
            "https://a.localhost/r",
            "https://git/r",
            "https://metadata.google.internal/r",
            "https://printer.local/r",
            "https://2130706433/r",
            "https://0x7f.1/r",
            "https://0177.0.0.1/r",
            "https://[::1]/r",
            "https://127.1/r",
            "https://①②⑦.0.0.1/r",
        ] {
            assert!(private_name(&url(text)).is_some(), "{text}");
        }
        assert_eq!(private_name(&url("https://github.com/a/b")), None);
    }

    #[test]
    fn the_list_names_hosts_ports_domains_and_folders() {
        let hosts = list(&["GitHub.com", "*.corp.example", "127.0.0.1:3000"]);
        for (text, allowed) in [
            ("https://github.com/a/b", true),
            ("https://github.com:8443/a/b", false),
            ("https://github.com.evil.example/a/b", false),
            ("https://evil-github.com/a", false),
            ("https://git.corp.example/a", true),
            ("https://a.b.corp.example/a", true),
            ("https://corp.example/a", false),
            ("https://evilcorp.example/a", false),
            ("http://127.0.0.1:3000/a", true),
            ("http://127.0.0.1:3001/a", false),
        ] {
            assert_eq!(hosts.allows(&url(text)), allowed, "{text}");
        }
        let wrong = [
            "",
            "a/b",
            "https://x",
            "u@host",
            "*",
            "*.1.2.3.4",
            "a b",
            "*.*.x",
        ];
        for text in wrong {
            assert!(AllowList::parse(&[text.to_owned()]).is_err(), "{text}");
        }
    }

    #[test]
    fn a_link_in_an_allowed_folder_leads_out_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let (allowed, other) = (dir.path().join("allowed"), dir.path().join("other"));
        for folder in [&allowed, &other] {
            std::fs::create_dir_all(folder.join("r")).unwrap();
        }
        std::os::unix::fs::symlink(other.join("r"), allowed.join("link")).unwrap();
        let folders = list(&[allowed.to_str().unwrap()]);
        assert!(folders.allows_folder(&allowed.join("r")));
        for path in [
            allowed.join("link"),
            allowed.join("../other/r"),
            other.join("r"),
        ] {
            assert!(!folders.allows_folder(&path), "{}", path.display());
        }
    }
}
