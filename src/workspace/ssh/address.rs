//! Addresses of repositories that are reached by ssh, in both forms that people write.

use std::fmt;

use url::Url;

/// `ssh://[user@]host[:port]/path` or `[user@]host:path`. No part of it can be read as an option, by
/// ssh or by the shell of the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::workspace) struct SshAddress {
    /// As it was written.
    typed: String,
    user: Option<String>,
    host: String,
    port: Option<u16>,
    /// As the other side is to find it: absolute, from the user's home, or `~user/…`.
    path: String,
}

impl SshAddress {
    /// Reads a URL; an error says what is wrong with it.
    pub(in crate::workspace) fn of_url(url: &Url) -> Result<Self, &'static str> {
        let path = percent_decoded(url.path())?;
        // As git reads it: behind a host, `~` is a home.
        let path = match path.strip_prefix('/') {
            Some(home) if home.starts_with('~') => home.to_owned(),
            _ => path,
        };
        let user = Some(url.username()).filter(|user| !user.is_empty());
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Self::checked(url.as_str(), user, host, url.port(), path)
    }

    /// Reads `[user@]host:path`; none where it is not of that form.
    pub(in crate::workspace) fn of_scp(text: &str) -> Option<Result<Self, &'static str>> {
        let (before, path) = text.split_once(':')?;
        let (user, host) = match before.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, before),
        };
        // As git reads it: a colon before the first slash.
        let is_one = !before.contains('/') && !host.is_empty();
        is_one.then(|| Self::checked(text, user, host, None, path.to_owned()))
    }

    fn checked(
        typed: &str,
        user: Option<&str>,
        host: &str,
        port: Option<u16>,
        path: String,
    ) -> Result<Self, &'static str> {
        let is_plain = |text: &str, more: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
            !text.is_empty() && !text.starts_with('-') && text.chars().all(fits)
        };
        if !is_plain(host, "-._:") {
            return Err("its host is no name that ssh can be given");
        }
        if !user.is_none_or(|user| is_plain(user, "-._+")) {
            return Err("its user is no name that ssh can be given");
        }
        if path.trim_matches('/').is_empty() || path.contains(char::is_control) {
            return Err("it names no repository on its host");
        }
        // The other side's git would take it for an option.
        let path = if path.starts_with('-') {
            format!("./{path}")
        } else {
            path
        };
        Ok(Self {
            typed: typed.to_owned(),
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
            path,
        })
    }

    /// Its host.
    pub(in crate::workspace) fn host(&self) -> &str {
        &self.host
    }

    /// What ssh is given to begin `service` on the other side, with a plain word behind the path.
    pub(super) fn words(&self, service: &str, operation: &str) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(port) = self.port {
            words.extend(["-p".to_owned(), port.to_string()]);
        }
        words.push("--".to_owned());
        words.push(match &self.user {
            Some(user) => format!("{user}@{}", self.host),
            None => self.host.clone(),
        });
        // The other side's shell reads it.
        let path = self.path.replace('\'', r"'\''").replace('!', r"'\!'");
        let call = format!("{service} '{path}' {operation}");
        words.push(call.trim_end().to_owned());
        words
    }
}

fn percent_decoded(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let value = digit().zip(digit()).map(|(high, low)| high * 16 + low);
        let value = value.and_then(|value| u8::try_from(value).ok());
        bytes.push(value.ok_or("its path has a % that is followed by no two hex digits")?);
    }
    String::from_utf8(bytes).map_err(|_| "its path is no UTF-8")
}

impl fmt::Display for SshAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.typed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<String, &'static str> {
        let address = if text.contains("://") {
            SshAddress::of_url(&Url::parse(text).unwrap())
        } else {
            SshAddress::of_scp(text).unwrap()
        };
        Ok(address?.words("git-upload-pack", "").join(" "))
    }

    #[test]
    fn both_forms_say_the_same_to_ssh() {
        for (text, words) in [
            (
                "git@h.example:a/b.git",
                "-- git@h.example git-upload-pack 'a/b.git'",
            ),
            ("h:~u/b", "-- h git-upload-pack '~u/b'"),
            (
                "ssh://h.example/srv/b",
                "-- h.example git-upload-pack '/srv/b'",
            ),
            (
                "ssh://git@h:2222/~/b",
                "-p 2222 -- git@h git-upload-pack '~/b'",
            ),
            ("ssh://[::1]/srv/b", "-- ::1 git-upload-pack '/srv/b'"),
            ("ssh://h/a%20b", "-- h git-upload-pack '/a b'"),
        ] {
            assert_eq!(of(text).as_deref(), Ok(words), "{text}");
        }
        assert_eq!(SshAddress::of_scp("no/colon"), None);
        assert_eq!(SshAddress::of_scp("./a:b"), None);
    }

    #[test]
    fn nothing_is_an_option_or_a_command() {
        for text in [
            "ssh://-oProxyCommand=id/x",
            "ssh://-oProxyCommand=id@h/x",
            "ssh://u%20v@h/x",
            "ssh://h/",
            "ssh://h/%zz",
            "ssh://h/%0a",
            "-oProxyCommand=id:x",
            "h o:x",
            "h:",
        ] {
            assert!(of(text).is_err(), "{text}: {:?}", of(text));
        }
        assert_eq!(of("h:--x").unwrap(), "-- h git-upload-pack './--x'");
        let said = of("h:a'; id; '").unwrap();
        assert_eq!(said, r"-- h git-upload-pack 'a'\''; id; '\'''");
    }
}
