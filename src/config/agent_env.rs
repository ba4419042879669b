//! What an agent CLI's environment holds.
//!
//! An allow-list: what is not named here, by the vendor's adapter or by the user does not reach
//! the CLI, and what is ours (`AGENTUITY_*`, `AGENT_RUNNER_*`: Hub keys among them) never does.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use super::EnvMap;

/// What every CLI may see; a trailing `*` stands for any rest.
const BASE: &[&str] = &[
    "PATH",
    "HOME",
    "LANG",
    "LC_*",
    "TZ",
    "TERM",
    "USER",
    "SHELL",
    "TMPDIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "GIT_AUTHOR_*",
    "GIT_COMMITTER_*",
];

/// What no CLI may see, whoever asks for it.
const OURS: &[&str] = &["AGENTUITY_", "AGENT_RUNNER_"];

/// A variable's name, or the beginning of names followed by `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvPattern(String);

impl EnvPattern {
    /// Reads `NAME` or `PREFIX_*`; what could only name a variable of ours is refused.
    pub fn parse(text: &str) -> Result<Self, String> {
        let stem = text.strip_suffix('*').unwrap_or(text);
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if text.is_empty()
            || !stem.bytes().all(legal)
            || stem.starts_with(|c: char| c.is_ascii_digit())
        {
            return Err(format!(
                "`{text}` is no variable name; write NAME or PREFIX_*"
            ));
        }
        if is_ours(OsStr::new(stem)) {
            return Err(format!(
                "`{text}` never reaches an agent: it may hold the Hub's key"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The environment of an agent CLI: the base set, the vendor's own variables and what `pass_env`
/// names, all from `env`; then `extra`, which wins. In order of the names.
pub fn agent_env(
    env: &EnvMap,
    vendor: &[&str],
    extra: &BTreeMap<String, String>,
    pass_env: &[EnvPattern],
) -> Vec<(OsString, OsString)> {
    let passed = pass_env.iter().map(EnvPattern::as_str);
    let patterns: Vec<&str> = BASE.iter().chain(vendor).copied().chain(passed).collect();
    let mut chosen: BTreeMap<OsString, OsString> = env
        .iter()
        .filter(|(name, _)| patterns.iter().any(|pattern| fits(name, pattern)))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    chosen.extend(extra.iter().map(|(k, v)| (k.into(), v.into())));
    chosen.retain(|name, _| !is_ours(name));
    chosen.into_iter().collect()
}

/// Whether a variable is one of our own settings, which no CLI may see.
pub fn is_ours(name: &OsStr) -> bool {
    OURS.iter()
        .any(|prefix| name.as_bytes().starts_with(prefix.as_bytes()))
}

fn fits(name: &OsStr, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.as_bytes().starts_with(prefix.as_bytes()),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(environment: &[(OsString, OsString)]) -> Vec<&str> {
        let names = environment.iter().map(|(name, _)| name.to_str().unwrap());
        names.collect()
    }

    #[test]
    fn only_what_is_named_reaches_the_agent() {
        let env: EnvMap = [
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("GIT_AUTHOR_NAME", "A"),
            ("GIT_ASKPASS", "/x"),
            ("ANTHROPIC_API_KEY", "k"),
            ("AWS_SECRET_ACCESS_KEY", "k"),
            ("CARGO_HOME", "/c"),
            ("https_proxy", "http://p"),
        ]
        .into_iter()
        .collect();
        let pass = [EnvPattern::parse("CARGO_*").unwrap()];
        let environment = agent_env(&env, &["ANTHROPIC_*"], &BTreeMap::new(), &pass);
        assert_eq!(
            names(&environment),
            [
                "ANTHROPIC_API_KEY",
                "CARGO_HOME",
                "GIT_AUTHOR_NAME",
                "LC_ALL",
                "PATH",
                "https_proxy"
            ]
        );
    }

    #[test]
    fn our_own_variables_never_reach_the_agent() {
        let env: EnvMap = [("AGENTUITY_SDK_KEY", "k"), ("AGENT_RUNNER_HUB_KEY", "k")]
            .into_iter()
            .collect();
        let extra = BTreeMap::from([("AGENT_RUNNER_X".to_owned(), "1".to_owned())]);
        let all = [
            EnvPattern::parse("*").unwrap(),
            EnvPattern::parse("AGENT*").unwrap(),
        ];
        assert_eq!(agent_env(&env, &["AGENTUITY_*"], &extra, &all), []);
        for pattern in [
            "AGENTUITY_SDK_KEY",
            "AGENT_RUNNER_*",
            "A B",
            "",
            "1X",
            "A*B",
        ] {
            assert!(EnvPattern::parse(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn the_agents_own_settings_win_over_the_environment() {
        let env: EnvMap = [("LANG", "C")].into_iter().collect();
        let extra = BTreeMap::from([("LANG".to_owned(), "de_DE.UTF-8".to_owned())]);
        let environment = agent_env(&env, &[], &extra, &[]);
        assert_eq!(environment, [("LANG".into(), "de_DE.UTF-8".into())]);
    }
}
