//! What a round leaves on the machine: nothing.

use std::fs;
use std::path::{Path, PathBuf};

use agent_runner::spool::{RunDir, Status};

use crate::place::{Fault, Place};

/// No process, no temporary file, no run that is neither begun nor over.
pub(crate) fn none(place: &Place) -> Result<(), Fault> {
    let root = place.path("");
    if let Some(process) = process_of(&root) {
        return Err(format!("a process is left: {process}"));
    }
    for path in files(&root.join("state")) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.extension().is_some_and(|end| end == "new") || name == RunDir::CONTROL {
            return Err(format!("left behind: {}", path.display()));
        }
    }
    for run in place.runs() {
        if !matches!(Status::read(&RunDir::new(&run)), Ok(Some(_))) {
            return Err(format!("half made: {}", run.display()));
        }
    }
    Ok(())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// A process that names the place in its arguments or its environment.
fn process_of(root: &Path) -> Option<String> {
    let root = root.to_str().unwrap();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    for entry in entries {
        let process = entry.path();
        let read = |name: &str| fs::read(process.join(name)).unwrap_or_default();
        let both = [read("cmdline"), read("environ")].concat();
        if String::from_utf8_lossy(&both).contains(root) {
            let words = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
            return Some(format!("{} {words}", process.display()));
        }
    }
    None
}
