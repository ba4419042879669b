//! The project's own files, as text, for the tests that hold them to the project's rules.
#![allow(dead_code, clippy::unwrap_used)] // each test binary uses its part; a missing file fails the test

use std::fs;
use std::path::{Path, PathBuf};

/// One text file of the project.
pub(crate) struct Source {
    /// Its path from the project's root.
    pub(crate) path: PathBuf,
    /// What it holds.
    pub(crate) text: String,
}

impl Source {
    /// The file's path with `/`, for messages and tables.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Whether the whole file is tests.
    pub(crate) fn is_test(&self) -> bool {
        let name = self.name();
        name.starts_with("tests/") || name.ends_with("/tests.rs") || name.contains("/tests/")
    }

    /// The code without its unit tests at the end.
    pub(crate) fn code(&self) -> &str {
        let tests = ["#[cfg(test)]\nmod ", "#[cfg(all(test"];
        let end = tests.iter().filter_map(|head| self.text.find(head)).min();
        &self.text[..end.unwrap_or(self.text.len())]
    }
}

/// All text files below `folder`, without what tools put there.
pub(crate) fn files(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    collect(root, &root.join(folder), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The Rust files below `folder`.
pub(crate) fn rust_files(folder: &str) -> Vec<Source> {
    let mut found = files(folder);
    found.retain(|file| file.path.extension().is_some_and(|e| e == "rs"));
    found
}

const NOT_OURS: [&str; 4] = [".git", "node_modules", "target", "venv"];

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if NOT_OURS.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, found);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root).unwrap().to_owned();
            found.push(Source { path, text });
        }
    }
}
