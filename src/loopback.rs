//! Names of this machine's loopback, as requests write them.
//!
//! A web page in the user's browser reaches loopback too, by a name of its own that leads there (DNS
//! rebinding): what a browser says that it asked for, it cannot forge.

use std::net::IpAddr;

/// Whether `host[:port]` is a loopback name.
pub(crate) fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(host, _)| host),
        None => authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leads_nowhere_else_is_a_loopback_name() {
        for own in [
            "localhost",
            "LOCALHOST:1",
            "127.9.9.9:80",
            "[::1]",
            "[::1]:9",
        ] {
            assert!(is_loopback(own), "{own}");
        }
        for other in [
            "",
            "evil.example:1",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "0.0.0.0",
            "[::2]:1",
            "localhost@evil.example",
        ] {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
