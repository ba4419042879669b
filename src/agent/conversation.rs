//! Where a CLI keeps its conversations: said by the agents as plain data, looked up by whoever may
//! read the disk.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The folders that a CLI keeps its state in follow from its home and its environment.
#[derive(Clone, Copy)]
pub struct Homes<'a> {
    /// The home folder that the CLI is given.
    pub home: &'a Path,
    /// The variables that the CLI is given.
    pub variable: &'a dyn Fn(&str) -> Option<&'a OsStr>,
}

impl std::fmt::Debug for Homes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Homes")
            .field("home", &self.home)
            .finish_non_exhaustive()
    }
}

impl Homes<'_> {
    /// The folder that `variable` names where it is set, else `otherwise` within the home.
    pub fn folder(&self, variable: &str, otherwise: &str) -> PathBuf {
        match (self.variable)(variable) {
            Some(named) if !named.is_empty() => PathBuf::from(named),
            _ => self.home.join(otherwise),
        }
    }
}

/// A conversation on disk: a file somewhere below a folder, known by how its name ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationFile {
    /// The folder.
    pub folder: PathBuf,
    /// How many folders lie between it and the file.
    pub depth: usize,
    /// The end of the file's name, or all of it.
    pub name_end: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_where_its_variable_says_or_else_in_the_home() {
        let set = Homes {
            home: Path::new("/home/agent"),
            variable: &|name| (name == "X_HOME").then_some(OsStr::new("/elsewhere")),
        };
        assert_eq!(set.folder("X_HOME", ".x"), Path::new("/elsewhere"));
        assert_eq!(set.folder("Y_HOME", ".y"), Path::new("/home/agent/.y"));
    }
}
