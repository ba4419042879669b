//! Whom the agent's commits name as their author.
//!
//! Git's own variables for it (`GIT_AUTHOR_*`) stay as they were when a process began, and a live
//! process outlives many turns. So its author stands in a file of git configuration instead, which
//! the agent's environment includes with the highest precedence and each turn rewrites: what is
//! committed names the author of the turn in which it is committed. The committer is not touched.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::Author;
use crate::files;
use crate::process::Environment;

/// The file's name in the folder of the agent's git.
const FILE: &str = "author";

/// The author of a session's commits.
#[derive(Debug)]
pub struct Authorship {
    file: PathBuf,
    usual: Usual,
}

/// Whom commits name where a prompt names nobody; what is absent is the agent's own git's affair.
#[derive(Debug, Default, PartialEq, Eq)]
struct Usual {
    name: Option<String>,
    address: Option<String>,
}

impl Authorship {
    /// In `folder`, which is there and which the agent's user can pass through. `author` is that of the
    /// settings; without it, it is what `environment` says, from which this is taken away.
    pub fn take(
        folder: &Path,
        author: Option<&Author>,
        environment: &mut Environment,
    ) -> io::Result<Self> {
        let mut told = |name: &str| {
            let value = environment.remove(name).map(OsString::into_string);
            value.and_then(Result::ok).filter(|value| !value.is_empty())
        };
        let (name, address) = (told("GIT_AUTHOR_NAME"), told("GIT_AUTHOR_EMAIL"));
        let usual = match author {
            Some(author) => Usual::of(author),
            None => Usual { name, address },
        };
        let file = folder.join(FILE);
        let authorship = Self { file, usual };
        // A turn that is under way has said whose it is.
        if !authorship.file.exists() {
            authorship.tell(None)?;
        }
        Ok(authorship)
    }

    /// The file, for git's `include.path`.
    pub fn file(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// From here on commits name `author`, or whom they usually do.
    pub fn tell(&self, author: Option<&Author>) -> io::Result<()> {
        let text = match author {
            Some(author) => Usual::of(author).as_configuration(),
            None => self.usual.as_configuration(),
        };
        if files::holds(&self.file, text.as_bytes()) {
            return Ok(());
        }
        // It is no secret, and the agent may be another user.
        files::replace_readable(&self.file, text.as_bytes(), 0o644)
    }

    /// Whom what we commit for a prompt on behalf of `author` names, where anybody is named.
    pub fn of(&self, author: Option<&Author>) -> Option<Author> {
        let usual =
            || Author::new(self.usual.name.as_deref()?, self.usual.address.as_deref()?).ok();
        author.cloned().or_else(usual)
    }
}

impl Usual {
    fn of(author: &Author) -> Self {
        Self {
            name: Some(author.name().to_owned()),
            address: Some(author.address().to_owned()),
        }
    }

    fn as_configuration(&self) -> String {
        let mut text = "# Written by agent-runner for each turn.\n[author]\n".to_owned();
        for (key, value) in [("name", &self.name), ("email", &self.address)] {
            if let Some(value) = value {
                // Writing to a string cannot fail.
                writeln!(text, "\t{key} = {}", quoted(value)).ok();
            }
        }
        text
    }
}

/// A value as git reads it back, whatever is in it.
fn quoted(value: &str) -> String {
    let escaped = value.replace('\\', r"\\").replace('"', "\\\"");
    format!("\"{}\"", escaped.replace('\n', r"\n"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn read(path: &Path) -> (Option<String>, Option<String>) {
        let config = git2::Config::open(path).unwrap();
        let value = |key: &str| config.get_string(key).ok();
        (value("author.name"), value("author.email"))
    }

    fn pair(name: &str, address: &str) -> (Option<String>, Option<String>) {
        (Some(name.to_owned()), Some(address.to_owned()))
    }

    #[test]
    fn each_turn_has_its_author_and_others_have_the_usual_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut environment = Environment::new();
        environment.set("GIT_AUTHOR_NAME", "Env \"E\" \\").unwrap();
        environment
            .set("GIT_AUTHOR_EMAIL", "env@example.com")
            .unwrap();
        environment.set("GIT_COMMITTER_NAME", "Env").unwrap();
        let authorship = Authorship::take(dir.path(), None, &mut environment).unwrap();
        assert_eq!(format!("{environment:?}"), r#"{"GIT_COMMITTER_NAME"}"#);
        let file = Authorship::file(dir.path());
        let usual = pair("Env \"E\" \\", "env@example.com");
        assert_eq!(read(&file), usual);
        let ada: Author = "Ada # L; <ada@example.com>".parse().unwrap();
        authorship.tell(Some(&ada)).unwrap();
        assert_eq!(read(&file), pair("Ada # L;", "ada@example.com"));
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o644);

        // The next daemon finds that turn under way.
        let bob: Author = "Bob <bob@example.com>".parse().unwrap();
        let next = Authorship::take(dir.path(), Some(&bob), &mut environment).unwrap();
        assert_eq!(read(&file), pair("Ada # L;", "ada@example.com"));
        next.tell(None).unwrap();
        assert_eq!(read(&file), pair("Bob", "bob@example.com"));
        assert_eq!(next.of(Some(&ada)), Some(ada));
        assert_eq!(next.of(None), Some(bob));
    }

    #[test]
    fn who_is_named_by_nobody_is_the_agents_own_affair() {
        let dir = tempfile::tempdir().unwrap();
        let mut environment = Environment::new();
        let authorship = Authorship::take(dir.path(), None, &mut environment).unwrap();
        assert_eq!(read(&Authorship::file(dir.path())), (None, None));
        assert_eq!(authorship.of(None), None);
    }
}
