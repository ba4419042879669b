//! What the agent's own git is told by its environment.
//!
//! No configuration of a repository overrides it: bare repositories within a workspace and remote
//! helpers that run commands are not used, in a workspace that was cloned no hook and no file monitor
//! is, and where the agent pushes by itself its git gets the token from our helper.

use std::ffi::OsStr;
use std::path::Path;

use super::DaemonError;
use crate::process::Environment;
use crate::workspace::{HELPER, RepoUrl};

/// How the agent's git gets a token, and for which repositories.
pub(super) struct Helper<'a> {
    /// This program.
    pub(super) program: &'a Path,
    /// The folder of the socket.
    pub(super) folder: &'a Path,
    pub(super) urls: &'a [RepoUrl],
}

/// Adds it to the agent's environment, behind what that says already.
pub(super) fn tell(
    environment: &mut Environment,
    is_cloned: bool,
    helper: Option<&Helper<'_>>,
) -> Result<(), DaemonError> {
    let mut settings = vec![
        ("safe.bareRepository".to_owned(), "explicit".to_owned()),
        ("protocol.ext.allow".to_owned(), "never".to_owned()),
    ];
    if is_cloned {
        settings.push(("core.hooksPath".to_owned(), "/dev/null".to_owned()));
        settings.push(("core.fsmonitor".to_owned(), "false".to_owned()));
    }
    if let Some(helper) = helper {
        let words = format!(
            "!{} {HELPER} {}",
            quoted(helper.program),
            quoted(helper.folder)
        );
        for url in helper.urls.iter().filter(|url| url.remote().is_some()) {
            let of = |name: &str| format!("credential.{url}.{name}");
            // Other helpers would store the token.
            settings.push((of("helper"), String::new()));
            settings.push((of("helper"), words.clone()));
            settings.push((of("useHttpPath"), "true".to_owned()));
        }
    }
    let told = environment
        .value("GIT_CONFIG_COUNT")
        .and_then(OsStr::to_str);
    let mut count: usize = told.and_then(|count| count.parse().ok()).unwrap_or(0);
    let mut set = |name: String, value: &str| {
        let set = environment.set(name, value);
        set.map_err(|error| DaemonError::Usage(error.to_string()))
    };
    for (key, value) in &settings {
        set(format!("GIT_CONFIG_KEY_{count}"), key)?;
        set(format!("GIT_CONFIG_VALUE_{count}"), value)?;
        count += 1;
    }
    set("GIT_CONFIG_COUNT".to_owned(), &count.to_string())
}
/// A word of the shell that git starts a helper with.
pub(super) fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_stands_behind_what_was_told() {
        let mut environment = Environment::new();
        environment.set("GIT_CONFIG_COUNT", "1").unwrap();
        environment.set("GIT_CONFIG_KEY_0", "a.b").unwrap();
        tell(&mut environment, false, None).unwrap();
        let value = |name: &str| environment.value(name).and_then(OsStr::to_str);
        assert_eq!(value("GIT_CONFIG_KEY_0"), Some("a.b"));
        assert_eq!(value("GIT_CONFIG_COUNT"), Some("3"));
        assert_eq!(value("GIT_CONFIG_KEY_2"), Some("protocol.ext.allow"));
    }

    #[test]
    fn a_path_is_one_word_of_the_shell() {
        assert_eq!(quoted(Path::new("/a b/c'd")), r"'/a b/c'\''d'");
    }
}
