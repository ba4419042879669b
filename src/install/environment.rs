//! The environment that npm and a CLI's `--version` see, and what of it must never be shown.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Our own variables and the agents' credentials: npm has no use for them. What a user's
/// `.npmrc` may name (`${NPM_TOKEN}` or any other variable) must stay.
const WITHHELD: [&str; 11] = [
    "AGENT_RUNNER_",
    "AGENTUITY_",
    "ANTHROPIC_",
    "CLAUDE_",
    "OPENAI_",
    "CODEX_",
    "OPENCODE_",
    "OPENROUTER_",
    "GEMINI_",
    "GOOGLE_",
    "AZURE_OPENAI_",
];

/// Words in a variable's name that make its value a secret.
const SECRET_NAMES: [&str; 6] = ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "AUTH", "KEY"];

/// Shorter values are no secrets, and masking them would hide ordinary words.
const SHORTEST_SECRET: usize = 8;

/// The environment of a fetch.
#[derive(Clone)]
pub struct Environment {
    variables: Vec<(OsString, OsString)>,
}

// The values hold secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.variables.iter().map(|(name, _)| name).collect();
        f.debug_tuple("Environment").field(&names).finish()
    }
}

impl Environment {
    /// What remains of `variables` for npm: the user's proxy, CA and registry settings among them.
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let withheld = |name: &OsStr| {
            let name = name.to_string_lossy();
            WITHHELD.iter().any(|prefix| name.starts_with(prefix))
        };
        Self {
            variables: variables
                .into_iter()
                .filter(|(name, _)| !withheld(name))
                .collect(),
        }
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = &(OsString, OsString)> {
        self.variables.iter()
    }

    pub(super) fn value(&self, name: &str) -> Option<&OsStr> {
        self.variables()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_os_str())
    }

    /// The executable file called `program`, by PATH.
    pub fn find(&self, program: &str) -> Option<PathBuf> {
        std::env::split_paths(self.value("PATH")?)
            .map(|dir| dir.join(program))
            .find(|path| is_executable(path))
    }

    /// `text` without the values of secret variables, without user and password in URLs, and
    /// without lines about npm's credentials.
    pub(super) fn mask(&self, text: &str) -> String {
        let mut masked = text.to_owned();
        for (name, value) in &self.variables {
            let name = name.to_string_lossy().to_ascii_uppercase();
            let value = value.to_string_lossy();
            if value.len() >= SHORTEST_SECRET && SECRET_NAMES.iter().any(|word| name.contains(word))
            {
                masked = masked.replace(value.as_ref(), "***");
            }
        }
        let lines: Vec<_> = masked
            .lines()
            .filter(|line| !names_credentials(line))
            .map(mask_userinfo)
            .collect();
        lines.join("\n")
    }
}

/// Whether `path` is a file that this process may execute.
pub(super) fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

fn names_credentials(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    ["_auth", "_password", "authorization:"]
        .iter()
        .any(|word| line.contains(word))
}

/// Replaces what stands between `://` and `@` in each URL of a line.
fn mask_userinfo(line: &str) -> String {
    let mut masked = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        masked.push_str(before);
        masked.push_str("://");
        let end = after
            .find(|c: char| c == '/' || c.is_whitespace())
            .unwrap_or(after.len());
        let (authority, path) = after.split_at(end);
        rest = path;
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                masked.push_str("***@");
                masked.push_str(host);
            }
            None => masked.push_str(authority),
        }
    }
    masked.push_str(rest);
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::new(
            variables
                .iter()
                .map(|(name, value)| (OsString::from(name), OsString::from(value))),
        )
    }

    #[test]
    fn our_own_variables_and_model_keys_are_withheld_and_the_registrys_stay() {
        let environment = environment(&[
            ("AGENTUITY_SDK_KEY", "a"),
            ("AGENT_RUNNER_HUB_KEY", "b"),
            ("ANTHROPIC_API_KEY", "c"),
            ("HTTPS_PROXY", "d"),
            ("npm_config_registry", "e"),
            ("NPM_TOKEN", "f"),
        ]);
        let names: Vec<_> = environment.variables().map(|(name, _)| name).collect();
        assert_eq!(names, ["HTTPS_PROXY", "npm_config_registry", "NPM_TOKEN"]);
    }

    #[test]
    fn secrets_do_not_reach_an_error() {
        let environment = environment(&[("NPM_TOKEN", "npm_0123456789"), ("EMPTY_TOKEN", "")]);
        let text = "npm error code E401\n\
                    npm error 401 - GET https://user:pass@registry.invalid/@a%2fb - npm_0123456789\n\
                    npm error //registry.invalid/:_authToken=abc";
        let masked = environment.mask(text);
        assert_eq!(
            masked,
            "npm error code E401\n\
             npm error 401 - GET https://***@registry.invalid/@a%2fb - ***"
        );
        assert!(!format!("{environment:?}").contains("0123456789"));
    }

    #[test]
    fn a_program_is_found_only_where_it_can_be_executed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("sh"), "").unwrap();
        let path = format!("{}:/bin", dir.path().display());
        let found = environment(&[("PATH", &path)]).find("sh");
        assert_eq!(found, Some(PathBuf::from("/bin/sh")));
        assert_eq!(environment(&[]).find("sh"), None);
    }
}
